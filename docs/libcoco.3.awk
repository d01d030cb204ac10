# SPDX-License-Identifier: MIT
# libcoco(3) from the public headers, for scdoc: comments that begin a line become paragraphs, what lies
# between them literal blocks. `make man` runs it; the result is committed as docs/libcoco.3.scd.

function flush_code() {
    sub(/\n+$/, "", code)
    if (code != "")
        printf "```\n%s\n```\n\n", code
    code = ""
}

function flush_text() {
    sub(/\n+$/, "", text)
    # What scdoc would take for markup.
    gsub(/[\\*_<>`#]/, "\\\\&", text)
    gsub(/\n-/, "\n\\-", text)
    sub(/^[-+.;]/, "\\\\&", text)
    if (text != "")
        printf "%s\n\n", text
    text = ""
}

function end_literal() {
    if (literal)
        print "```\n"
    literal = 0
}

function add_text(line) {
    sub(/ *\*\/ *$/, "", line)
    sub(/^ ?\* ?/, "", line)
    gsub(/-----*/, "", line)
    # What is indented by four is code.
    if (line ~ /^    /) {
        if (!literal) {
            flush_text()
            print "```"
        }
        literal = 1
        print line
        return
    }
    end_literal()
    gsub(/^[ \t]+/, "", line)
    text = text line "\n"
}

BEGIN {
    print "libcoco(3)\n\n# NAME\n\nlibcoco - confidential guests' attestation for virtual machine monitors\n"
    print "# SYNOPSIS\n\n*#include <coco/coco.h>*\n\n*cc* ... *-lcoco*\n"
}

FNR == 1 {
    flush_code()
    name = FILENAME
    sub(/.*include\//, "", name)
    print "# " toupper(name) "\n"
    skip = 0
}

/^#if(def __cplusplus| defined)/ { skip = 1 }
skip { if (/^#endif/) skip = 0; next }
/^#pragma|^#include|SPDX-License/ { next }

# A line that parts a header becomes a heading; a text may follow it in the same comment.
!comment && /^\/\* --- .* ---/ {
    flush_code()
    line = $0
    gsub(/^\/\* -+ | -+( \*\/)?$/, "", line)
    gsub(/[\\*_<>`#]/, "\\\\&", line)
    print "## " line "\n"
    comment = !/\*\//
    next
}
!comment && /^\/\*/ {
    flush_code()
    line = $0
    sub(/^\/\* ?/, "", line)
    add_text(line)
    comment = !/\*\//
    if (!comment)
        flush_text()
    next
}
comment {
    add_text($0)
    if (/\*\//) {
        comment = 0
        end_literal()
        flush_text()
    }
    next
}
{
    sub(/COCO_PUBLIC /, "")
    if ($0 != "" || code != "")
        code = code $0 "\n"
}

END {
    flush_code()
    print "# SEE ALSO\n\n*cocod*(8)"
}
