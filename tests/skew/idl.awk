# A varlink interface as a list of what it promises, a line each: every member of every type, method and error with its
# path and its type; every word of an enumeration. What is only added makes lines more; what is changed or removed, lines
# that are missing.
#
#     awk -f tests/skew/idl.awk proto/io.cocod.Admin.varlink

{ sub(/#.*/, ""); text = text " " $0 }

function next_token() {
    if (!match(text, /[^ \t]/)) { token = ""; return "" }
    text = substr(text, RSTART)
    if (!match(text, /^(->|[A-Za-z0-9_.]+|.)/)) exit 1
    token = substr(text, 1, RLENGTH)
    text = substr(text, RLENGTH + 1)
    return token
}

# token is the first of a type; leaves token behind it.
function type_of(path,    prefix) {
    prefix = ""
    while (token == "?" || token == "[") {
        if (token == "?") { prefix = prefix "?"; next_token(); continue }
        prefix = prefix "["
        next_token()
        if (token == "string") { prefix = prefix "string"; next_token() }
        prefix = prefix "]"
        next_token()
    }
    if (token == "(") { print path ": " prefix "()"; members(path); return }
    print path ": " prefix token
    next_token()
}

# token is "(": members with types, or words of an enumeration.
function members(path,    name) {
    next_token()
    while (token != ")" && token != "") {
        name = token
        next_token()
        if (token == ":") { next_token(); type_of(path "." name) }
        else print path " = " name
        if (token == ",") next_token()
    }
    next_token()
}

END {
    next_token()
    while (token != "") {
        word = token
        name = next_token()
        print word " " name
        next_token()
        if (word == "type" || word == "error") members(word " " name)
        else if (word == "method") {
            members(word " " name " in")
            next_token()    # behind "->"
            members(word " " name " out")
        }
    }
}
