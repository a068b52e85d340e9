#!/usr/bin/env bash
# Install nanosolo and run the whole pipeline on the GPU found here; without a GPU, a small model on the CPU.
#
#   bash run_single_a100.sh                 choose a preset by the GPU: 40 GB balanced, 80 GB maximum, none quickstart
#   bash run_single_a100.sh full-40gb       use this preset
#   CONFIG=my.toml bash run_single_a100.sh  use this configuration
#   bash run_single_a100.sh balanced --skip chat_eval --set sft.epochs=2
#                                           pass options to nanosolo: stages, settings
#   NAME=second bash run_single_a100.sh     start another run of the same configuration
#   bash run_single_a100.sh --setup [dev]   only install; with test tools (dev) or the server (serve)
#
# After an interruption, run it again: it resumes from the last checkpoint. If the run is still active, it follows it;
# Ctrl-C then leaves it running.
#
#   PYTHON=python3.12       the Python to use (3.11 to 3.14)
#   NANOSOLO_VENV=DIR       where to install (default: .venv in the checkout)
#   TORCH_INDEX=...         the build of torch: cpu, cu126, cu130, a URL, default (pip's own configuration), or
#                           auto (chosen by the driver). It applies until you set TORCH_INDEX again
set -euo pipefail

here="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
venv="${NANOSOLO_VENV:-$here/.venv}"
case "$venv" in /*) ;; *) venv="$PWD/$venv" ;; esac
python="$venv/bin/python"
stamp="$venv/installed"      # what was installed, written when the installation is complete
unfinished="$venv/installing" # exists while an installation runs, and after one was killed
torch="$(sed -n 's/.*"torch==\([^"]*\)".*/\1/p' "$here/pyproject.toml")"

fail() {
    echo "error: $*" >&2
    exit 2
}

# --- Python and the virtual environment ---

suits() { # $1: a Python. Whether nanosolo and its dependencies support it
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null
}

pythons() { # the Pythons to try, best first
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.13 python3.12 python3.11 python3.14 python3; do
        if suits "$candidate"; then
            command -v "$candidate"
        elif [ -n "${PYTHON:-}" ]; then
            fail "PYTHON=$PYTHON is not a Python from 3.11 to 3.14."
        fi
        [ -z "${PYTHON:-}" ] || return 0
    done
}

tool() { # $1: uv or virtualenv. Its path, from PATH or from where its installer puts it
    command -v "$1" || ls "${HOME:-/}/.local/bin/$1" 2>/dev/null
}

no_venv() { # $1: what is missing, $2: the Debian packages that provide it
    local sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo "
    if [ -n "$2" ] && command -v apt-get >/dev/null; then
        fail "$1. Run: ${sudo}apt-get update && ${sudo}apt-get install -y $2; or, without root, install uv" \
            "(https://docs.astral.sh/uv) or virtualenv. Then run this again."
    fi
    fail "$1. Install one, or uv (https://docs.astral.sh/uv; no root needed), and run this again."
}

try_venv() { # $*: a command that creates a virtual environment. Leaves nothing behind if it fails
    mkdir -p "$venv" && "$@" >/dev/null 2>&1 && "$python" -c 'import pip' 2>/dev/null && return
    empty_venv
    return 1
}

empty_venv() {
    find "$venv/" -mindepth 1 -delete
}

make_venv() {
    local found candidate uv virtualenv
    found="$(pythons)"
    for candidate in $found; do
        try_venv "$candidate" -m venv "$venv" && return
    done
    candidate="${found%%$'\n'*}"
    if uv="$(tool uv)"; then
        try_venv "$uv" venv --seed --allow-existing --python "${candidate:->=3.11,<3.15}" "$venv" && return
    fi
    if [ -n "$candidate" ] && virtualenv="$(tool virtualenv)"; then
        try_venv "$virtualenv" --python "$candidate" "$venv" && return
    fi
    if [ -n "$candidate" ]; then
        no_venv "$candidate cannot create the virtual environment $venv: venv or pip is missing" \
            "python$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    elif found="$(python3 --version 2>&1)"; then
        no_venv "nanosolo needs Python 3.11 to 3.14, but python3 is $found" ""
    fi
    no_venv "nanosolo needs Python 3.11 to 3.14, but no Python was found" "python3 python3-venv"
}

discard_venv() { # $1: what is wrong with it
    [ "$venv" = "$here/.venv" ] || fail "$venv $1. Remove it and run this again: rm -r $venv"
    echo "$venv $1; creating it again"
    empty_venv
}

has_pip() { # a virtual environment that uv created has no pip at first
    local uv
    "$python" -c 'import pip' 2>/dev/null || "$python" -m ensurepip >/dev/null 2>&1 ||
        { uv="$(tool uv)" && "$uv" pip install --quiet --python "$python" pip; }
}

