#!/usr/bin/env bash
# Run a command on the null GPU: bench/nullgpu/with.sh nanosolo doctor, bench/nullgpu/with.sh python my_check.py ...
# `python` is that of the null GPU's virtual environment and uses this checkout. Variables: README.md in this folder.
set -euo pipefail
if [ $# -eq 0 ]; then
    echo "usage: bash bench/nullgpu/with.sh COMMAND [ARGUMENT...]" >&2
    exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
nullgpu_make_venv
nullgpu_build
nullgpu_export
if [ "$1" = nanosolo ]; then # not installed there
    shift
    exec python -c 'import sys; from tui.cli.main import entry; sys.argv[0] = "nanosolo"; entry()' "$@"
fi
exec "$@"
