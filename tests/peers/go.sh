# shellcheck shell=bash disable=SC2154
# Google's go-sev-guest and go-tdx-guest.

# The roots that go-sev-guest trusts are files in its source tree, which Debian leaves out; they are laid over it.
trusted_roots() {
    local trust=/usr/share/gocode/src/github.com/google/go-sev-guest/verify/trust product name comma='' at=$dir/roots
    mkdir -p "$at"
    echo '{"Replace": {' >"$at/overlay.json"
    for name in milan milan_vlek genoa genoa_vlek turin_vcek turin_vlek; do
        product=${name%_*}
        if [ -e "$data/snp" ]; then
            cat "$data/snp/${product}_ask.pem" "$data/snp/${product}_ark.pem" >"$at/$name.pem"
        else
            cat "$dir/made/pki/ask.pem" "$dir/made/pki/ark.pem" >"$at/$name.pem"
        fi
        echo "$comma\"$trust/ask_ark_$name.pem\": \"/peers/roots/$name.pem\"" >>"$at/overlay.json"
        comma=,
    done
    echo '}}' >>"$at/overlay.json"
}

go_build() { # NAME
    mkdir -p "$dir/$1"
    cp "$root/tests/peers/$1/main.go" "$dir/$1"
    in_sid env GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=/cache/go CGO_ENABLED=0 \
        go build -gcflags='all=-N -l' -ldflags=-w -overlay /peers/roots/overlay.json -o "/peers/$1/program" "/peers/$1/main.go"
}

sev_table() { in_sid /peers/go-sev-guest/program "$@"; }
tdx_quote() { in_sid /peers/go-tdx-guest/program "$@"; }

check_go_sev_guest_parses_the_table() {
    local host
    trusted_roots
    go_build go-sev-guest
    for host in $(hosts); do
        ctl $host request certs --out "$dir/$host/table" >/dev/null
        sev_table /peers/$host/table >"$dir/entries"
        expect "$host: the entries" "$(cut -d' ' -f1,3 "$dir/entries" | tr '\n' ';')" \
            "c0b406a4-a803-4952-9743-3fb6014cd0ae ARK-Milan;63da758d-e664-4564-adc5-f4b93be8accd SEV-VCEK;4ab7b379-bbac-4fe4-a02f-05aef327c782 SEV-Milan;"
        # A blob that ends behind the table's end.
        head -c 4000 "$dir/$host/table" >"$dir/$host/short.table"
        refuses "outside the certificate data" sev_table /peers/$host/short.table
    done
}

check_go_sev_guest_verifies_a_real_report() {
    needs_data
    [ -x "$dir/go-sev-guest/program" ] || { trusted_roots && go_build go-sev-guest; }
    ctl real request certs --out "$dir/real/table" >/dev/null
    says verified sev_table /peers/real/table /peers/real/report.bin
    # One bit of REPORT_DATA; and the same report with another host's certificates.
    cp "$dir/real/report.bin" "$dir/real/wrong-report.bin"
    flip "$dir/real/wrong-report.bin" 80
    refuses "signature" sev_table /peers/real/table /peers/real/wrong-report.bin
    ctl made request certs --out "$dir/made/table" >/dev/null
    refuses "signed by unknown authority" sev_table /peers/made/table /peers/real/report.bin
}

check_go_tdx_guest_parses_every_v4_quote() {
    local name
    go_build go-tdx-guest
    ctl made request quote "$dir/made/tdreport.bin" --out "$dir/made/quote" >/dev/null
    says "version 4" tdx_quote /peers/made/quote /peers/made/tdreport.bin
    head -c 1000 "$dir/made/quote" >"$dir/made/short.quote"
    refuses "size" tdx_quote /peers/made/short.quote /peers/made/tdreport.bin
    needs_data
    for name in pairA pairB v5; do
        ctl real request quote "$dir/real/quotes/${name}_tdreport.bin" --out "$dir/real/$name.quote" >/dev/null
    done
    says "version 4" tdx_quote /peers/real/pairA.quote /peers/real/quotes/pairA_tdreport.bin
    says "version 4" tdx_quote /peers/real/pairB.quote /peers/real/quotes/pairB_tdreport.bin
    refuses "another TDREPORT" tdx_quote /peers/real/pairA.quote /peers/real/quotes/pairB_tdreport.bin
    # As QGS gave it, with its padding: what cocod cuts off.
    refuses "behind the quote's end" tdx_quote /peers/real/quotes/pairA_quote.bin /peers/real/quotes/pairA_tdreport.bin
    # Known: this version takes quotes of version 4 alone. When it takes 5, this says so.
    refuses "quote format not supported" tdx_quote /peers/real/v5.quote /peers/real/quotes/v5_tdreport.bin
    echo "figure: version 5 is not known to this go-tdx-guest, and refused"
}
