"""What the Chat screen says of itself: when nobody can talk, of devices, of the settings and /commands."""

from textual.content import Content

from engine.inference.chat_settings import COMMANDS, Settings, value_of
from tui.chat.model_picker import Scene
from tui.chat.render import harmless
from tui.widgets.rows import clip

NO_RUNS = """
No run yet, so there is nobody to talk to.

  1   opens the plan: choose a preset, L reviews it, Enter launches it
      quickstart trains on this CPU in about six minutes and then talks

Runs lie in {folder}; another folder is named with NANOSOLO_HOME.
"""
NO_CHECKPOINTS = """
No run has a checkpoint yet.

  3   watches the run; c there writes a checkpoint at the next step
  r   looks again

A run can be talked to from its first checkpoint on. After pretrain it
only goes on with your text; after sft it answers.
"""

LABELS = {
    "temperature": "temperature",
    "top_k": "top-k",
    "top_p": "top-p",
    "max_tokens": "max tokens",
    "seed": "seed",
    "system": "system prompt",
}


def device_notes(scene: Scene, wanted: str) -> list[str]:
    """What is to be said where runs train on the device. `wanted`: the device the user chose, if any."""
    if not scene.training:
        return []
    names = " and ".join(scene.training)
    verb = "train" if len(scene.training) > 1 else "trains"
    if not scene.gpu:
        return [f"{names} {verb} on this CPU: answers and training slow each other down."]
    if wanted == "cuda":
        return [f"{names} {verb} on this GPU, whose memory this model shares. d moves it to the CPU."]
    return [f"{names} {verb} on the GPU, so this model runs on the CPU. d moves it to the GPU all the same."]


def chips(settings: Settings, system: str, width: int) -> Content:
    """How answers are written, in one row."""
    parts = [f"temperature {value_of(settings, 'temperature')}"]
    for name in ("top_k", "top_p", "max_tokens"):
        value = value_of(settings, name)
        parts += [f"{LABELS[name]} {value}"] if value != "off" else []
    parts.append(f"seed {settings.seed}")
    parts += [f"system: {harmless(system)}"] if system else []
    return Content.styled(clip(" · ".join(parts), width), "$quiet")


def command_rows(width: int, height: int) -> list[Content]:
    """The /commands, a row each."""
    heads = [Content.styled(f"{f'/{command.name} {command.argument}':<20} ", "bold") for command in COMMANDS]
    return [head + Content(command.help.replace("`", "")) for head, command in zip(heads, COMMANDS, strict=True)]
