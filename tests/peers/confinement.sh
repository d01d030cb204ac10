# shellcheck shell=bash disable=SC2154
# AppArmor's and SELinux's compilers take the lines of docs/integrations.md.

check_apparmor_parser_takes_the_documented_lines() {
    sed -n '/^## AppArmor/,/^## SELinux/s/^      \//  \//p' "$root/docs/integrations.md" >"$dir/lines"
    expect "the documented lines" "$(grep -c '/run/cocod/\|}run/cocod/' "$dir/lines")" 2
    { echo 'profile libvirt-of-a-guest {' && cat "$dir/lines" && echo '}'; } >"$dir/profile"
    in_sid apparmor_parser -Q -K /peers/profile
    sed 's/ rw,/ rq,/' "$dir/profile" >"$dir/wrong-profile"
    refuses "syntax error" in_sid apparmor_parser -Q -K /peers/wrong-profile
}

# What the rules of the page need of a policy, and no more.
base_policy() {
    cat <<'CIL'
(class unix_stream_socket (connectto))
(class sock_file (write getattr))
(classorder (unix_stream_socket sock_file))
(sid kernel)
(sidorder (kernel))
(sensitivity s0)
(sensitivityorder (s0))
(category c0)
(categoryorder (c0))
(sensitivitycategory s0 (c0))
(level low (s0))
(user u)
(role r)
(type svirt_t)
(type unconfined_service_t)
(type var_run_t)
(userrole u r)
(userlevel u low)
(userrange u (low low))
(roletype r svirt_t)
(sidcontext kernel (u r svirt_t (low low)))
CIL
}

secilc() { in_sid secilc -M 0 -o /tmp/policy -f /tmp/contexts /peers/base.cil "$1"; }

check_secilc_takes_the_documented_rules() {
    base_policy >"$dir/base.cil"
    sed -n '/^## SELinux/,/^## /p' "$root/docs/integrations.md" | grep -o '(allow [a-z_ ]*([a-z_]* ([a-z ]*)))' >"$dir/cocod.cil"
    expect "the documented rules" "$(wc -l <"$dir/cocod.cil")" 2
    secilc /peers/cocod.cil
    sed 's/connectto/connectsto/' "$dir/cocod.cil" >"$dir/wrong.cil"
    refuses "Failed to resolve permission connectsto" secilc /peers/wrong.cil
}
