#!/usr/bin/env bash
# The checks of the CUDA paths without a GPU: bash bench/nullgpu/run.sh [SCENARIO...], all of them where none is named.
# Sets up what is missing, prints a table, writes bench/results/nullgpu.json. Exit codes: 0 all held, 1 something did
# not, 2 it cannot be set up here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source bench/nullgpu/setup.sh
nullgpu_make_venv || exit 2
nullgpu_build || exit 2
nullgpu_export
exec python bench/nullgpu/check.py "$@"
