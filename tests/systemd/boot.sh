#!/bin/bash
# Boots a systemd of its own in a container, with the built packages, and runs tests/systemd/checks.sh in it.
#
#   tests/systemd/boot.sh BUILD [CHECK…]
#
# The container's files are debootstrapped once, into BUILD/systemd/, and used as the lower layer of an
# overlay. Everything else is undone at the end: mounts live in a namespace of their own, the control group is
# removed, and the container is ended by its pid. What this machine cannot do is said, counted as skipped, and
# no failure.
set -u
build=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
dir=$build/systemd

skip() {
    echo "SKIP: check-systemd: $1"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}

fail() {
    echo "  FAIL  $1"
    [ -n "${2:-}" ] && tail -n 40 "$2" | sed 's/^/        | /'
    echo "0 passed, 1 failed"
    exit 1
}

# --- the container's files ---------------------------------------------------------------------------

make_base() {
    . /etc/os-release
    # What this release needs, and the one before.
    packages=$(for deb in "$build"/deb/cocod_*.deb "$dir/older.deb"; do dpkg-deb -f "$deb" Depends; echo; done |
        tr ',' '\n' | sed 's/|.*//; s/(.*//; s/ //g; /^$/d' | sort -u | paste -sd,)
    packages=systemd,systemd-sysv,dbus,$packages
    base=$dir/base-$VERSION_CODENAME-$(echo "$packages" | md5sum | cut -c1-8)
    [ -d "$base" ] && return 0
    echo "  making a $VERSION_CODENAME system in $base (once)"
    rm -rf "$base.new"
    debootstrap --variant=minbase --include="$packages" "$VERSION_CODENAME" "$base.new" >"$dir/debootstrap.log" 2>&1 ||
        skip "debootstrap cannot make a $VERSION_CODENAME system; see $dir/debootstrap.log: $(tail -n 1 "$dir/debootstrap.log")"
    mv "$base.new" "$base"
}

# The release before, as it was packaged; where the history does not have it, the same files with a smaller version number.
make_older() {
    local older
    older=$("$here/../skew/run" --package "$build" 9>&- | tail -n 1)
    if [ -f "$older" ]; then
        cp "$older" "$1"
        return
    fi
    echo "  the release before cannot be packaged here ($older): this one stands in for it"
    rm -rf "$dir/older"
    dpkg-deb -R "$build"/deb/cocod_*.deb "$dir/older" &&
        sed -i 's/^Version:.*/Version: 0.0.1/' "$dir/older/DEBIAN/control" &&
        dpkg-deb --root-owner-group -b "$dir/older" "$1" >/dev/null
}

place_material() {
    rm -rf "$dir/root" "$dir/upper" "$dir/work"
    mkdir -p "$dir/root" "$dir/upper/opt/check/debs" "$dir/upper/opt/check/chain" "$dir/work"
    chmod 755 "$dir/upper" "$dir/upper/opt"
    for package in cocod libcoco0 libcoco-dev; do
        cp "$build"/deb/${package}_*.deb "$dir/upper/opt/check/debs/"
    done
    cp "$dir/older.deb" "$dir/upper/opt/check/" &&
        "$build/tests/snp-pki" "$dir/upper/opt/check/chain" >/dev/null &&
        cp "$here/checks.sh" "$build/tests/systemd-load" "$build/tests/sev-sim" "$build/tests/qgs-sim" "$dir/upper/opt/check/" &&
        mount -t overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/root"
}

# --- the container -----------------------------------------------------------------------------------

enter_group() {
    group=/sys/fs/cgroup/cocod-check.$$
    mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null && mkdir "$group" && echo $$ >"$group/cgroup.procs"
}

leave() {
    [ -n "${leader:-}" ] && kill -KILL "$leader" 2>/dev/null
    [ -n "${nspawn:-}" ] && wait "$nspawn" 2>/dev/null
    echo $$ >/sys/fs/cgroup/cgroup.procs
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
    umount "$dir/root" 2>/dev/null
    rm -rf "$dir/upper" "$dir/work" "$dir/older"
}

boot() {
    setsid systemd-nspawn --quiet --directory="$dir/root" --boot --register=no --keep-unit --private-network \
        --console=pipe --machine=cocod-check </dev/null >"$dir/boot.log" 2>&1 &
    nspawn=$!
    leader=
    for _ in $(seq 200); do
        kill -0 $nspawn 2>/dev/null || return 1
        for child in $(cat /proc/$nspawn/task/*/children 2>/dev/null); do
            [ "$(cat "/proc/$child/comm" 2>/dev/null)" = systemd ] && leader=$child
        done
        [ -n "$leader" ] && timeout 20 nsenter -t "$leader" -a systemctl is-system-running --wait >/dev/null 2>&1
        [ -n "$leader" ] && nsenter -t "$leader" -a systemctl is-active -q multi-user.target 2>/dev/null && return 0
        sleep 0.1
    done
    return 1
}

if [ "${COCO_CHECK_INSIDE:-}" = yes ]; then
    enter_group || skip "cgroup2 cannot be mounted here"
    trap leave EXIT
    make_older "$dir/older.deb" 2>"$dir/older.log" || fail "the release before cannot be packaged" "$dir/older.log"
    make_base
    place_material 2>"$dir/place.log" || fail "the container's files cannot be put together" "$dir/place.log"
    boot || fail "the container does not boot" "$dir/boot.log"
    # About a minute and a half; what a check waits for is bounded, too.
    timeout 900 setsid -w nsenter -t "$leader" -a env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 bash /opt/check/checks.sh "${@:2}"
    code=$?
    [ $code -ne 124 ] || fail "the checks did not come to an end in 15 minutes"
    exit $code
fi

[ "$(id -u)" = 0 ] || skip "it needs root, for mounts and a container"
[ -f /etc/debian_version ] || skip "it makes a Debian system, with packages built on one"
for program in systemd-nspawn debootstrap dpkg-buildpackage dh scdoc; do
    command -v $program >/dev/null || skip "$program is not here"
done
mkdir -p "$dir"
exec 9>"$dir/lock"
flock -n 9 || fail "another check-systemd runs in $dir"
unshare --mount --propagation private true 2>/dev/null || skip "mount namespaces cannot be made here"
COCO_CHECK_INSIDE=yes exec unshare --mount --propagation private "$0" "$@"
