#!/usr/bin/env bash
# Check the CUDA paths without a GPU: bash bench/nullgpu/run.sh [SCENARIO...]. Without arguments: all scenarios.
# Installs what is missing, prints a table, writes bench/results/nullgpu.json. Exit codes: 0 all checks passed, 1 a check
# failed, 2 the setup failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source bench/nullgpu/setup.sh
nullgpu_make_venv || exit 2
nullgpu_build || exit 2
nullgpu_export
exec python bench/nullgpu/check.py "$@"
