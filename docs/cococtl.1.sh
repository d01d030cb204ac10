#!/bin/sh
# Makes cococtl(1)'s source from its frame and from what cococtl says about itself.
#
#   docs/cococtl.1.sh COCOCTL docs/cococtl.1.scd
set -eu
ctl=$1
frame=$2

# One line a verb: what stands between "verbs:" and "options:", without the summary (two spaces and
# more before it) and without its argument (capitals).
verbs() {
    "$ctl" help | awk '/^verbs:/ {on = 1; next} /^options:/ {on = 0}
        on && /^  [a-z]/ {
            line = substr($0, 3)
            sub(/  +.*/, "", line)
            n = split(line, words, " "); verb = ""
            for (i = 1; i <= n && words[i] ~ /^[a-z][a-z-]*$/ && i <= 2; i++) verb = verb (i > 1 ? " " : "") words[i]
            print verb
        }'
}

manual() {
    verbs | while read -r verb; do
        help=$("$ctl" help $verb 2>/dev/null) || continue
        printf '## %s\n\n```\n%s\n```\n\n' "$verb" "$help"
    done
}

while IFS= read -r line; do
    case $line in
    @USAGE@) "$ctl" help ;;
    @VERBS@) manual ;;
    *) printf '%s\n' "$line" ;;
    esac
done <"$frame"