holds_other_files() { # a failed attempt to create a virtual environment there would remove them
    [ "$venv" != "$here/.venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]
}

ready_venv() {
    if holds_other_files; then
        fail "NANOSOLO_VENV=$venv contains other files. Use a new folder: NANOSOLO_VENV=${venv%/}/nanosolo-venv bash $0"
    elif [ -e "$unfinished" ]; then
        discard_venv "contains an interrupted installation"
    elif [ -e "$venv/pyvenv.cfg" ] && ! suits "$python"; then
        discard_venv "has no working Python from 3.11 to 3.14"
    elif [ -x "$python" ] && ! has_pip; then
        discard_venv "has no pip"
    fi
    [ -x "$python" ] || make_venv
}

# --- what is installed, and what is needed ---

stamped() { # $1: a key of the stamp
    [ ! -f "$stamp" ] || sed -n "s/^$1 //p" "$stamp"
}

project() { # changes when the dependencies change or the checkout moves
    echo "$(cksum <"$here/pyproject.toml") $here"
}

with_extra() { # $1: an extra or nothing. All extras to install; none is ever removed
    printf '%s\n' "$(stamped extras | tr ',' '\n')" "$1" | grep . | sort -u | paste -sd, - || true
}

# Sets index, tag, by and why: where torch comes from on this machine. Sets otherwise: what replaces it, or none.
choose_torch() {
    local said had by_whom=machine
    had="$(stamped torch)"
    if [ -n "$had" ]; then
        by_whom="$(stamped chosen_by)"
    else # installed by the user, or by an older version of this script
        case "$(installed_torch)" in
            "$torch+"*) had="$(installed_torch)" && had="${had#*+}" ;;
            "$torch") had=default ;;
        esac
    fi
    said="$(PYTHONPATH="$here" "$python" -m engine.hardware.torch_choice "$had" "$by_whom")" || exit 2
    { read -r index && read -r tag && read -r by && read -r why && read -r otherwise; } <<<"$said"
}

is_set_up() { # $1: the extras that are needed
    [ -x "$python" ] && [ ! -e "$unfinished" ] && [ "$(stamped project)" = "$(project)" ] &&
        [ "$(stamped extras)" = "$1" ] || return 1
    choose_torch
    [ "$(stamped torch)" = "$index" ] && [ "$(stamped chosen_by)" = "$by" ] || return 1
    # if the user named an index, torch must have come from there
    [ -z "${TORCH_INDEX:-}" ] || [ "$by" = machine ] || [ "$(stamped came_from)" = "$index" ]
}

# --- installing ---

ignore_pins() { # NVIDIA's containers pin their own torch for every pip
    if grep -qs '^torch[^a-z]' "${PIP_CONSTRAINT:-}"; then
        echo "note: PIP_CONSTRAINT=$PIP_CONSTRAINT pins another torch and is ignored for $venv"
        export PIP_CONSTRAINT=
    fi
}

installer() { # pip, limited to the virtual environment and its disk
    mkdir -p "$venv/tmp"
    PIP_USER=0 TMPDIR="$venv/tmp" "$python" -m pip install --disable-pip-version-check --no-input "$@"
}

pip_install() { # $*: arguments of pip install. Shows pip's progress on a terminal only
    local quiet=--quiet code=0
    [ ! -t 1 ] || quiet=--progress-bar=on
    installer "$quiet" "$@" || code=$?
    [ "$code" != 0 ] || return 0
    [ "$code" -lt 128 ] || fail "pip was killed (by you, or because memory ran out). Run this again; it starts over."
    rm -f "$unfinished" # pip reported an error: what was installed before is complete
    fail "the installation failed; see pip's message above. Check the network (HTTPS_PROXY, PIP_INDEX_URL) and the disk, then run this again."
}

installed_torch() { # its version with the tag of its build, or nothing
    local found
    for found in "$venv"/lib/python3*/site-packages/torch-[0-9]*.dist-info; do
        if [ -f "$found/RECORD" ]; then
            found="${found##*/torch-}"
            echo "${found%.dist-info}"
        fi
    done
}

within() { # $1: seconds, then a command, which ends after that time
    local seconds="$1"
    shift
    if command -v timeout >/dev/null; then timeout "$seconds" "$@"; else "$@"; fi
}

offered_torch() { # the version that the index has for this Python; fails if it has none or cannot be reached
    local found
    for found in $(within 30 "$python" -m pip index versions torch --no-input --index-url "$index" \
        --timeout 5 --retries 0 2>/dev/null | sed -n 's/^Available versions: //p' | tr ',' ' '); do
        if [ "$found" = "$torch${tag:++$tag}" ] || { [ -z "$tag" ] && [ "${found%%+*}" = "$torch" ]; }; then
            echo "$found"
            return
        fi
    done
    return 1
}

