#!/bin/bash
# What an administrator relies on, shown under a systemd that runs: this is executed inside the container that
# tests/systemd/boot.sh boots. One line a check, and a closing line "N passed, N failed".
#
# A check is a function; it fails where one of its commands does. What it prints is shown where it fails, and
# lines that begin with "figure:" always. Names of checks as arguments: only these.
set -u
here=/opt/check
out=/tmp/check.out
passed=0 failed=0

check() {
    : >$out
    (
        set -e
        "$1"
    ) >>$out 2>&1
    local code=$?
    if [ $code -eq 0 ]; then
        passed=$((passed + 1))
        printf '  ok    %s\n' "${1//_/ }"
        sed -n 's/^figure: /        /p' $out
    else
        failed=$((failed + 1))
        printf '  FAIL  %s (%s)\n' "${1//_/ }" $code
        sed 's/^/        | /' $out | tail -n 40
        journalctl -u cocod -n 15 --no-pager -o short-monotonic 2>/dev/null | sed 's/^/        # /'
    fi
}

expect() { # WHAT GOT WANTED
    [ "$2" = "$3" ] || {
        echo "$1 is '$2', not '$3'"
        return 1
    }
}

not() { # a "!" would hide it from set -e
    if "$@"; then
        echo "this succeeded: $*"
        return 1
    fi
}

show() { systemctl show -P "$1" "${2:-cocod.service}"; }
main_pid() { # never 0, which kill(1) takes for its own process group
    local pid
    pid=$(show MainPID)
    [ "$pid" -gt 0 ] && echo "$pid"
}

# Waits until a command succeeds, 30 s at most.
until_true() {
    for _ in $(seq 600); do
        "$@" && return 0
        sleep 0.05
    done
    echo "it never came true: $*"
    return 1
}

running_anew() { # the service runs, with another process than PID
    local state
    state=$(systemctl show -p MainPID -p SubState cocod.service | sort | paste -sd' ')
    [ "${state##* }" = SubState=running ] && [ "${state%% *}" != "MainPID=$1" ]
}

configure() {
    {
        printf '[certs]\nroot = %s/ark.pem\n' $here/chain
        printf 'chain = %s/chain/ark.pem\nchain = %s/chain/ask.pem\nchain = %s/chain/vcek.pem\n' $here $here $here
        cat
    } >/etc/cocod/cocod.conf
}

serves_the_chain() { cococtl request certs | grep VCEK; }
sees() { cococtl status | tee -a /dev/stderr | tr -s ' \n' ' ' | grep -qF "$1"; }

entries() { # EVENT [FIELD…]: the journal's entries of that event
    journalctl -u cocod -o json --no-pager COCO_EVENT="$1"
}

every_file() {
    find / -xdev \( -path /opt/check -o -path /var/log -o -path /var/cache -o -path /var/lib/dpkg -o -path /tmp \
        -o -path /var/lib/systemd/deb-systemd-helper-masked -o -path /var/tmp \) -prune -o -print | sort
    find /run/cocod* /run/systemd/system /run/systemd/units 2>/dev/null | grep -i coco | sort
}

start_load() { # [--quotes] CLIENTS RATE
    rm -f $here/load.out
    $here/systemd-load "$@" >$here/load.out 2>$here/load.err &
    load=$!
    until_true grep -q ready $here/load.out
}

hang() { # TID: that thread of cocod's stops, as in a file system that does not answer
    rm -f $here/hang.out
    $here/systemd-load --hang "$(main_pid)" "$1" >$here/hang.out &
    hung=$!
    until_true grep -q ready $here/hang.out
}

