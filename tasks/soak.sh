#!/usr/bin/env bash
# The long sizes of everything that tries to break a promise (docs/promises.md); a report with seeds, durations and dates.
#
#   tasks/soak.sh [REPORT]          default: target/soak/report.txt, appended to
#   SOAK_SCALE=10 tasks/soak.sh     a tenth of every size
#   SOAK_ONLY='model kill' …        some harnesses
#   IACT_TRY_PATIENCE=10 …          beside other work: what hangs is given up ten times as late
#
# As root with loop devices (and bindfs) it also runs on file systems of its own; without, it says what it skips. Takes hours.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

report=$(realpath -m "${1:-target/soak/report.txt}")
scale=${SOAK_SCALE:-1}
only=${SOAK_ONLY:-model kill points outlive syscalls power crowd processes hostile damage attack schedule watch}
mkdir -p "$(dirname "$report")"
work=$(mktemp -d)
trap 'umount "$work"/* 2>/dev/null || true; rm -rf "$work"' EXIT
export IACT_TRY_REPORT=$report

program() {
    cargo test --features chaos --workspace --lib --test it --test never --test behaviour --no-run --message-format=json 2>/dev/null |
        sed -n "s/.*\"executable\":\"\([^\"]*\/deps\/$1-[0-9a-f]*\)\".*/\1/p" | tail -n 1
}
cargo test --features chaos --workspace --lib --test it --test never --test behaviour --no-run --quiet
it=$(program it)
never=$(program never)
behaviour=$(program behaviour)
lib=$(program iact)

note() {
    printf '%s\t%s\n' "$(date -u +%FT%TZ)" "$*" >>"$report"
}

# run NAME SIZE PROGRAM TEST...: says how it went; what failed keeps its output beside the report.
run() {
    local name=$1 size=$2 program=$3 began log
    shift 3
    began=$SECONDS
    log=$(dirname "$report")/$name.log
    if "$program" --test-threads 1 "$@" >"$log" 2>&1; then
        note "$name: $size tries, $((SECONDS - began)) s, held; $(grep -ho 'skipped: .*' "$log" | sort -u | tr '\n' ' ')"
        rm -f "$log"
    else
        note "$name: $size tries, $((SECONDS - began)) s, GAVE WAY, see $log"
    fi
}

wants() {
    case " $only " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# A file system of this kind at $work/KIND; fails where there can be none.
mounted() {
    local kind=$1 image=$work/$1.img
    if [ "$kind" = fuse ]; then
        mkdir -p "$work/behind" "$work/fuse"
        bindfs "$work/behind" "$work/fuse" 2>/dev/null
        return
    fi
    truncate -s 1G "$image"
    case $kind in
        btrfs) mkfs.btrfs -q -f "$image" ;;
        xfs) mkfs.xfs -q -f "$image" ;;
        ext2-128) mkfs.ext2 -q -F -I 128 "$image" ;;
        *) return 1 ;;
    esac >/dev/null 2>&1 || return 1
    mkdir -p "$work/$kind"
    mount -o loop "$image" "$work/$kind" 2>/dev/null
}

# The model: 100,000 steps, spread over file systems.
model() {
    local kind steps=$((10000 / scale)) seed
    seed=$(date +%s)
    note "model: seed $seed and the following"
    for kind in here btrfs xfs ext2-128 fuse; do
        local folder=${TMPDIR:-/tmp}
        if [ "$kind" != here ]; then
            if ! mounted "$kind"; then
                note "model on $kind: skipped: it cannot be made and mounted here"
                continue
            fi
            folder=$work/$kind
        fi
        for part in 1 2; do
            seed=$((seed + 1))
            TMPDIR=$folder IACT_MODEL_SEED=$seed IACT_MODEL_STEPS=$steps \
                run "model-$kind-$part" "$steps" "$it" model::random_edits_never_diverge_from_a_clean_build_1
        done
        if [ "$kind" != here ]; then umount "$work/$kind"; fi
    done
}

# one NAME SIZE TEST: a harness of tests/never that is sized by IACT_TRY_NAME.
one() {
    local size=$(($2 / scale))
    export "IACT_TRY_${1^^}=$size"
    run "$1" "$size" "$never" "$3"
}

note "begun: $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(uname -sr), $(nproc) processors, scale 1/$scale"
if wants model; then model; fi
if wants kill; then one kill 8000 kill::killed_at_any_time; fi
if wants points; then one points 2000 kill::killed_at_every_point; fi
if wants outlive; then
    IACT_TRY_ROUNDS=$((2000 / scale)) run outlive $((2000 / scale)) "$lib" killed::nothing_outlives
fi
if wants power; then
    one power 700 power::a_power_cut
    one shutdown 300 power::a_file_system_that_is_shut_down
fi
if wants syscalls; then
    one syscalls 20000 syscalls:: # more than there are
    one short 200 short::
fi
if wants processes; then
    one processes 2000 processes::every_end
    # The logs are kept: never more than a quarter of what is free.
    free=$(($(df -Pk "${TMPDIR:-/tmp}" | awk 'NR == 2 { print $4 }') / 4096))
    one megabytes $((free < 16384 / scale ? free * scale : 16384)) processes::sixteen
fi
if wants crowd; then
    one crowd 600 crowd::a_crowd_with_kills_and
    one entries 300 crowd::a_crowd_with_kills_beside
    one queue 300 crowd::a_crowd_in
    one beside 500 crowd::who_stores
fi
if wants hostile; then
    one inputs $((100000 * scale)) hostile::
    one coarse 5000 coarse::a_rewrite
    one coarse_edits 500 coarse::an_input
    one coarse_headers 200 coarse::a_header
    one foreign 1000 foreign::a_rewrite
    one foreign_edits 500 foreign::an_input
    one foreign_headers 200 foreign::a_header
fi
if wants damage; then
    IACT_EVERY_BYTE=1 run damage "every byte" "$it" damage:: memory::
    run damage-of-entries "every byte" "$behaviour" damage::
fi
if wants attack; then
    IACT_TRY_SWAPS=100000 run attack 100000 "$behaviour" staging::a_folder_swapped
fi
if wants schedule; then
    IACT_TRY_GRAPHS=100000 run schedule 100000 "$lib" schedule::simulation::
fi
if wants watch; then run watch "as for a commit" "$it" watch::; fi
note "ended"
