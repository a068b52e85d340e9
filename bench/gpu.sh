#!/usr/bin/env bash
# Every check that needs a GPU, in one command: memory and speed against their predictions, eager and compiled; CORE's
# answers in batches; then the smoke preset from start to report. Results: bench/results/gpu-*.json. Exit codes: 0 all
# held, 1 something did not, 2 there is no GPU here.
#   SECONDS_FOR_MEMORY=1200 bench/gpu.sh
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
nanosolo=${NANOSOLO:-nanosolo}
results=bench/results

if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "error: torch sees no CUDA GPU here; run this on a machine with one (nanosolo doctor says more)." >&2
    exit 2
fi
mkdir -p "$results"
failed=0

echo "== memory and speed"
"$python" bench/gpu_memory.py --seconds "${SECONDS_FOR_MEMORY:-1200}" --output "$results/gpu-memory.json" || failed=1

echo "== CORE in batches against one question at a time: speed, and what rounding does to answers"
"$python" bench/core.py --device cuda --models 12:65536 20:65536 --tokens 60000 --drift-tokens 100000 --rounds 3 \
    --output "$results/gpu-core.json" || failed=1

echo "== the smoke preset, from text to report"
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
if NANOSOLO_HOME=$home timeout 900 "$nanosolo" --preset smoke --name smoke &&
    NANOSOLO_HOME=$home "$nanosolo" report smoke --json >"$results/gpu-smoke.json.partial"; then
    mv "$results/gpu-smoke.json.partial" "$results/gpu-smoke.json"
else
    rm -f "$results/gpu-smoke.json.partial"
    echo "the smoke preset failed; its log:" >&2
    NANOSOLO_HOME=$home "$nanosolo" logs smoke -n 20 >&2
    failed=1
fi
exit "$failed"