watchdog_after() { # SECONDS; none: as shipped
    rm -rf /run/systemd/system/cocod.service.d
    if [ $# -gt 0 ]; then
        mkdir -p /run/systemd/system/cocod.service.d
        printf '[Service]\nWatchdogSec=%s\n' "$1" >/run/systemd/system/cocod.service.d/watchdog.conf
    fi
    systemctl daemon-reload
    systemctl restart cocod
}

# Every call was answered, the load was there, and at least that many connections broke meanwhile.
end_load() { # BREAKS [RATE]
    local code=0
    kill -TERM $load
    wait $load || code=$?
    tail -n 5 $here/load.err
    sed -n '$s/^/figure: /p' $here/load.out
    expect "the load's exit status" $code 0
    awk -v want="$1" -v rate="${2:-50}" '/^clients=/ {split($4, r, "="); split($6, b, "="); exit !(r[2] >= rate * 0.9 && b[2] >= want)}' $here/load.out
}

# --- installing --------------------------------------------------------------------------------------

the_packages_install() {
    every_file >$here/before
    getent passwd >$here/passwd.before
    # From the archive they were made for, but for what is tested here.
    dpkg -i $here/debs/*.deb
}

users_folders_and_sockets_are_there() {
    getent passwd cocod
    expect "cocod's shell" "$(getent passwd cocod | cut -d: -f7)" /usr/sbin/nologin
    expect /run/cocod "$(stat -c '%U:%G %a' /run/cocod)" "cocod:kvm 755"
    expect cocod.sock "$(stat -c '%U:%G %a' /run/cocod/cocod.sock)" "root:kvm 660"
    expect io.cocod.Admin "$(stat -c '%U:%G %a' /run/cocod/io.cocod.Admin)" "root:cocod-admin 660"
    grep -qx 'store = /var/lib/cocod/certs' /etc/cocod/cocod.conf
    cocod --check >/dev/null
}

the_sockets_are_enabled_and_the_service_sleeps() {
    systemctl is-enabled cocod.socket cocod-admin.socket
    systemctl is-active cocod.socket cocod-admin.socket
    expect "the service" "$(show ActiveState)" inactive
}

the_first_request_starts_the_service() {
    cococtl ping
    expect "the service" "$(show ActiveState)" active
    expect "starts that were asked for by a socket" "$(show TriggeredBy | tr ' ' '\n' | sort | paste -sd' ')" "cocod-admin.socket cocod.socket"
    expect cocod.sock "$(stat -c '%U:%G %a' /run/cocod/cocod.sock)" "root:kvm 660"
    expect /var/lib/cocod "$(stat -c '%U:%G %a' /var/lib/cocod)" "cocod:kvm 700"
}

# --- the sandbox -------------------------------------------------------------------------------------

the_exposure_of_each_service_is_at_most_1() {
    local unit how exposure bad=0
    for unit in /lib/systemd/system/cocod*.service; do
        unit=${unit##*/}
        for how in "" "--offline=true --root=/"; do
            exposure=$(systemd-analyze security --no-pager $how "$unit" | sed -n "s/.*Overall exposure level for $unit: \([0-9.]*\).*/\1/p")
            echo "figure: $unit $exposure${how:+ (offline)}"
            awk -v e="$exposure" 'BEGIN {exit !(e != "" && e <= 1.0)}' || bad=1
        done
    done
    return $bad
}

# As far as it goes without firmware: the lock is taken, and what loads has the device and the hashsticks, and
# nothing of the host beside them.
the_vlek_loader_works_in_its_sandbox() {
    local pid
    configure </dev/null
    systemctl restart cocod
    until_true serves_the_chain
    pid=$(main_pid)
    mkdir -p /etc/cocod/vlek /run/systemd/system/cocod-vlek-load.service.d
    echo it is read >/etc/cocod/vlek/stick
    mknod /dev/sev c 1 3 # takes every open and no ioctl
    not systemctl start cocod-vlek-load.service
    journalctl -u cocod-vlek-load.service --no-pager -o cat | tee -a /dev/stderr | grep '^vlek-load: '
    entries update-begins | tail -n 1 | grep -q vlek-load
    cat >/run/systemd/system/cocod-vlek-load.service.d/probe.conf <<'EOF'
[Service]
ExecStart=
ExecStart=/usr/bin/cococtl certs rotate --exec /usr/bin/sh -c 'exec 4<>/dev/sev && cat /etc/cocod/vlek/stick && ! cat /etc/cocod/cocod.conf && echo "root: $(echo /*)"'
EOF
    systemctl daemon-reload
    systemctl start cocod-vlek-load.service
    journalctl -u cocod-vlek-load.service --no-pager -o cat | tee -a /dev/stderr | grep -qx 'it is read'
    journalctl -u cocod-vlek-load.service --no-pager -o cat | grep '^root: ' | not grep -E '/home|/opt|/boot'
    systemctl stop cocod-vlek-load.service
    rm -r /dev/sev /etc/cocod/vlek /run/systemd/system/cocod-vlek-load.service.d
    systemctl daemon-reload
    expect MainPID "$(main_pid)" "$pid"
    until_true serves_the_chain
}

