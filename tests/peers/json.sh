# shellcheck shell=bash disable=SC2154
# jq reads what each verb of cococtl prints with --json; the verbs are those that cococtl has.

# VERB -> its further words, and what jq finds in each object that it prints. Fields that are added do not matter.
verb_json() {
    local key
    key=Milan/VCEK/$(cat "$dir/made/chip")
    words=()
    case $1 in
    status) q='.state == "serving" and (.certificates.tableBytes > 24) and (.quotes.answered > 0) and (.reasons | type == "array")' ;;
    top) q='.seconds > 0 and .certsPerS >= 0 and (.vms[0].vm == "synthetic")' ;;
    doctor) words=(--socket "$dir/made/cocod.sock" --journal /dev/null) q='[.checks[] | select(.verdict == "bad")] == [] and (.checks | length > 10) and all(.checks[]; .name and .text)' ;;
    vms) q='[.vms[] | select(.vm == "synthetic")] | length == 1 and .[0].pid > 0 and .[0].certs > 0' ;;
    "vms disconnect") words=("pid:$vmm_pid") q='.disconnected > 0 and .vm.vm == "synthetic"' ;;
    explain) words=("pid:$vmm_pid") q='.vm.vm == "synthetic" and (.requests | length > 0) and all(.requests[]; .time | fromdate > 0)' ;;
    events) q='[.events[].number] | length > 0 and . == sort' ;;
    quotes) q='(.jobs | type == "array") and .leftOut == 0 and .kept == []' ;;
    backends) q='.backends | length == 1 and .[0].breaker == "closed" and .[0].answered > 0' ;;
    drain) q='.changed and .requestsInFlight >= 0' ;;
    resume) q='.changed and .requestsInFlight >= 0' ;;
    log-level) words=(info) q='.level == "info" and .before == "info"' ;;
    metrics) q='.text | split("\n") | map(select(startswith("cocod_build_info{"))) | length == 1' ;;
    config) q='.source == "files" and ([.values[] | select(.section == "quotes" and .key == "slots") | .value] == ["4"])' ;;
    "certs list") q='([.chains[] | select(.served) | .key] == ["'$key'/3.0.8.115"]) and (.crls[0].product == "Milan")' ;;
    "certs show") q='[.certificates[].kind] == ["ARK", "VCEK", "ASK"] and all(.certificates[]; .notAfter | fromdate > now)' ;;
    "certs import") words=("$dir/made/next.pem") q='[.results[] | .kind + " " + .key] == ["VCEK '$key'/4.0.9.116"]' ;;
    "certs verify") words=("$dir/made/chain") q='[.results[] | select(.action == "refused")] == [] and (.results | length == 4)' ;;
    "certs remove")
        ctl made certs import "$dir/made/next.pem" >/dev/null
        words=("$key/4.0.9.116") q='.removed == "'$key'/4.0.9.116"'
        ;;
    "certs export") words=(--out "$dir/made/json.table") q='.key == "'$key'/3.0.8.115" and (.files | length == 1)' ;;
    "certs preflight") words=(--tcb 3.0.8.115) q='.ready and .reason == null' ;;
    "certs rotate") q='.state == "serving" and .tableBytes > 24 and .exitStatus == null' ;;
    "certs fetch") words=(--url http://127.0.0.1:1 --timeout 3) q='(.fetched | length > 0) and all(.fetched[]; .name and .action)' ;;
    ping) q='.protocolVersion == 1 and .roundTripUs > 0' ;;
    "request certs") q='.npages == 2 and ([.tableEntries[].kind] == ["ARK", "VCEK", "ASK"])' ;;
    "request quote") words=("$dir/made/tdreport.bin") q='.version == 4 and .quoteBytes > 1000' ;;
    help) q='[.verbs[].verb] | contains(["status", "certs rotate"])' ;;
    *) return 1 ;;
    esac
}

check_jq_reads_every_verb() {
    local verb words q code n=0
    ctl made vms --json >"$dir/json"
    vmm_pid=$(in_sid jq '.vms[] | select(.vm == "synthetic") | .pid' /peers/json)
    ctl made help --json >"$dir/json"
    in_sid jq -r '.verbs[] | select(any(.options[]; .name == "json")) | .verb' /peers/json >"$dir/verbs"
    [ "$(wc -l <"$dir/verbs")" -gt 20 ]
    while read -r verb <&3; do
        n=$((n + 1))
        verb_json "$verb" || {
            echo "$verb: a verb for which this check has no program"
            return 1
        }
        code=0
        ctl made $verb "${words[@]}" --json >"$dir/json" 2>"$dir/json.errors" || code=$?
        # Nobody listens where it fetches from: "not yet".
        expect "$verb: its exit status" $code "$([ "$verb" = "certs fetch" ] && echo 75 || echo 0)"
        in_sid jq -s -e "length == 1 and (.[0] | $q)" /peers/json >/dev/null || {
            echo "$verb: not so: $q"
            head -c 2000 "$dir/json"
            return 1
        }
        # Of an object that has nothing of it, none of the programs says yes.
        if in_sid jq -n -e "{} | $q" >/dev/null 2>&1; then
            echo "$verb: this is so of anything: $q"
            return 1
        fi
    done 3<"$dir/verbs"
    echo "figure: $n verbs"
}
