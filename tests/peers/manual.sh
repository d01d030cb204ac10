# shellcheck shell=bash disable=SC2154
# mandoc reads the manual pages, which scdoc made and man-db is tested with elsewhere.

# What is scdoc's own way of writing, and looks right all the same, is left out.
lint_page() { # PAGE
    in_sid mandoc -T lint -W style "$1" | grep -v -e 'skipping paragraph macro' -e 'input text line longer than 80 bytes' \
        -e 'lower case character in document title' -e 'see above the macro name'
}

check_mandoc_lint_of_the_manual_pages() {
    local page n=0
    mkdir "$dir/man"
    for page in "$build"/man/*.[1-9]; do
        cp "$page" "$dir/man"
        n=$((n + 1))
        expect "${page##*/}: what mandoc remarks" "$(lint_page "/peers/man/${page##*/}")" ""
    done
    expect "the number of pages" $n "$(find "$root/docs" -name '*.scd' | wc -l)"
    sed 's/^\.SH NAME/.SHH NAME/' "$build/man/cocod.8" >"$dir/man/wrong.8"
    [ -n "$(lint_page /peers/man/wrong.8)" ]
    sed '0,/^\.RE$/d' "$build/man/cococtl.1" >"$dir/man/wrong.1"
    [ -n "$(lint_page /peers/man/wrong.1)" ]
}
