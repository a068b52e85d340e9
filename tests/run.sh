#!/usr/bin/env bash
# Install into .venv and run all checks: formatting, lint, types, import rules, tests.
#
#   bash tests/run.sh                      everything
#   bash tests/run.sh --quick              without the slow tests: under a minute
#   bash tests/run.sh -n 2 tests/plan      other arguments go to pytest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
options=()
if [ "${1:-}" = --quick ]; then
    shift
    options=(-m "not slow" -n auto)
fi
bash run_single_a100.sh --setup dev
python="${NANOSOLO_VENV:-.venv}/bin/python"
"$python" -m ruff format --check .
"$python" -m ruff check .
"$python" -m mypy
"$(dirname "$python")/lint-imports" --no-cache --no-logo
exec "$python" -m pytest "${options[@]}" "$@"
