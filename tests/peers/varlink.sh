# shellcheck shell=bash disable=SC2154
# systemd's varlinkctl at the administrators' socket.

admin=unix:/peers/made/admin.sock

varlinkctl() { in_sid env SYSTEMD_LOG_TARGET=console varlinkctl --no-pager "$@"; }
call() { varlinkctl -j call $admin "$1" "$2"; }

check_varlinkctl_info_of_the_service() {
    varlinkctl -j info $admin >"$dir/info"
    in_sid jq -e '.product == "cocod" and (.version | length > 0) and .interfaces == ["org.varlink.service", "io.cocod.Admin"]' /peers/info
    varlinkctl list-interfaces $admin | grep -qx io.cocod.Admin
    refuses "Failed to connect" varlinkctl info unix:/peers/made/nobody.sock
}

check_varlinkctl_validates_the_interface() {
    varlinkctl -j call $admin org.varlink.service.GetInterfaceDescription '{"interface": "io.cocod.Admin"}' >"$dir/description"
    in_sid jq -r .description /peers/description >"$dir/admin.varlink"
    diff "$dir/admin.varlink" "$root/proto/io.cocod.Admin.varlink" | grep '^[<>] .' && return 1
    varlinkctl validate-idl /peers/admin.varlink
    sed 's/^type TableEntry (/type TableEntry/' "$dir/admin.varlink" >"$dir/broken.varlink"
    refuses "Bad syntax" varlinkctl validate-idl /peers/broken.varlink
    sed 's/\[\]TableEntry,/[]TableEntrance,/' "$dir/admin.varlink" >"$dir/dangling.varlink"
    refuses "unresolved type" varlinkctl validate-idl /peers/dangling.varlink
}

# Every declaration, one a line, without comments and blanks: systemd orders and spells them in its own way.
declarations() {
    sed 's/^[ \t]*#.*//; s/^\(type\|method\|error\|interface\) /\n&/' "$1" | tr -d ' \t' | awk -v RS= '{gsub(/\n/, ""); print}' | sort
}

check_varlinkctl_introspects_the_interface() {
    varlinkctl introspect $admin io.cocod.Admin >"$dir/introspected"
    varlinkctl validate-idl /peers/introspected
    [ "$(declarations "$dir/introspected" | wc -l)" -gt 40 ]
    diff <(declarations "$dir/introspected") <(declarations "$root/proto/io.cocod.Admin.varlink")
    refuses "GetInterfaceDescription" varlinkctl introspect $admin io.cocod.Nobody
}

# A method's name -> its parameters and what jq finds in the answer; or "error NAME", where a caller who does nothing but this call
# is told so. Fields that are added do not matter.
method_call() {
    local chip
    chip=$(cat "$dir/made/chip")
    case $1 in
    GetInfo) p='{}' q='.vendor == "cocod"' ;;
    GetInterfaceDescription) p='{"interface": "org.varlink.service"}' q='.description | test("interface org.varlink.service")' ;;
    Disconnect) p="{\"vm\": \"pid:$vmm_pid\"}" q='.disconnected > 0 and .vm.vm == "synthetic"' ;;
    GetStatus) p='{}' q='.state == "serving" and (.certificates.tableEntries | length == 3) and (.quotes.backends[0].slots == 4) and .counters.requests > 0' ;;
    ListVms) p='{"after": 0}' q='(.vms | length > 0) and (.vms[0].pid > 0) and .next == null' ;;
    Explain) p="{\"vm\": \"pid:$vmm_pid\"}" q='(.requests | length > 0) and ([.requests[].kind] | contains(["certs"]) and contains(["quote"]))' ;;
    ListJobs) p='{}' q='(.jobs | type == "array") and .leftOut == 0 and .kept == []' ;;
    Diagnose) p='{}' q='[.checks[] | select(.name == "TCB") | .verdict] == ["good"]' ;;
    GetLogLevel) p='{}' q='.level == "info"' ;;
    SetLogLevel) p='{"level": "info"}' q='.level == "info" and .before == "info"' ;;
    Drain) p='{}' q='.changed and .requestsInFlight >= 0' ;;
    Resume) p='{}' q='.changed' ;;
    GetMetrics) p='{}' q='.text | startswith("# HELP cocod_")' ;;
    GetConfig) p='{}' q='.source == "files" and (.hash | test("^[0-9a-f]{16}$")) and ([.values[].key] | contains(["store", "qgs"]))' ;;
    ListCertificates) p='{}' q='[.certificates[].kind] == ["ARK", "VCEK", "ASK"]' ;;
    Import) p="{\"files\": [{\"name\": \"ark\", \"data\": \"$(base64 -w0 "$dir/made/chain/ark.pem")\"}]}" q='[.results[] | .kind + " " + .action] == ["ARK unchanged"]' ;;
    Verify) p='{"files": [{"name": "empty", "data": "AAAA"}]}' q='.results[0].action == "refused" and (.results[0].reason | length > 0)' ;;
    ListChains) p='{}' q='([.chains[] | select(.served) | .tcb] == ["3.0.8.115"]) and (.crls | length == 1)' ;;
    GetChain) p='{"key": null}' q='(.key | startswith("Milan/VCEK/")) and (.certificates | length == 3) and (.table | length > 5000)' ;;
    RemoveChain)
        ctl made certs import "$dir/made/next.pem" >/dev/null
        p="{\"key\": \"Milan/VCEK/$chip/4.0.9.116\"}" q='. == {}'
        ;;
    Preflight) p='{"tcb": "3.0.8.115"}' q='.ready and .reason == null' ;;
    BeginUpdate) p='{"timeoutMs": 1000, "reason": "a foreign client"}' q='(.tableFile | endswith("certs.table")) and (.generation | length == 16)' ;;
    LeaseHolders) p='{}' q='.holders | type == "array"' ;;
    EndUpdate) p='{"forced": false, "void": []}' q='error NotUpdating' ;;
    GetEvents) p='{}' q='[.events[].event] | length > 0' ;;
    Monitor) p='{"past": true}' q="error called without 'more' flag" ;;
    *) return 1 ;;
    esac
}

