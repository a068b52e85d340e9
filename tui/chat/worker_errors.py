"""Why a model does not answer, in one line that names the way out."""

import signal

from engine.core.errors import one_line
from engine.core.memory_errors import Memory, exhausted_memory
from tui.chat.worker_client import WorkerExited


def describe_exit(gone: WorkerExited, device: str) -> str:
    """What ended a model's process."""
    memory = exhausted_memory(gone.message)
    if memory is not None:
        return _no_memory(device, memory)
    if gone.code == -signal.SIGKILL:
        return "The model's process was killed, often because the machine's memory ran out. Press r to load it again."
    if gone.code < 0:
        return f"The model's process was ended by signal {-gone.code}. Press r to load it again."
    return (
        _sentence(gone.message or f"the model's process ended with exit code {gone.code}")
        + " Press r to load it again."
    )


def describe_error(message: str, device: str) -> str:
    """What speaks against answering one message."""
    memory = exhausted_memory(message)
    return _no_memory(device, memory) if memory is not None else _sentence(message)


def _no_memory(device: str, memory: Memory) -> str:
    if device == "cpu" or memory == "host":
        return "Not enough free memory on this machine for the model. Close other programs. Press r to load it again."
    return "Not enough free GPU memory for the model. Press d to load it on the CPU."


def _sentence(message: str) -> str:
    text = one_line(message).strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
