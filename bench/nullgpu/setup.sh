# Sourced by run.sh and with.sh: the null GPU's virtual environment, libraries and caches; creates what is missing.

nullgpu_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
nullgpu_repository=$(cd "$nullgpu_here/../.." && pwd)
nullgpu_home=${NULLGPU_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/nanosolo-nullgpu}
nullgpu_venv=${NULLGPU_VENV:-$nullgpu_home/venv}

# A separate virtual environment with torch's CUDA build and nanosolo's dependencies, but not nanosolo itself.
nullgpu_make_venv() {
    if [ ! -x "$nullgpu_venv/bin/python" ]; then
        echo "null GPU: creating $nullgpu_venv with torch's CUDA build: 2.8 GB to download, 4.9 GB on disk" >&2
        python3 -m venv "$nullgpu_venv"
        "$nullgpu_venv/bin/python" - "$nullgpu_repository/pyproject.toml" >"$nullgpu_venv/requirements.txt" <<'PYTHON'
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    print("\n".join(tomllib.load(file)["project"]["dependencies"]))
PYTHON
        if ! "$nullgpu_venv/bin/pip" install --quiet -r "$nullgpu_venv/requirements.txt"; then
            rm -rf "$nullgpu_venv"
            return 1
        fi
    fi
    if ! "$nullgpu_venv/bin/python" -c 'import sys, torch; sys.exit(torch.version.cuda is None)'; then
        echo "error: $nullgpu_venv has torch without CUDA: pip is configured to prefer another build (see 'pip config list'" \
            "and PIP_* in the environment). Remove the folder and run this again with PIP_CONFIG_FILE=/dev/null and" \
            "without PIP_FIND_LINKS, PIP_INDEX_URL and PIP_EXTRA_INDEX_URL." >&2
        return 1
    fi
}

# The libraries, in a folder named by a hash of their sources, so that checkouts and environments do not conflict.
nullgpu_build() {
    local made_of
    made_of=$(cat "$nullgpu_here"/Makefile "$nullgpu_here"/src/* <(echo "$nullgpu_venv") | sha256sum | cut -c 1-16)
    nullgpu_lib=$nullgpu_home/lib/$made_of
    mkdir -p "$nullgpu_lib"
    if ! flock "$nullgpu_lib" make --silent -C "$nullgpu_here" VENV="$nullgpu_venv" LIB="$nullgpu_lib" >&2; then
        echo "error: the null GPU's libraries could not be built. Install a C++ compiler and make, then run this again." >&2
        return 1
    fi
}

# Make a process use the null GPU. Its caches of compiled kernels are separate from those of a real GPU.
nullgpu_export() {
    export LD_LIBRARY_PATH=$nullgpu_lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_PRELOAD=$nullgpu_lib/libnullgpu.so
    export TRITON_LIBCUDA_PATH=$nullgpu_lib
    export PATH=$nullgpu_venv/bin:$PATH
    export PYTHONPATH=$nullgpu_here/shim:$nullgpu_repository${PYTHONPATH:+:$PYTHONPATH}
    export TRITON_HOME=${TRITON_HOME:-$nullgpu_home} TRITON_CACHE_DIR=${TRITON_CACHE_DIR:-$nullgpu_home/cache/triton}
    export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$nullgpu_home/cache/inductor}
}