# Installs torch from the index, before the rest. Sets came_from.
install_torch() {
    local version="$torch${tag:++$tag}" have offered
    have="$(installed_torch)"
    came_from="$index"
    if [ "$index" = default ]; then
        # the other dependencies bring torch, unless a build from another index must be replaced
        if [ -n "$have" ] && [ -n "$(stamped came_from)" ] && [ "$(stamped came_from)" != default ]; then
            pip_install --no-deps --force-reinstall "torch==$torch"
        fi
    elif [ -n "$tag" ] && [ "$have" = "$version" ]; then
        return
    elif [ -n "$tag" ] && installer --quiet --no-deps --no-index "torch==$version" 2>/dev/null; then
        echo "using torch $version from this machine"
    elif offered="$(offered_torch)"; then
        pip_install --no-deps --force-reinstall --index-url "$index" "torch==$offered"
    elif [ "$by" = user ]; then
        rm -f "$unfinished"
        fail "TORCH_INDEX: $index cannot be reached or has no torch $version for $("$python" --version)."
    elif [ "$otherwise" = none ]; then
        rm -f "$unfinished"
        fail "$index cannot be reached or has no torch $version for $("$python" --version), and the build on PyPI does not" \
            "run here. Check the network (HTTPS_PROXY), or name a mirror: TORCH_INDEX=https://MIRROR/${tag:-} bash $0 --setup;" \
            "TORCH_INDEX=default uses the index that pip is configured for."
    else
        came_from=default
        echo "note: $index cannot be reached or has no torch $version for $("$python" --version); it is installed from $otherwise instead." \
            "To try again later: TORCH_INDEX=${tag:-$index} bash $0 --setup" >&2
    fi
}

check_disk() { # torch with CUDA takes 5 GB, and about as much again while it is unpacked
    local need=8 free
    [[ "$tag" != cpu && "$OSTYPE" = linux* ]] || need=2 # CUDA builds exist only for Linux
    free="$(df -Pk "$venv" | awk 'NR == 2 { print int($4 / 1024 / 1024) }')"
    [ -n "$(installed_torch)" ] || [ "$free" -ge "$need" ] ||
        fail "$venv needs $need GB of free disk, but only $free GB are free. Free some space, or install elsewhere: NANOSOLO_VENV=/big/disk/nanosolo bash $0"
}

write_stamp() { # $1: extras
    printf '%s\n' "project $(project)" "extras $1" "torch $index" "chosen_by $by" "came_from $came_from" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

require_writable() {
    { mkdir -p "$venv" && [ -w "$venv" ]; } 2>/dev/null ||
        fail "nanosolo is not completely installed in $venv, and you cannot write there. Install elsewhere:" \
            "NANOSOLO_VENV=\$HOME/nanosolo-venv bash $0; or ask its owner to run: bash $0 --setup"
}

# Installs what is missing. $1: an extra, or nothing.
set_up() {
    local extras came_from
    extras="$(with_extra "${1:-}")"
    is_set_up "$extras" && return
    require_writable
    if command -v flock >/dev/null; then # one installation at a time, where the file system can lock
        exec 9<"$here/pyproject.toml"
        flock -n 9 || {
            echo "waiting for another installation in $venv"
            flock 9 || true
        }
        if is_set_up "$extras"; then # the other installation did it
            exec 9>&- # otherwise the run would keep the lock
            return
        fi
    fi
    trap 'exit 130' INT TERM # a signal is not an error that pip reported
    ready_venv
    choose_torch
    check_disk
    ignore_pins
    echo "installing nanosolo${extras:+ with $extras} into $venv"
    echo "$why"
    : >"$unfinished"
    install_torch
    pip_install --editable "$here${extras:+[$extras]}"
    rm -rf "$venv/tmp"
    write_stamp "$extras"
    rm -f "$unfinished"
    trap - INT TERM
    exec 9>&-
}

# --- the run ---

run_pipeline() { # $*: preset and options
    local choice="${CONFIG:-auto}" from preset name nanosolo="$venv/bin/nanosolo" plan code=0
    if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then # not an option
        choice="$1"
        shift
    fi
    case "$choice" in
        *.toml) from=(--config "$choice") ;;
        *) from=(--preset "$choice") ;;
    esac
    if [ "$choice" = auto ] && [[ " $* " = *" --gpu cpu "* || " $* " = *" --gpu=cpu "* ]]; then
        from+=(--gpu cpu) # the preset follows the device
    fi
    plan="$("$nanosolo" plan "${from[@]}" --json)"
    preset="$("$python" -c 'import json, sys; print(json.load(sys.stdin)["preset"])' <<<"$plan")"
    if [ "$choice" = auto ]; then
        from=(--preset "$preset")
    fi
    name="${NAME:-$preset}"
    "$nanosolo" "${from[@]}" --name "$name" --resume "$@" || code=$?
    [ "$code" != 0 ] || say_next "${nanosolo#"$PWD"/}" "$name"
    return "$code"
}

say_next() { # $1: the command nanosolo, $2: the run
    printf '\nNext:\n'
    printf '  %-42s %s\n' \
        "$1 chat $2" "talk to the model" \
        "$1 report $2" "print the report" \
        "$1 runs" "list all runs" \
        "$1" "open the console"
}

case "${1:-}" in
    -h | --help)
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"
        ;;
    --setup)
        case "${2:-}" in
            '' | dev | serve) set_up "${2:-}" ;;
            *) fail "--setup $2: there is no such extra. Use dev or serve." ;;
        esac
        ;;
    *)
        set_up
        run_pipeline "$@"
        ;;
esac
