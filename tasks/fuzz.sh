#!/usr/bin/env bash
# Fuzzes every target of fuzz/, one after the other, and says how each did.
#
#   tasks/fuzz.sh SECONDS [TARGET...]
#
# Needs cargo-fuzz (`cargo install cargo-fuzz`); a stable compiler does. What is found lands in fuzz/artifacts, what is worth
# keeping of fuzz/corpus goes into fuzz/seeds, which the tests replay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:?"seconds for each target"}
shift
if [ $# -eq 0 ]; then
    set -- iactfile globs templates quantities journal index entries trees depfiles
fi
export RUSTC_BOOTSTRAP=1
failed=0
for target in "$@"; do
    mkdir -p "fuzz/corpus/$target"
    log=$(mktemp)
    # 200 MB and one second are what any input may cost; the sanitizer's own memory comes on top.
    state=held
    cargo fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=700 -malloc_limit_mb=200 -timeout=10 -print_final_stats=1 \
        >"$log" 2>&1 || { state=FAILED; failed=1; }
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
    printf '%s\t%s s\t%s runs\t%s MB\t%s\t%s\n' "$target" "$seconds" "${runs:-?}" "${peak:-?}" "$state" "$(date -u +%F)"
    if [ "$state" = FAILED ]; then tail -n 30 "$log"; fi
    rm -f "$log"
done
exit "$failed"
