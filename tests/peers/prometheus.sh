# shellcheck shell=bash disable=SC2154
# Prometheus' promtool: the metrics as cocod and cococtl give them, the alert rules, the dashboard.

promtool() { in_sid promtool "$@"; }

# As a scraper reads standard input; it warns of what is parsed and not good style.
lint_metrics() { # FILE
    in_sid sh -c "promtool check metrics <$1"
}

check_promtool_metrics() {
    ctl made metrics >"$dir/metrics"
    [ "$(grep -c '^# TYPE cocod_' "$dir/metrics")" -gt 40 ]
    lint_metrics /peers/metrics
    expect "what it remarks" "$(lint_metrics /peers/metrics 2>&1)" ""
    sed 's/^# TYPE \(cocod_[a-z_]*\) counter/# TYPE \1 counters/' "$dir/metrics" >"$dir/wrong-metrics"
    refuses "counters" lint_metrics /peers/wrong-metrics
    sed 's/^\(cocod_build_info\){.*/&\n&/' "$dir/metrics" >"$dir/wrong-metrics"
    refuses "build_info" lint_metrics /peers/wrong-metrics
}

check_promtool_alert_rules() {
    cp "$root/docs/alerts.yml" "$dir/alerts.yml"
    says "$(grep -c 'alert:' "$dir/alerts.yml") rules found" promtool check rules --lint=all --lint-fatal /peers/alerts.yml
    sed 's/sum by (instance) (rate(/sum by (instance) (rates(/' "$dir/alerts.yml" >"$dir/wrong-alerts.yml"
    refuses "rates" promtool check rules /peers/wrong-alerts.yml
}

check_promtool_alerts_fire_and_end() {
    cp "$root/docs/alerts.yml" "$root/tests/peers/alerts-test.yml" "$dir"
    says SUCCESS promtool test rules /peers/alerts-test.yml
    # Every alert has a case in which it fires.
    local alert
    for alert in $(sed -n 's/.*- alert: //p' "$dir/alerts.yml"); do
        grep -q "labels: '{alertname=\"$alert\"}'" "$dir/alerts-test.yml" || {
            echo "$alert: alerts-test.yml has no case for it"
            return 1
        }
    done
    sed 's/< 0\.99/< 0.01/' "$root/docs/alerts.yml" >"$dir/alerts.yml"
    refuses FAILED promtool test rules /peers/alerts-test.yml
}

# Each expression as a rule of its own; a variable of Grafana's is some text to Prometheus.
dashboard_rules() { # DASHBOARD
    in_sid jq -r '"groups: [{name: dashboard, rules: [" + ([.. | .expr? | select(type == "string") |
        "{record: \"r\(input_line_number)\", expr: \(. | tojson)}"] | join(", ")) + "]}]"' "/peers/$1"
}

check_promtool_dashboard_expressions() {
    cp "$root/docs/grafana-dashboard.json" "$dir/dashboard.json"
    local n
    n=$(grep -c '"expr":' "$dir/dashboard.json")
    [ "$n" -gt 10 ]
    dashboard_rules dashboard.json >"$dir/dashboard.yml"
    says "$n rules found" promtool check rules --lint=none /peers/dashboard.yml
    sed 's/histogram_quantile(0.99, /histogram_quantile(/' "$dir/dashboard.json" >"$dir/wrong.json"
    dashboard_rules wrong.json >"$dir/wrong.yml"
    refuses "histogram_quantile" promtool check rules --lint=none /peers/wrong.yml
}
