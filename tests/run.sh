#!/usr/bin/env bash
# Install into .venv and run all checks: formatting, lint, types, import contracts, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash run_single_a100.sh --setup dev
python="${NANOSOLO_VENV:-.venv}/bin/python"
"$python" -m ruff format --check .
"$python" -m ruff check .
"$python" -m mypy
"$(dirname "$python")/lint-imports" --no-cache --no-logo
exec "$python" -m pytest "$@"