the_ready_target_waits_for_the_chain_that_matches() {
    local missing
    missing=$(printf 'platform = fixed\nfixed_product = Milan\nfixed_chip_id = %s\nfixed_tcb = 4.0.9.116\n' "$(printf 'c2%.0s' $(seq 64))")
    mknod /dev/sev c 1 3
    echo "$missing" | configure
    systemctl restart cocod
    systemctl start --no-block cocod-ready.target
    sleep 2.5
    expect cocod-ready.service "$(systemctl is-active cocod-ready.service || true)" activating
    expect cocod-ready.target "$(systemctl is-active cocod-ready.target || true)" inactive
    configure </dev/null
    systemctl reload cocod
    until_true systemctl is-active cocod-ready.target
    serves_the_chain
    systemctl stop cocod-ready.target cocod-ready.service
    rm /dev/sev
    # Without the device nobody waits.
    echo "$missing" | configure
    systemctl reload cocod
    systemctl start cocod-ready.target
    systemctl stop cocod-ready.target
    configure </dev/null
    systemctl reload cocod
    until_true serves_the_chain
}

# As far as it goes without a network: it asks cocod which chip and TCB, and comes again when there is one.
the_fetcher_works_in_its_sandbox() {
    printf 'platform = fixed\nfixed_product = Milan\nfixed_chip_id = %s\nfixed_tcb = 4.0.9.116\n' "$(printf 'c2%.0s' $(seq 64))" | configure
    systemctl restart cocod
    mkdir -p /run/systemd/system/cocod-fetch.service.d
    printf '[Service]\nEnvironment=COCOCTL_FETCH=--timeout=2\n' >/run/systemd/system/cocod-fetch.service.d/probe.conf
    systemctl daemon-reload
    systemctl start cocod-fetch.service
    journalctl -u cocod-fetch.service --no-pager -o cat | tee -a /dev/stderr | grep -q 'Could not resolve host: kdsintf.amd.com'
    journalctl -u cocod-fetch.service --no-pager -o cat | grep -q '^later *Milan/vcek/c2c2'
    rm -r /run/systemd/system/cocod-fetch.service.d
    systemctl daemon-reload
    configure </dev/null
    systemctl restart cocod
    until_true serves_the_chain
}