serves_again() { ctl made --json status | grep -q '"state":"serving"'; }

check_varlinkctl_calls_every_method() {
    local method p q n=0
    vmm_pid=$(ctl made --json vms | sed -n 's/.*"pid":\([0-9]*\).*/\1/p' | head -n 1)
    for method in $(varlinkctl list-methods $admin); do
        n=$((n + 1))
        method_call "${method##*.}" || {
            echo "$method: a method for which this check has no call"
            return 1
        }
        case $q in
        error*) refuses "${q#error }" call "$method" "$p" ;;
        *)
            call "$method" "$p" >"$dir/reply"
            in_sid jq -e "$q" /peers/reply >/dev/null || {
                echo "$method: not so: $q"
                head -c 2000 "$dir/reply"
                return 1
            }
            ;;
        esac
        # An update ends with the connection that began it, and is over when the platform was read again.
        [ "${method##*.}" != BeginUpdate ] || until_true serves_again
        # What no method takes is refused by its name.
        refuses '"parameter":"noSuchParameter"' call "$method" '{"noSuchParameter": 1}'
    done
    expect "the number of methods" "$n" "$(($(grep -c '^method ' "$root/proto/io.cocod.Admin.varlink") + 2))"
    echo "figure: $n methods"
    refuses '"method":"io.cocod.Admin.GetStatuses"' call io.cocod.Admin.GetStatuses '{}'
    refuses "NoSuchVm" call io.cocod.Admin.Explain '{"vm": "nobody"}'
    refuses "NoSuchChain" call io.cocod.Admin.RemoveChain '{"key": "Milan/VCEK/00/1.0.1.1"}'
}

# Past events, and one that happens while it listens.
check_varlinkctl_more_monitors() {
    local pid
    refuses "called without 'more' flag" call io.cocod.Admin.Monitor '{"past": true}'
    "$root/tests/debian/chroot" run "$sid" -b "$dir" /peers varlinkctl --no-pager -j --more --timeout=60 call $admin \
        io.cocod.Admin.Monitor '{"past": true}' >"$dir/monitored" 2>&1 </dev/null &
    pid=$!
    until_has '"event":null' "$dir/monitored"
    ctl made drain >/dev/null
    ctl made resume >/dev/null
    until_has io.cocod.Admin.Resume "$dir/monitored"
    kill $pid
    in_sid jq --seq -s -e '.[0].event == null and ([.[1:][].event.number] | . == (sort | unique)) and all(.[].lost; . == 0)' /peers/monitored
}

check_varlinkctl_flags_of_a_call() {
    says '[{"level":"info"}]' varlinkctl -j --collect call $admin io.cocod.Admin.GetLogLevel '{}'
    says '{"level":"info"}' varlinkctl -j --more call $admin io.cocod.Admin.GetLogLevel '{}'
    expect "what comes of a oneway call" "$(varlinkctl -j --oneway call $admin io.cocod.Admin.GetLogLevel '{}')" ""
    refuses "MethodNotImplemented" varlinkctl -j --upgrade call $admin io.cocod.Admin.GetLogLevel '{}'
}
