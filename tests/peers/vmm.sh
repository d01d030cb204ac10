# shellcheck shell=bash disable=SC2154
# QEMU and libvirt take what docs/integrations.md tells an administrator to write: the page's own lines, not copies.

# The indented block behind the heading.
documented() { # HEADING
    sed -n "/^## $1/,/^## [^${1:0:1}]/p" "$root/docs/integrations.md" | sed -n '/^    /,/^$/p' | sed '/^$/,$d; s/^    //'
}

# The documented arguments; a machine that is made, and not started.
qemu() { # ACCELERATOR SED-PROGRAM
    documented QEMU | tr '\n' ' ' | sed "$2" >"$dir/qemu.arguments"
    in_sid sh -c "eval timeout 20 qemu-system-x86_64 -nodefaults -display none -monitor none -S -accel $1 \"\$(cat /peers/qemu.arguments)\"; exit \$?"
}

check_qemu_knows_the_documented_properties() {
    expect "the documented arguments" "$(documented QEMU | cut -d' ' -f1 | tr '\n' ' ')" "-object -machine "
    # It gets as far as KVM, which a tdx-guest wants: its properties were taken.
    refuses "KVM required" qemu tcg ""
    refuses "Parameter 'quote-generation-sockets' is unexpected" qemu tcg s/quote-generation-socket/quote-generation-sockets/
    refuses "Parameter 'type' does not accept value 'unixe'" qemu tcg 's/"unix"/"unixe"/'
    refuses "Parameter 'qom-type' does not accept value 'tdx-guests'" qemu tcg 's/"tdx-guest"/"tdx-guests"/'
    refuses "Device 'tdx1' not found" qemu tcg s/support=tdx0/support=tdx1/
}

check_qemu_under_kvm_ends_at_what_the_host_lacks() {
    needs_kvm
    refuses "vm-type TDX not supported" qemu kvm ""
    refuses "Parameter 'quote-generation-sockets' is unexpected" qemu kvm s/quote-generation-socket/quote-generation-sockets/
}

domain() { # SED-PROGRAM
    {
        echo '<domain type="kvm"><name>td</name><memory unit="GiB">2</memory><os><type arch="x86_64" machine="q35">hvm</type></os>'
        documented libvirt | sed "$1"
        echo '</domain>'
    } >"$dir/domain.xml"
    in_sid virt-xml-validate /peers/domain.xml domain
}

check_libvirt_validates_the_documented_domain() {
    documented libvirt | grep -q '<quoteGenerationService path='
    says "validates" domain ""
    refuses "fails to validate" domain s/quoteGenerationService/quoteGenerationServices/
    refuses "fails to validate" domain "s/ path=/ pathname=/"
    refuses "fails to validate" domain "s/type='tdx'/type='tdxx'/"
}