no_unit_gives_up() {
    local unit
    for unit in /lib/systemd/system/cocod*.socket; do
        unit=${unit##*/}
        expect "$unit: TriggerLimitIntervalUSec" "$(show TriggerLimitIntervalUSec "$unit")" 0
    done
    expect StartLimitIntervalUSec "$(show StartLimitIntervalUSec)" 0
    expect Restart "$(show Restart)" always
    expect RestartUSec "$(show RestartUSec)" 1s
    expect Type "$(show Type)" notify
    expect MemoryMax "$(show MemoryMax)" $((2 << 30))
    expect LimitNOFILE "$(show LimitNOFILE)" 65536
}

it_has_no_capability_and_no_way_to_one() {
    local status
    status=/proc/$(main_pid)/status
    grep -E '^(Uid|Gid|Cap|NoNewPrivs|Seccomp:)' "$status"
    for field in CapInh CapPrm CapEff CapBnd CapAmb; do
        expect $field "$(sed -n "s/^$field:\t//p" "$status")" 0000000000000000
    done
    expect NoNewPrivs "$(sed -n 's/^NoNewPrivs:\t//p' "$status")" 1
    expect Seccomp "$(sed -n 's/^Seccomp:\t//p' "$status")" 2
    expect "its user" "$(stat -c %U "/proc/$(main_pid)")" cocod
}

peers_are_who_the_kernel_says() {
    local line
    line=$(setpriv --reuid=4242 --regid=kvm --clear-groups $here/systemd-load --who)
    expect "the server, as a client sees it" "$line" "uid=$(id -u cocod) pid=$(main_pid)"
    until_true eval 'entries guest-fatal | grep -q .'
    entries guest-fatal | tail -n 1 | tee -a /dev/stderr | grep -q '"PEER_UID":"4242"'
}

who_is_not_in_the_group_is_denied() {
    local code=0
    setpriv --reuid=4242 --regid=4242 --clear-groups cococtl ping || code=$?
    expect "cococtl's exit status" $code 77
    code=0
    setpriv --reuid=4242 --regid=kvm --clear-groups cococtl status || code=$?
    expect "cococtl's exit status" $code 77
}

# --- states, reload, journal -------------------------------------------------------------------------

systemd_hears_ready_reloading_and_stopping() {
    local pid
    busctl monitor --json=short --match="type='signal',interface='org.freedesktop.DBus.Properties',path='/org/freedesktop/systemd1/unit/cocod_2eservice'" \
        org.freedesktop.systemd1 >$here/states 2>/dev/null &
    pid=$!
    sleep 0.3
    systemctl restart cocod
    systemctl kill --signal=HUP --kill-whom=main cocod
    until_true eval '[ "$(show SubState)" = running ] && grep -q "\"ActiveState\":{\"type\":\"s\",\"data\":\"reloading\"" $here/states'
    systemctl kill --signal=TERM --kill-whom=main cocod
    until_true eval 'grep -q "\"SubState\":{\"type\":\"s\",\"data\":\"stop-sigterm\"" $here/states'
    kill $pid
    grep -o '"SubState":{"type":"s","data":"[a-z-]*"' $here/states | sed 's/.*:"//; s/"$//' | uniq | paste -sd' '
    # Its own STOPPING=1, nobody asked systemd; Restart=always brings it back.
    until_true eval '[ "$(show SubState)" = running ]'
}

a_good_reload_changes_what_is_served_and_keeps_the_process() {
    local pid
    pid=$(main_pid)
    configure </dev/null
    systemctl reload cocod
    until_true serves_the_chain
    expect MainPID "$(main_pid)" "$pid"
    grep -q vcek.pem /var/lib/cocod/last-good.conf
}

a_bad_reload_keeps_what_is_served_and_says_why() {
    local pid
    pid=$(main_pid)
    printf '[quotes]\nslots = many\n' | configure
    not cocod --check
    systemctl reload cocod
    until_true eval 'entries config-refused | grep -q .'
    serves_the_chain
    sees "the configuration was refused, the one before it stays in force"
    expect MainPID "$(main_pid)" "$pid"
    configure </dev/null
    systemctl reload cocod
    until_true eval '! cococtl status | grep "in force"'
}

the_journal_has_the_fields() {
    local ready refused
    ready=$(entries ready | tail -n 1)
    refused=$(entries config-refused | tail -n 1)
    echo "$ready"
    echo "$refused"
    for field in '"_SYSTEMD_UNIT":"cocod.service"' '"_COMM":"cocod"' "\"_UID\":\"$(id -u cocod)\"" '"PRIORITY":"5"' \
        '"_TRANSPORT":"journal"' '"MESSAGE":"cocod'; do
        grep -qF "$field" <<<"$ready" || { echo "no $field" && return 1; }
    done
    grep -qF '"PRIORITY":"3"' <<<"$refused"
    grep -qF 'slots = many' <<<"$refused"
}

the_journal_explains_the_events() {
    entries config-refused | tail -n 1 | grep -E '"MESSAGE_ID":"[0-9a-f]{32}"'
    journalctl -u cocod -x --no-pager COCO_EVENT=config-refused | tee -a /dev/stderr | grep -F 'cocod --check'
}

administrators_have_roles_and_leave_a_record() {
    local code=0 who chain=Milan/VLEK/-/1.2.3.4
    who="setpriv --reuid=4242 --regid=4242 --groups=$(getent group cocod-admin | cut -d: -f3)"
    $who cococtl status
    $who cococtl certs remove $chain || code=$?
    expect "cococtl's exit status" $code 77
    until_true eval 'entries peer-denied | grep -q .'
    entries peer-denied | tail -n 1 | tee -a /dev/stderr >$here/denied
    grep -F '"PEER_UID":"4242"' $here/denied | grep -F '"COCO_ROLE":"operate"'
    code=0
    cococtl certs remove $chain || code=$?
    expect "cococtl's exit status" $code 1
    until_true eval 'entries admin-audit | grep -q COCO_ARGUMENTS'
    entries admin-audit | tail -n 1 | tee -a /dev/stderr >$here/audit
    grep -F '"COCO_USER":"root"' $here/audit | grep -F 'RemoveChain' | grep -F 'COCO_RESULT'
}

# --- dying -------------------------------------------------------------------------------------------

a_watchdog_ends_a_stopped_loop_and_clients_recover() {
    local pid begin
    watchdog_after 2
    start_load 20 50
    pid=$(main_pid)
    begin=$(date +%s%N)
    kill -STOP "$pid"
    until_true running_anew "$pid"
    echo "figure: WatchdogSec=2: a new process runs $((($(date +%s%N) - begin) / 1000000)) ms after SIGSTOP"
    end_load 20
    journalctl -u cocod --no-pager | grep 'Watchdog timeout'
    watchdog_after
    expect WatchdogUSec "$(show WatchdogUSec)" 30s
}

a_worker_that_hangs_is_an_alarm_and_no_restart() {
    local pid
    watchdog_after 2
    until_true serves_the_chain
    pid=$(main_pid)
    start_load 20 50
    # What is read at the start is read by the loop; the first reload starts the thread that reads the configuration, and then
    # the one that reads certificates.
    systemctl reload cocod
    until_true eval '[ "$(ls "/proc/$pid/task" | wc -l)" = 3 ]'
    hang "$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n | tail -n 1)"
    systemctl reload cocod
    until_true eval 'entries worker-stalled | grep -q .'
    entries worker-stalled | tail -n 1 | tee -a /dev/stderr | grep -q '"PRIORITY":"3"'
    sees "reading or writing files hangs"
    serves_the_chain
    expect MainPID "$(main_pid)" "$pid"
    expect NRestarts "$(show NRestarts)" 0
    kill -TERM $hung
    until_true eval 'entries worker-goes-on | grep -q .'
    end_load 0
    grep -q 'breaks=0' $here/load.out
    watchdog_after
}

a_helper_that_hangs_is_an_alarm_and_no_restart() {
    local pid sim
    rm -f $here/sev.out
    $here/sev-sim /run/check-sev.sock product=Milan tcb=3.0.8.115 "chip_id=$(printf 'c1%.0s' $(seq 64))" >$here/sev.out &
    sim=$!
    until_true grep -q listening $here/sev.out
    chmod 666 /run/check-sev.sock
    echo 'platform = unix:/run/check-sev.sock' | configure
    watchdog_after 2
    pid=$(main_pid)
    until_true serves_the_chain
    kill -STOP $sim
    until_true eval '! serves_the_chain; sees "did not answer within 180 ms"'
    entries platform-unknown | tail -n 1 | tee -a /dev/stderr | grep -q '"PRIORITY":"3"'
    sleep 4 # twice the watchdog's time
    expect MainPID "$(main_pid)" "$pid"
    expect NRestarts "$(show NRestarts)" 0
    kill -CONT $sim
    until_true serves_the_chain
    kill -KILL $sim
    rm /run/check-sev.sock
    configure </dev/null
    watchdog_after
    until_true serves_the_chain
}

ten_thousand_sessions_are_held_and_served() {
    local holder each=1 pid current
    # A process each, as VMs are, where there is memory for so many of them.
    [ "$(sed -n 's/^MemAvailable: *\([0-9]*\).*/\1/p' /proc/meminfo)" -gt 6000000 ] || each=50
    pid=$(main_pid)
    rm -f $here/hold.out
    $here/systemd-load --hold 10000 $each >$here/hold.out 2>$here/hold.err &
    holder=$!
    until_true eval 'grep -q ready $here/hold.out || ! kill -0 $holder'
    cat $here/hold.err
    grep -q ready $here/hold.out
    sed 's/^/figure: /' $here/hold.err
    current=$(show MemoryCurrent)
    echo "figure: cocod has $(sed -n 's/^VmRSS:[\t ]*//p' "/proc/$pid/status") resident; its control group, bytes: $current"
    test "$(find "/proc/$pid/fd" -type l | wc -l)" -gt 10000
    expect MainPID "$(main_pid)" "$pid"
    serves_the_chain
    kill -TERM $holder
    wait $holder
}

# What cocod-qgs-restart.path is there for, with a service that plays QGS.
qgs_is_restarted_when_cocod_asks_for_it() {
    local pid
    printf '[Service]\nExecStart=/bin/sleep infinity\n' >/run/systemd/system/qgsd.service
    systemctl daemon-reload
    systemctl start qgsd.service
    systemctl start cocod-qgs-restart.path
    pid=$(show MainPID qgsd.service)
    setpriv --reuid=cocod --regid=kvm --clear-groups touch /run/cocod/restart-qgs
    until_true eval '[ "$(show MainPID qgsd.service)" != "$pid" ] && [ "$(show SubState qgsd.service)" = running ]'
    systemctl stop qgsd.service
    setpriv --reuid=cocod --regid=kvm --clear-groups touch /run/cocod/restart-qgs
    until_true eval '[ "$(show NRestarts cocod-qgs-restart.service)" = 0 ] && [ "$(show ActiveState cocod-qgs-restart.service)" = inactive ]'
    expect "a QGS that was stopped" "$(show ActiveState qgsd.service)" inactive
    systemctl stop cocod-qgs-restart.path
    rm /run/systemd/system/qgsd.service /run/cocod/restart-qgs
    systemctl daemon-reload
}

# A bare question of another protocol gets that protocol's answer, which is an error: there is no QGS.
the_front_door_is_closed_until_it_is_enabled() {
    expect cocod-qgs.socket "$(systemctl is-enabled cocod-qgs.socket || true)" disabled
    test ! -e /run/cocod/qgs.sock
    systemctl stop cocod.service cocod.socket cocod-admin.socket
    systemctl start cocod-qgs.socket cocod.socket cocod-admin.socket
    expect qgs.sock "$(stat -c '%U:%G %a' /run/cocod/qgs.sock)" "root:kvm 660"
    expect "its answer" "$(perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) && connect(S, pack_sockaddr_un("/run/cocod/qgs.sock")) or die $!;
        syswrite(S, pack("N vvVVV", 16, 1, 1, 4, 16, 0)); my $n = 0; while (my $r = sysread(S, $b, 100, $n)) { $n += $r } print unpack("x16 V", $b)')" $((0x12001))
    systemctl stop cocod.service cocod-qgs.socket
    systemctl restart cocod.socket cocod-admin.socket
    until_true serves_the_chain
}

the_metrics_are_written_and_served() {
    systemctl start cocod-metrics.service
    expect cocod.prom "$(stat -c '%U %a' /run/cocod-metrics/cocod.prom)" "cocod 644"
    grep -q '^cocod_certs_table_bytes \|^cocod_degraded ' /run/cocod-metrics/cocod.prom
    systemctl start cocod-metrics.timer
    rm /run/cocod-metrics/cocod.prom
    until_true test -f /run/cocod-metrics/cocod.prom
    systemctl stop cocod-metrics.timer
    test ! -e /run/cocod/metrics.sock
    systemctl stop cocod.service cocod.socket cocod-admin.socket
    systemctl start cocod-metrics.socket cocod.socket cocod-admin.socket
    expect metrics.sock "$(stat -c '%U:%G %a' /run/cocod/metrics.sock)" "root:cocod-admin 660"
    perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) && connect(S, pack_sockaddr_un("/run/cocod/metrics.sock")) or die $!;
        print while <S>' | grep -q '^cocod_degraded 0$'
    systemctl stop cocod.service cocod-metrics.socket
    systemctl restart cocod.socket cocod-admin.socket
    until_true serves_the_chain
}

