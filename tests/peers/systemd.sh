# shellcheck shell=bash disable=SC2154
# The units, the users, the folders and the journal's catalog as the newest systemd reads them: what it warns of today may
# be an error tomorrow.

# Everything that is installed, where the chroot sees it under the same path.
installed() {
    [ ! -d "$dir/usr" ] || return 0
    make -s -C "$root" BUILD="$build" install DESTDIR="$dir/stage" PREFIX=/peers/usr >/dev/null
    mv "$dir/stage/peers/usr" "$dir/usr"
}

of_systemd() { # COMMAND: in the folder of units
    in_sid sh -c "cd /peers/usr/lib/systemd/system && export SYSTEMD_UNIT_PATH=\$PWD: SYSTEMD_LOG_TARGET=console && $1" 2>&1
}

check_systemd_verifies_the_units() {
    installed
    expect "what systemd-analyze remarks" "$(of_systemd "systemd-analyze verify --man=no *.*")" ""
    cp "$dir/usr/lib/systemd/system/cocod.service" "$dir/usr/lib/systemd/system/wrong.service"
    sed -i 's/^RestartSec=/RestartSeconds=/; s/^\[Service\]/&\nRestartSeconds=1/' "$dir/usr/lib/systemd/system/wrong.service"
    says "Unknown key 'RestartSeconds'" of_systemd "systemd-analyze verify --man=no wrong.service"
}

# Into a root of its own, which ends with the command.
check_systemd_makes_users_folders_and_catalog() {
    local lib=/peers/usr/lib name
    installed
    of_systemd "mkdir -p /tmp/r/etc /tmp/r/usr/lib/systemd && cp -r $lib/systemd/catalog /tmp/r/usr/lib/systemd &&
        systemd-sysusers --root=/tmp/r $lib/sysusers.d/cocod.conf &&
        systemd-tmpfiles --root=/tmp/r --create $lib/tmpfiles.d/cocod.conf &&
        journalctl --root=/tmp/r --update-catalog && journalctl --root=/tmp/r --list-catalog &&
        cut -d: -f1 /tmp/r/etc/passwd /tmp/r/etc/group && stat -c 'mode %a of %n' /tmp/r/run/cocod" >"$dir/made.by-systemd"
    for name in cocod cocod-admin cocod-fetch 'mode 755 of /tmp/r/run/cocod'; do
        grep -qx -e "$name" "$dir/made.by-systemd"
    done
    expect "the catalog's entries" "$(grep -c '^[0-9a-f]\{32\} cocod' "$dir/made.by-systemd")" "$(grep -c '^-- ' "$root/systemd/cocod.catalog")"
    refuses "Unknown" of_systemd "mkdir -p /tmp/r/etc && sed 's/^g /gg /' $lib/sysusers.d/cocod.conf | systemd-sysusers --root=/tmp/r -"
}
