# SPDX-License-Identifier: MIT
# What a C file of this project's writes down: one name a line, as tests/abi/numbers spells them. mode=all: macros with a
# value, enumerators, structures and their members; mode=macros: macros alone; mode=exits: structures named *_exit, and
# their members.

function trim(s) { gsub(/^[ \t]+|[ \t]+$/, "", s); return s }

# The names declared by "type a, *b, c[3]".
function declared(line,    n, parts, i, s) {
    sub(/;.*/, "", line)
    n = split(line, parts, ",")
    for (i = 1; i <= n; i++) {
        s = trim(parts[i])
        sub(/\[.*/, "", s)
        sub(/.*[ \t*]/, "", s)
        members[depth] = members[depth] " " s
    }
}

{
    gsub(/\/\*[^*]*\*\//, "")
    if (in_comment) {
        if (!sub(/.*\*\//, "")) next
        in_comment = 0
    }
    if (sub(/\/\*.*/, "")) in_comment = 1
}
mode != "exits" && /^#define[ \t]+[A-Za-z_0-9]+[ \t]+[^ \t]/ { print $2; next }
depth == 0 && /^(static )?const .*struct / { next }
depth == 0 && /^struct [a-z_0-9]+ \{/ && (mode == "all" || (mode == "exits" && $2 ~ /_exit$/)) {
    name = $2; depth = 1; members[1] = ""
    next
}
depth == 0 && mode == "all" && /^enum [a-z_0-9]+ \{/ { in_enum = 1; next }
in_enum && /^\}/ { in_enum = 0; next }
in_enum && match($0, /[A-Z][A-Z_0-9]+/) { print substr($0, RSTART, RLENGTH); next }
depth > 0 && /(struct|union) \{$/ { depth++; members[depth] = ""; next }
depth > 1 && /^[ \t]*\}/ {
    inner = trim($0)
    gsub(/[};]/, "", inner)
    inner = trim(inner)
    n = split(trim(members[depth]), parts, " ")
    depth--
    for (i = 1; i <= n; i++)
        members[depth] = members[depth] " " (inner == "" ? "" : inner ".") parts[i]
    next
}
depth == 1 && /^\}/ {
    print "sizeof " name
    n = split(trim(members[1]), parts, " ")
    for (i = 1; i <= n; i++)
        print name "." parts[i]
    depth = 0
    next
}
depth > 0 && /;/ { declared($0) }