restarts_under_load_fail_no_call() {
    start_load 200 50
    for _ in 1 2 3 4 5; do
        systemctl restart cocod
        sleep 0.5
    done
    end_load 1000
}

kill_9_under_load_fails_no_call() {
    local pid
    start_load 200 50
    for _ in 1 2 3 4 5; do
        pid=$(main_pid)
        kill -KILL "$pid"
        until_true running_anew "$pid"
        sleep 0.5
    done
    end_load 1000
}

restarts_and_crashes_lose_no_quote() {
    local sim pid
    rm -f $here/qgs.out
    $here/qgs-sim /run/check-qgs.sock >$here/qgs.out 2>&1 &
    sim=$!
    until_true test -S /run/check-qgs.sock
    chmod 666 /run/check-qgs.sock
    printf '[quotes]\nqgs = unix:/run/check-qgs.sock\n' | configure
    systemctl restart cocod
    start_load --quotes 10 10
    for _ in 1 2; do
        systemctl restart cocod
        sleep 0.5
        pid=$(main_pid)
        kill -KILL "$pid"
        until_true running_anew "$pid"
        sleep 0.5
    done
    end_load 40 10
    kill -TERM $sim
    wait $sim
    rm -f /run/check-qgs.sock
    configure </dev/null
    systemctl restart cocod
}

