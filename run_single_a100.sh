#!/usr/bin/env bash
# Sets nanosolo up and runs the whole pipeline on the GPU found here; without a GPU, a small model on the CPU.
#
#   bash run_single_a100.sh                 choose a preset by the GPU: 40 GB balanced, 80 GB maximum, none quickstart
#   bash run_single_a100.sh full-40gb       this preset
#   CONFIG=my.toml bash run_single_a100.sh  this configuration
#   bash run_single_a100.sh balanced --skip chat_eval --set sft.epochs=2
#                                           whatever follows the preset goes to nanosolo: stages, settings
#   NAME=second bash run_single_a100.sh     another run of the same configuration
#   bash run_single_a100.sh --setup [dev]   only set up; with what the tests need (dev) or serving (serve)
#
# Run it again after anything went wrong: it goes on from the last checkpoint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "error: nanosolo needs Python 3.11 or newer. Install it, or name one: PYTHON=/path/to/python3.12 bash $0" >&2
    exit 2
}

# Installs once, and again when what is needed changes. $1: extras, for example dev.
set_up() {
    local extras="${1:-}" stamp=.venv/installed wanted
    wanted="$(cat pyproject.toml) $extras"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    if [ ! -x .venv/bin/python ]; then
        "$(find_python)" -m venv .venv || {
            echo "error: cannot make .venv. On Debian and Ubuntu: apt install python3-venv" >&2
            exit 2
        }
    fi
    echo "installing into .venv (the first time this takes minutes and, with CUDA, gigabytes)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}"
    printf '%s' "$wanted" >"$stamp"
}

if [ "${1:-}" = --setup ]; then
    set_up "${2:-}"
    exit
fi

# what is installed for development serves a run as well
if [ ! -f .venv/installed ] || ! grep -q ' dev$' .venv/installed; then
    set_up
fi
choice="${CONFIG:-auto}"
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then # what begins with a dash is an option
    choice="$1"
    shift
fi
case "$choice" in
    *.toml) from=(--config "$choice") ;;
    *) from=(--preset "$choice") ;;
esac
nanosolo=.venv/bin/nanosolo
plan="$("$nanosolo" plan "${from[@]}" --json)"
preset="$(.venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)["preset"])' <<<"$plan")"
if [ "$choice" = auto ]; then
    from=(--preset "$preset")
fi
name="${NAME:-$preset}"

code=0
"$nanosolo" "${from[@]}" --name "$name" --resume "$@" || code=$?
if [ "$code" = 0 ]; then
    echo
    echo "Look further:"
    printf '  %-42s %s\n' \
        "$nanosolo chat $name" "talk to it" \
        "$nanosolo report $name" "the report as text" \
        "$nanosolo runs" "all runs" \
        "$nanosolo" "the console"
fi
exit "$code"
