"""Error messages for a model that does not answer: one line that says what happened and what to do."""

import signal

from engine.core.memory_errors import Memory, exhausted_memory
from engine.core.sanitize import one_line
from tui.chat.worker_client import WorkerExited


def describe_exit(exited: WorkerExited, device: str) -> str:
    """Why the model process exited and what to do."""
    memory = exhausted_memory(exited.message)
    if memory is not None:
        return _no_memory(device, memory)
    if exited.code == -signal.SIGKILL:
        return "The model process was killed, often because the machine ran out of memory. Press r to load it again."
    if exited.code < 0:
        return f"The model process was ended by signal {-exited.code}. Press r to load it again."
    return (
        _sentence(exited.message or f"the model process exited with code {exited.code}") + " Press r to load it again."
    )


def describe_error(message: str, device: str) -> str:
    """Why one message was not answered."""
    memory = exhausted_memory(message)
    return _no_memory(device, memory) if memory is not None else _sentence(message)


def _no_memory(device: str, memory: Memory) -> str:
    if device == "cpu" or memory == "host":
        return "Not enough free memory on this machine for the model. Close other programs. Press r to load it again."
    return "Not enough free GPU memory for the model. Press d to load it on the CPU."


def _sentence(message: str) -> str:
    text = one_line(message).strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