an_upgrade_and_a_downgrade_under_load_fail_no_call() {
    local pid sockets
    sockets=$(show ActiveEnterTimestampMonotonic cocod.socket)
    start_load 200 50
    pid=$(main_pid)
    # The configuration is the administrator's here: unattended, it is kept.
    dpkg -i --force-confold $here/older.deb
    running_anew "$pid"
    expect "the version" "$(dpkg-query -W -f '${Version}' cocod)" "$(dpkg-deb -f $here/older.deb Version)"
    expect "which is older" "$(dpkg --compare-versions "$(dpkg-query -W -f '${Version}' cocod)" lt "$(dpkg-deb -f $here/debs/cocod_*.deb Version)" && echo yes)" yes
    pid=$(main_pid)
    dpkg -i --force-confold $here/debs/cocod_*.deb
    running_anew "$pid"
    end_load 400
    expect "the socket's start" "$(show ActiveEnterTimestampMonotonic cocod.socket)" "$sockets"
}

after_50_crashes_and_with_a_bad_configuration_a_client_is_served() {
    local pid restarts
    systemctl stop cocod.service
    systemctl start cocod.service
    printf '[quotes]\nslots = many\n' | configure
    for _ in $(seq 50); do
        pid=$(main_pid)
        kill -KILL "$pid"
        until_true running_anew "$pid"
    done
    restarts=$(show NRestarts)
    echo "figure: NRestarts $restarts"
    expect NRestarts "$restarts" 50
    systemctl is-active cocod.socket cocod-admin.socket
    serves_the_chain
    sees "the configuration was refused, its last good copy is in force"
}

