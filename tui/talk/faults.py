"""Why a model does not answer, in one line that names the way out."""

import signal

from engine.errors import one_line
from tui.talk.client import Gone

_MEMORY = ("outofmemoryerror", "out of memory", "memoryerror", "can't allocate memory", "cannot allocate memory")


def why_gone(gone: Gone, device: str) -> str:
    """What ended a model's process."""
    if _is_memory(gone.message):
        return _no_memory(device)
    if gone.code == -signal.SIGKILL:
        return "The model's process was killed, often because the machine's memory ran out. r loads it again."
    if gone.code < 0:
        return f"The model's process was ended by signal {-gone.code}. r loads it again."
    return _sentence(gone.message or f"the model's process ended with exit code {gone.code}") + " r loads it again."


def why_refused(message: str, device: str) -> str:
    """What speaks against answering one message."""
    return _no_memory(device) if _is_memory(message) else _sentence(message)


def _is_memory(message: str) -> bool:
    return any(word in message.lower() for word in _MEMORY)


def _no_memory(device: str) -> str:
    if device == "cpu":
        return "The machine has not enough free memory for this model. Close what else runs, then r loads it again."
    return "The GPU has not enough free memory for this model. d loads it on the CPU."


def _sentence(message: str) -> str:
    text = one_line(message).strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
