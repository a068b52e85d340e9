#!/usr/bin/env bash
# Run all checks that need a GPU. Installs what is missing, like run_single_a100.sh.
#
#   bash bench/gpu.sh            half an hour: memory and speed against the plan, CORE in batches, a complete run
#   bash bench/gpu.sh --quick    eight minutes: memory and speed of the presets' shapes, a complete run with a resume
#
# Results: bench/results/gpu-*.json; with --quick, bench/results/gpu-quick.json and gpu-quick.md.
# Exit codes: 0 all checks passed, 1 a check failed, 2 no GPU.
#   SECONDS_FOR_MEMORY=1200   start no more cases of memory and speed after this many seconds (--quick: 240)
#   PYTHON=, NANOSOLO=        use these instead of the installed ones
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
venv="${NANOSOLO_VENV:-.venv}"
results=bench/results
failed=0

prepare() { # Sets python and nanosolo
    if [ -z "${PYTHON:-}" ]; then
        bash run_single_a100.sh --setup || exit 2
    fi
    python="${PYTHON:-$venv/bin/python}"
    nanosolo="${NANOSOLO:-$(dirname "$python")/nanosolo}"
    if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
        echo "error: torch sees no CUDA GPU here. Run this on a machine with one; $nanosolo doctor says why there is none." >&2
        exit 2
    fi
    mkdir -p "$results"
    home="$(mktemp -d)"
    trap 'rm -rf "$home"' EXIT
}

smoke() { # $*: a command of nanosolo, in a temporary home
    NANOSOLO_HOME="$home" timeout 900 "$nanosolo" "$@"
}

smoke_failed() {
    echo "the smoke preset failed. Its log:" >&2
    smoke logs smoke -n 20 >&2
    failed=1
}

write_report() { # $1: a file. Write the complete report of the run there, or nothing
    smoke report smoke --json >"$1.partial" && mv "$1.partial" "$1" && return
    rm -f "$1.partial"
    return 1
}

stop_in_training() { # Stop after the first step; the run then writes a checkpoint
    local log="$home/runs/smoke/events.jsonl" seconds
    for ((seconds = 0; seconds < 300; seconds++)); do
        if grep -qs '"kind":"step"' "$log"; then
            smoke stop smoke && smoke attach smoke
            [ $? = 130 ]
            return
        fi
        grep -qs '"kind":"run_ended"' "$log" && return 1
        sleep 1
    done
    return 1
}

everything() {
    echo "== memory and speed"
    "$python" bench/gpu_memory.py --seconds "${SECONDS_FOR_MEMORY:-1200}" --output "$results/gpu-memory.json" || failed=1
    echo "== CORE in batches and one question at a time: speed, and the effect of rounding on answers"
    "$python" bench/core.py --device cuda --models 12:65536 20:65536 --tokens 60000 --drift-tokens 100000 --rounds 3 \
        --output "$results/gpu-core.json" || failed=1
    echo "== the smoke preset from text to report"
    { smoke --preset smoke --name smoke && write_report "$results/gpu-smoke.json"; } || smoke_failed
}

quick() {
    local memory="$home/memory.json" report="$home/report.json"
    echo "== the smoke preset: stopped while it trains, then resumed"
    { smoke --preset smoke --name smoke --detach --set budget.steps=300 && stop_in_training &&
        smoke resume smoke && write_report "$report"; } || smoke_failed
    echo "== memory and speed of the presets' shapes"
    "$python" bench/gpu_memory.py --presets --seconds "${SECONDS_FOR_MEMORY:-240}" --output "$memory" || failed=1
    "$python" bench/gpu_page.py --memory "$memory" --report "$report" --output "$results/gpu-quick.json" || failed=1
}

case "${1:-}" in
    '') prepare && everything ;;
    --quick) prepare && quick ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}" ;;
    *) echo "error: unknown option $1. The only option is --quick." >&2 && exit 2 ;;
esac
exit "$failed"