without_a_last_good_copy_the_defaults_run() {
    rm /var/lib/cocod/last-good.conf
    systemctl restart cocod
    cococtl ping
    sees "the configuration was refused, the defaults are in force"
    test ! -e /var/lib/cocod/last-good.conf
    configure </dev/null
    systemctl reload cocod
    until_true serves_the_chain
}

# --- the quoting service -----------------------------------------------------------------------------

# As Intel's package has it, but for the program: one that makes the socket, as QGS does after it has forked, and
# fails where a file is in its place.
make_qgsd() {
    cat >/etc/systemd/system/qgsd.service <<'END'
[Service]
Type=forking
ExecStart=/bin/sh -c 'umask 022; systemd-socket-activate -l /run/tdx-qgs/qgs.socket /bin/cat & sleep 0.2'
Restart=on-failure
RestartSec=15s
END
    install -D -m 644 /usr/share/doc/cocod/qgsd.service.d/50-cocod.conf /etc/systemd/system/qgsd.service.d/50-cocod.conf
    systemctl daemon-reload
}

qgs_runs() { [ "$(show SubState qgsd)" = running ] && [ "$(show InvocationID qgsd)" != "$1" ]; }
qgs_socket_is() { [ "$(stat -c '%F %a' /run/tdx-qgs/qgs.socket 2>/dev/null)" = "socket $1" ]; }

qgsd_comes_back_from_exit_0_and_over_a_stale_socket() {
    local before
    make_qgsd
    systemd-analyze verify qgsd.service cocod-qgs-restart.path cocod-qgs-restart.service
    systemctl start qgsd
    until_true qgs_socket_is 660
    expect StartLimitIntervalUSec "$(show StartLimitIntervalUSec qgsd)" 0
    expect LimitNOFILE "$(show LimitNOFILE qgsd)" 65536
    before=$(show InvocationID qgsd)
    systemctl kill --signal=TERM --kill-whom=all qgsd # to systemd a clean end, as exit status 0 is; its socket stays
    until_true qgs_runs "$before"
    until_true qgs_socket_is 660
    for _ in 1 2 3 4 5 6; do # more often than the distribution's limit of five in ten seconds
        systemctl restart qgsd
    done
    expect "qgsd" "$(systemctl is-active qgsd)" active
}

