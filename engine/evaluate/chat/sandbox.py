"""Runs a program that a model wrote: a process of its own with limits on time, memory, files and network.

The limits keep accidents within bounds. They are no wall against a program that sets out to break them: evaluate models
that you do not trust in a container.
"""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress

SECONDS = 5.0
MEMORY = 512 * 2**20  # bytes of address space

# Runs in the child. Reads a word and the program, and writes the word only when the program has come to its end.
_GUARD = r"""
import sys
word, _, program = sys.stdin.read().partition("\n")
import os, resource
seconds, memory = int(sys.argv[1]), int(sys.argv[2])
report = os.dup(1)
silence = os.open(os.devnull, os.O_RDWR)
for stream in (0, 1, 2):
    os.dup2(silence, stream)
for what, limit in (("CPU", seconds), ("AS", memory), ("FSIZE", 0), ("CORE", 0), ("NOFILE", 64), ("NPROC", 0)):
    try:
        resource.setrlimit(getattr(resource, "RLIMIT_" + what), (limit, limit))
    except (AttributeError, ValueError, OSError):
        pass
try:  # a network of its own, without any device in it, where the system lets users have that
    import ctypes
    ctypes.CDLL(None).unshare(0x10000000 | 0x40000000)
except Exception:
    pass
refused = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill",
           "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
           "os.chown", "os.putenv", "shutil.", "ctypes.", "pty.", "signal.pthread_kill", "winreg.", "ftplib.",
           "http.client", "urllib.")
def guard(event, arguments):
    if event.startswith(refused):
        raise PermissionError(event + " is not allowed here")
    if event == "open" and isinstance(arguments[2], int):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
            raise PermissionError("files may only be read here")
write = os.write
sys.addaudithook(guard)
exec(compile(program, "<answer>", "exec"), {"__name__": "__main__"})
write(report, word.encode())
"""


def passes(program: str, seconds: float = SECONDS, memory: int = MEMORY) -> bool:
    """Whether a program runs to its end without an error, within its limits and without leaving early."""
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", _GUARD, str(max(1, round(seconds))), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            told, _ = process.communicate(f"{word}\n{program}".encode("utf-8", "replace"), timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return told == word.encode() and process.returncode == 0
