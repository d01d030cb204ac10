# shellcheck shell=bash disable=SC2154
# Rust's sev, kvm-ioctls and vm-memory: the crates themselves, and the sample of docs/vmm-guide.md on top of them.

rust_build() {
    local at=$dir/rust
    [ ! -e "$at/built" ] || return 0
    cp -r "$root/tests/peers/rust" "$root/client/include" "$dir"
    sed -n '/^```rust$/,/^```$/p' "$root/docs/vmm-guide.md" | sed '/^```/d' >"$at/guide.rs"
    [ "$(wc -l <"$at/guide.rs")" -gt 20 ]
    cp "$build/libcoco.a" "$at"
    mkdir -p "$at/.cargo"
    cat >"$at/.cargo/config.toml" <<CONF
[source.crates-io]
replace-with = "debian"
[source.debian]
directory = "/usr/share/cargo/registry"
CONF
    in_sid cc -std=c99 -Wall -Wextra -Werror -I/peers/include -c /peers/rust/options.c -o /peers/rust/options.o
    in_sid sh -c 'cd /peers/rust && CARGO_HOME=/peers/rust/home CARGO_TARGET_DIR=/cache/rust cargo build --offline --quiet'
    touch "$at/built"
}

sev_rs() { in_sid /cache/rust/debug/sev-table "$@"; }

check_sev_rs_parses_and_verifies_the_table() {
    local host ark vcek
    rust_build
    for host in $(hosts); do
        ctl $host request certs --out "$dir/$host/table" >/dev/null
        sev_rs /peers/$host/table >"$dir/entries"
        expect "$host: what it found" "$(cut -d' ' -f1 "$dir/entries" | tr '\n' ' ')" "ARK VCEK ASK chain "
        # One bit of the VCEK's signature: the last one of the second blob.
        ark=$(sed -n 's/^ARK //p' "$dir/entries") vcek=$(sed -n 's/^VCEK //p' "$dir/entries")
        flip "$dir/$host/table" $((96 + ark + vcek - 1))
        refuses "VCEK $vcek" sev_rs /peers/$host/table
    done
}

check_sev_rs_verifies_a_real_report() {
    needs_data
    rust_build
    ctl real request certs --out "$dir/real/table" >/dev/null
    says "report verified" sev_rs /peers/real/table /peers/real/report.bin
    cp "$dir/real/report.bin" "$dir/real/wrong-report.bin"
    flip "$dir/real/wrong-report.bin" 80
    refuses "chain verified" sev_rs /peers/real/table /peers/real/wrong-report.bin
}

check_rust_sample_of_the_guide_on_kvm_ioctls() {
    rust_build
    needs_kvm
    local exit
    exit=$(sed -n 's/.*`Unsupported(\([0-9]*\))`.*/\1/p' "$root/docs/vmm-guide.md")
    says "Unsupported($exit)" in_sid /cache/rust/debug/vmm /peers/made/cocod.sock "$exit" /peers/made/rust.table
    ctl made request certs --out "$dir/made/table" >/dev/null
    cmp -n "$(stat -c %s "$dir/made/table")" "$dir/made/rust.table" "$dir/made/table"
    # An exit that KVM does not have.
    refuses "for an exit 32767" in_sid /cache/rust/debug/vmm /peers/made/cocod.sock 32767 /peers/made/none.table
}
