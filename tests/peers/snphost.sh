# shellcheck shell=bash disable=SC2154
# virtee's snphost: what cococtl writes it reads, and the other way round; with a made-up PKI and with AMD's own.

snphost() { in_sid snphost "$@"; }

# Its exit status is 0 whatever it found; a link that does not hold is struck through (U+0338, and U+0337 of a root).
links_of() { # FOLDER
    snphost verify certs "$1" | sed 's/\x1b\[[0-9;]*m//g' | sed -n 's/^[A-Za-z][A-Za-z]* [•⬑]/&/p'
}

check_snphost_verifies_what_cococtl_exports() {
    local host
    for host in $(hosts); do
        ctl $host certs export --out "$dir/$host/exported/" >/dev/null
        expect "$host: the chain as snphost sees it" "$(links_of /peers/$host/exported | tr '\n' ';')" "ARK •;ARK ⬑ ask;ask ⬑ vcek;"
        # One bit of the leaf's signature, which is at its end.
        cp -r "$dir/$host/exported" "$dir/$host/altered"
        flip "$dir/$host/altered/vcek.der" -1
        expect "$host: a leaf that was altered" "$(links_of /peers/$host/altered | tr '\n' ';')" "ARK •;ARK ⬑ ask;ask ⬑̸ vcek;"
    done
}

same_files() { # FOLDER FOLDER NAME…
    local a=$1 b=$2 name
    shift 2
    for name in "$@"; do
        cmp "$a/$name" "$b/$name"
    done
}

check_snphost_exports_the_table_file() {
    local host
    for host in $(hosts); do
        ctl $host certs export --out "$dir/$host/exported/" >/dev/null
        mkdir "$dir/$host/from-table"
        snphost export der /peers/$host/certs.table /peers/$host/from-table
        same_files "$dir/$host/from-table" "$dir/$host/exported" ark.der ask.der vcek.der
        # What it writes in either encoding cocod knows.
        mkdir "$dir/$host/pem"
        snphost export pem /peers/$host/certs.table /peers/$host/pem
        expect "$host: an import of PEM" "$(ctl $host certs import "$dir/$host/pem" | grep -c '^unchanged ')" 3
        expect "$host: an import of DER" "$(ctl $host certs import "$dir/$host/from-table" | grep -c '^unchanged ')" 3
        # An entry whose GUID is another one is no certificate of the chain any more.
        cp "$dir/$host/certs.table" "$dir/$host/other.table"
        printf 'cocod-was-here!!' | dd of="$dir/$host/other.table" bs=1 seek=24 conv=notrunc status=none
        mkdir "$dir/$host/from-other"
        snphost export der /peers/$host/other.table /peers/$host/from-other
        refuses "No such file" ls "$dir/$host/from-other/vcek.der"
    done
}

check_snphost_imports_what_cococtl_exports() {
    local host
    for host in $(hosts); do
        ctl $host certs export --out "$dir/$host/exported/" >/dev/null
        snphost import /peers/$host/exported /peers/$host/snphost.table
        # Its order is that of the folder; the certificates are the same.
        expect "$host: its table" "$(stat -c %s "$dir/$host/snphost.table")" "$(stat -c %s "$dir/$host/certs.table")"
        ctl $host certs verify "$dir/$host/snphost.table" >"$dir/verified"
        expect "$host: certificates that are good" "$(grep -c '^good ' "$dir/verified")" 3
        # One bit of a signature, and it is refused.
        cp "$dir/$host/snphost.table" "$dir/$host/bad.table"
        flip "$dir/$host/bad.table" -1
        refuses "refused " ctl $host certs verify "$dir/$host/bad.table"
    done
}
