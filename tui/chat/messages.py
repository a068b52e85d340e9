"""Texts of the Chat screen: no model yet, device notes, the settings row and /commands."""

from textual.content import Content

from engine.core.sanitize import terminal_text
from engine.inference.chat_settings import COMMANDS, Settings, value_of
from tui.chat.model_picker import Scene
from tui.widgets.rows import clip

NO_RUNS = """
No runs yet, so there is no model to chat with.

  1   open the plan: choose a preset, press L to review, Enter to launch
      quickstart trains a chat model on this CPU in about six minutes

Runs are in {folder}. To use another folder, set NANOSOLO_HOME.
"""
NO_CHECKPOINTS = """
No run has a checkpoint yet.

  3   watch the run; c writes a checkpoint at the next step
  r   check again

You can chat with a run once it has a checkpoint. After pretrain the
model only continues your text; after sft it answers.
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
    """Notes about runs that train on the same machine. `wanted`: the device the user chose, if any."""
    if not scene.training:
        return []
    names = " and ".join(scene.training)
    verb = "are training" if len(scene.training) > 1 else "is training"
    if not scene.gpu:
        return [f"{names} {verb} on this CPU. Chat and training slow each other down."]
    if wanted == "cuda":
        return [f"{names} {verb} on this GPU and shares its memory with this model. Press d to use the CPU."]
    return [f"{names} {verb} on the GPU, so this model runs on the CPU. Press d to use the GPU anyway."]


def chips(settings: Settings, system: str, width: int) -> Content:
    """The sampling settings in one row."""
    parts = [f"temperature {value_of(settings, 'temperature')}"]
    for name in ("top_k", "top_p", "max_tokens"):
        value = value_of(settings, name)
        parts += [f"{LABELS[name]} {value}"] if value != "off" else []
    parts.append(f"seed {settings.seed}")
    parts += [f"system: {terminal_text(system)}"] if system else []
    return Content.styled(clip(" · ".join(parts), width), "$quiet")


def command_rows(width: int, height: int) -> list[Content]:
    """The /commands, one per row."""
    heads = [Content.styled(f"{f'/{command.name} {command.argument}':<20} ", "bold") for command in COMMANDS]
    return [head + Content(command.help.replace("`", "")) for head, command in zip(heads, COMMANDS, strict=True)]
