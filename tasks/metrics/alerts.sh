#!/usr/bin/env bash
# Proves Prometheus's configuration, the alert rules, and that each alert rings when it should.
#
#   alerts.sh PROMTOOL FOLDER
#
# FOLDER has prometheus.yaml, alerts.yaml and alerts_test.yaml. Every alert has to say how bad it is, what happened and
# what to do (`severity`, `summary`, `runbook`), and has to be in a test. Names every failure, then exits 1.
set -euo pipefail
if (($# != 2)); then
    echo "usage: alerts.sh PROMTOOL FOLDER" >&2
    exit 2
fi
promtool=$(realpath -- "$1")
cd -- "$2"
failures=0
fail() {
    echo "alerts.sh: $1" >&2
    failures=$((failures + 1))
}
for step in "check config --lint-fatal prometheus.yaml" "check rules --lint-fatal alerts.yaml" "test rules alerts_test.yaml"; do
    # shellcheck disable=SC2086  # words of the step
    said=$("$promtool" $step 2>&1) || fail "promtool $step:"$'\n'"$said"
done
alerts=0
while read -r name severity summary runbook; do
    alerts=$((alerts + 1))
    [[ $severity$summary$runbook == 111 ]] || fail "\`$name\` lacks one of severity, summary, runbook"
    grep -q "alertname: $name\$" alerts_test.yaml || fail "no test rings \`$name\`; add one to alerts_test.yaml"
done < <(awk '
    function tell() { if (name != "") print name, severity, summary, runbook }
    /^ *- alert:/ { tell(); name = $3; severity = summary = runbook = 0 }
    /severity: *(critical|warning|info)/ { severity = 1 }
    /^ *summary: *[^ ]/ { summary = 1 }
    /^ *runbook: *[^ ]/ { runbook = 1 }
    END { tell() }' alerts.yaml)
((alerts > 0)) || fail "alerts.yaml has no alert"
((failures == 0)) || exit 1
echo "$alerts alerts: parsed, complete, and tested"