qgsd_is_restarted_when_cocod_asks_three_times_an_hour_at_most() {
    local before
    # There already: making it and closing it are two changes to a systemd that is slow, and two starts of the three.
    setpriv --reuid=cocod --regid=cocod --clear-groups sh -c ': >/run/cocod/restart-qgs'
    systemctl start qgsd cocod-qgs-restart.path
    for _ in 1 2 3; do
        before=$(show InvocationID qgsd)
        setpriv --reuid=cocod --regid=cocod --clear-groups sh -c 'echo it hangs >/run/cocod/restart-qgs'
        until_true qgs_runs "$before"
        until_true eval '[ "$(show ActiveState cocod-qgs-restart.service)" = inactive ]'
    done
    before=$(show InvocationID qgsd)
    setpriv --reuid=cocod --regid=cocod --clear-groups sh -c 'echo it hangs >/run/cocod/restart-qgs'
    until_true eval '[ "$(show ActiveState cocod-qgs-restart.path)" = failed ]'
    expect "the path unit ended by" "$(show Result cocod-qgs-restart.path)" unit-start-limit-hit
    expect "qgsd's invocation" "$(show InvocationID qgsd)" "$before"
    # As docs/integrations.md says, and one more works.
    systemctl reset-failed cocod-qgs-restart.service
    systemctl restart cocod-qgs-restart.path
    setpriv --reuid=cocod --regid=cocod --clear-groups sh -c 'echo it hangs >/run/cocod/restart-qgs'
    until_true qgs_runs "$before"
    # A QGS that the administrator has stopped stays stopped.
    systemctl stop qgsd
    until_true eval '[ "$(show ActiveState cocod-qgs-restart.service)" = inactive ]'
    setpriv --reuid=cocod --regid=cocod --clear-groups sh -c 'echo it hangs >/run/cocod/restart-qgs'
    until_true eval '[ "$(journalctl -u cocod-qgs-restart.service --no-pager | grep -c Finished)" -ge 5 ]'
    expect "qgsd" "$(show ActiveState qgsd)" inactive
    systemctl stop cocod-qgs-restart.path
    rm -r /etc/systemd/system/qgsd.service /etc/systemd/system/qgsd.service.d /run/cocod/restart-qgs
    systemctl daemon-reload
}

# --- removing ----------------------------------------------------------------------------------------

removal_leaves_nothing() {
    # Also of what an administrator enabled, and what runs.
    systemctl enable cocod.service cocod-qgs.socket cocod-fetch.timer cocod-metrics.timer cocod-metrics.socket cocod-vlek-load.service cocod-ready.target cocod-qgs-restart.path
    systemctl start cocod-fetch.timer cocod-metrics.timer cocod-qgs-restart.path cocod.service
    dpkg --purge cocod libcoco0 libcoco-dev
    not grep -qx cocod /proc/[0-9]*/comm
    not getent passwd cocod
    not getent group cocod cocod-fetch cocod-admin
    systemctl list-units --all --no-legend 'cocod*'
    expect "units that are left" "$(systemctl list-units --all --no-legend 'cocod*' | wc -l)" 0
    every_file >$here/after
    diff $here/before $here/after
    getent passwd | diff $here/passwd.before -
}

all="
    the_packages_install
    users_folders_and_sockets_are_there
    the_sockets_are_enabled_and_the_service_sleeps
    the_first_request_starts_the_service
    the_exposure_of_each_service_is_at_most_1
    the_vlek_loader_works_in_its_sandbox
    the_ready_target_waits_for_the_chain_that_matches
    the_fetcher_works_in_its_sandbox
    no_unit_gives_up
    it_has_no_capability_and_no_way_to_one
    peers_are_who_the_kernel_says
    who_is_not_in_the_group_is_denied
    a_good_reload_changes_what_is_served_and_keeps_the_process
    a_bad_reload_keeps_what_is_served_and_says_why
    systemd_hears_ready_reloading_and_stopping
    the_journal_has_the_fields
    the_journal_explains_the_events
    administrators_have_roles_and_leave_a_record
    a_watchdog_ends_a_stopped_loop_and_clients_recover
    a_worker_that_hangs_is_an_alarm_and_no_restart
    a_helper_that_hangs_is_an_alarm_and_no_restart
    ten_thousand_sessions_are_held_and_served
    qgs_is_restarted_when_cocod_asks_for_it
    the_front_door_is_closed_until_it_is_enabled
    the_metrics_are_written_and_served
    restarts_under_load_fail_no_call
    kill_9_under_load_fails_no_call
    restarts_and_crashes_lose_no_quote
    an_upgrade_and_a_downgrade_under_load_fail_no_call
    after_50_crashes_and_with_a_bad_configuration_a_client_is_served
    without_a_last_good_copy_the_defaults_run
    qgsd_comes_back_from_exit_0_and_over_a_stale_socket
    qgsd_is_restarted_when_cocod_asks_three_times_an_hour_at_most
    removal_leaves_nothing
"
[ $# -gt 0 ] || set -- $all
for name in "$@"; do
    check "$name"
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
