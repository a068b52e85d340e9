#!/usr/bin/env bash
# Test the first use in a minimal Debian container: no venv, pip, gcc, git, tmux; 1 MiB of /dev/shm; no locale.
#
#   sudo bash tests/bare/run.sh                 as root: the README's commands, following the messages they print
#   sudo bash tests/bare/run.sh user TOOL...    as a user without sudo, with these files (uv, virtualenv) on PATH
#
# It tests the committed state, and needs root, debootstrap, the network and half an hour. tests/run.sh does not run it.
#   BARE_ROOT=DIR            where the container is created and kept (default: /var/tmp/nanosolo-bare)
#   BARE_BIND="PATH ..."     files and folders of this machine to mount: local wheels, pip's settings
#   BARE_TESTS="ARG ..."     arguments of tests/run.sh, for example tests/plan (default: all tests)
# Variables of pip and of proxies are forwarded.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
root="${BARE_ROOT:-/var/tmp/nanosolo-bare}"
checkout=/home/guest/nanosolo

if [ "${BARE_INSIDE:-}" != 1 ]; then
    export BARE_INSIDE=1
    exec unshare --mount --propagation private bash "${BASH_SOURCE[0]}" "$@" # the mounts below end with this process
fi

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

make_root() { # the base once, a copy for each test
    local base="$root/base"
    if [ ! -f "$base/made" ]; then
        rm -rf "$base"
        debootstrap --variant=minbase --include=python3 bookworm "$base" >"$root/debootstrap.log"
        touch "$base/made"
    fi
    rm -rf "$root/trial"
    cp -a "$base" "$root/trial"
    root="$root/trial"
    chroot "$root" useradd --create-home guest
    mkdir "$root$checkout"
    git -C "$here" archive HEAD | tar -x -C "$root$checkout"
    chroot "$root" chown -R guest "$checkout"
}

mount_root() {
    local path
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o size=1m shm "$root/dev/shm"
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    for path in ${BARE_BIND:-}; do
        mkdir -p "$root$(dirname "$path")"
        if [ -d "$path" ]; then mkdir -p "$root$path"; else : >"$root$path"; fi
        mount --bind "$path" "$root$path"
    done
}

inside() { # $1: root or guest, then a command, which runs in the checkout with a minimal environment
    local user="$1" home=/root settings
    shift
    [ "$user" = root ] || home="/home/$user"
    mapfile -t settings < <(env | grep -iE '^(PIP_|https?_proxy=|no_proxy=|SSL_CERT_FILE=)' || true)
    env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME="$home" TERM=dumb "${settings[@]}" \
        chroot --userspec="$user" "$root" bash -c "cd $checkout && $*"
}

has_not() { # $*: commands that the container must not have
    local name
    for name in "$@"; do
        inside root "! command -v $name" >/dev/null || fail "the container has $name"
    done
}

finished() { # $1: user
    local runs
    runs="$(inside "$1" ".venv/bin/nanosolo runs")"
    echo "$runs"
    grep -q 'quickstart.*finished' <<<"$runs" || fail "the run quickstart has not finished"
    inside "$1" ".venv/bin/nanosolo report quickstart" | head -n 5
}

as_root() {
    local remedy
    echo "== first start"
    if inside root bash run_single_a100.sh 2>"$root/stderr"; then fail "it started without venv"; fi
    cat "$root/stderr"
    [ "$(wc -l <"$root/stderr")" = 1 ] || fail "the message has more than one line"
    remedy="$(sed -n 's/.*Run: \(.*\); or, without root.*/\1/p' "$root/stderr")"
    echo "== its remedy: $remedy"
    inside root "$remedy" >"$root/apt.log" 2>&1 || fail "the remedy failed"
    echo "== second start"
    inside root time bash run_single_a100.sh || fail "the second start failed"
    finished root
    echo "== the tests"
    inside root "bash tests/run.sh ${BARE_TESTS:-}" || fail "tests/run.sh failed"
}

as_user() { # $*: files of tools
    local tool
    echo "== first start, without a tool"
    if inside guest bash run_single_a100.sh; then fail "it started without venv"; fi
    inside guest mkdir -p /home/guest/.local/bin
    for tool in "$@"; do
        install -m 755 "$tool" "$root/home/guest/.local/bin/"
    done
    echo "== second start, with $*"
    inside guest time bash run_single_a100.sh || fail "the second start failed"
    finished guest
}

mkdir -p "$root"
make_root
mount_root
has_not pip pip3 gcc cc git tmux sudo uv virtualenv
case "${1:-root}" in
    root) as_root ;;
    user) shift && as_user "$@" ;;
    *) fail "unknown test $1: use root or user" ;;
esac
echo "== passed"
