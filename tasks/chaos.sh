#!/usr/bin/env bash
# Plants the classic bugs one at a time; the harness that docs/promises.md names must notice each. The last line is the score.
#
#   tasks/chaos.sh [BUG...]        default: all of the table
#
# Every harness named has to hold with nothing planted, too: `cargo test --features chaos` sees to that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck disable=SC2016 # back-ticks of the page
table=$(sed -n 's/^| `\([a-z-]*\)` | [^|]* | `\([a-z_]*\) \([a-z0-9_:]*\)` |$/\1 \2 \3/p' docs/promises.md)
built=$(cargo test --features chaos --workspace --test it --test never --test behaviour --test shell_quoting --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\/deps\/[^"]*\)".*/\1/p')
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # words are what is wanted
    set -- $(cut -d' ' -f1 <<<"$table")
fi
# Small sizes: what is planted shows at once, or the harness does not bite.
export IACT_MODEL_STEPS=100 IACT_TRY_POWER=6 IACT_TRY_PROCESSES=60 IACT_TRY_BESIDE=10
export IACT_TRY_CALL=read IACT_TRY_SYSCALLS=160
planted=0 caught=0 skipped=0
# A harness that fails keeps its folders to be looked at.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
log=$TMPDIR/log
for bug in "$@"; do
    read -r _ program test < <(grep "^$bug " <<<"$table") || { echo "no bug \`$bug\` in the table"; exit 2; }
    executable=$(grep -E "/deps/$program-[0-9a-f]+$" <<<"$built" | tail -n 1)
    if [ ! -x "$executable" ]; then
        echo "no program \`$program\` was built" >&2
        exit 2
    fi
    planted=$((planted + 1))
    rc=0
    IACT_CHAOS=$bug timeout 600 "$executable" --exact "$test" --nocapture >"$log" 2>&1 || rc=$?
    if [ "$rc" -eq 124 ]; then
        echo "MISSED   $bug: $program $test took too long"
    elif [ "$rc" -eq 101 ]; then # a test of Rust that failed
        caught=$((caught + 1))
        echo "caught   $bug"
    elif [ "$rc" -ne 0 ]; then
        echo "MISSED   $bug: $program $test ended with $rc"
    elif grep -q '^skipped: ' "$log"; then
        planted=$((planted - 1))
        skipped=$((skipped + 1))
        echo "skipped  $bug: $(grep -m 1 '^skipped: ' "$log")"
    else
        echo "MISSED   $bug by $program $test"
    fi
done
echo "$caught caught of $planted planted, $skipped skipped"
[ "$caught" -eq "$planted" ] || exit 1
# What was skipped is not known to be caught: 77 is no success (`.ci/run` says that the step was skipped).
[ "$skipped" -eq 0 ] || exit 77
