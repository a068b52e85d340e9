"""The summary of a run: one paragraph and the main figures."""

from engine.config.schema import RunConfig
from engine.core import formatting
from engine.events.scores import LOWER, scores
from engine.plan.shape import shape_of
from engine.report.document import Tile, Tiles, Tone
from engine.report.excerpts import excerpt
from engine.report.measured import facts_of
from engine.report.source import PRETRAIN, TUNING, Source

CORPORA = {
    "fineweb-edu": "FineWeb-Edu",
    "builtin": "the documentation and sources of Python's standard library",
    "local": "local text files",
}
# outcome -> (short form, tone, sentence with the run time)
OUTCOMES: dict[str, tuple[str, Tone, str]] = {
    "done": ("finished", "good", "It finished after {}"),
    "stopped": ("stopped", "quiet", "It was stopped after {}"),
    "out_of_memory": ("out of GPU memory", "bad", "It ran out of GPU memory after {}"),
    "out_of_host_memory": ("out of host memory", "bad", "It ran out of the host's memory after {}"),
    "diverged": ("diverged", "bad", "It diverged after {}"),
    "killed": ("killed", "bad", "It was killed after {}"),
    "crashed": ("crashed", "bad", "It crashed after {}"),
    "refused": ("refused", "bad", "It was refused after {}"),
}
# state -> the same, for a run that has not ended
STATES: dict[str, tuple[str, Tone, str]] = {
    "new": ("not started", "quiet", "It has not started yet"),
    "running": ("not finished yet", "busy", "It has run for {} so far"),
    "stalled": ("not finished yet", "warn", "It has run for {} and seems to have stalled"),
    "orphaned": ("not finished yet", "warn", "It has run for {}; its runner has exited"),
    "elsewhere": ("not finished yet", "busy", "Its events, recorded on another machine, end after {}"),
    "failed": ("interrupted", "bad", "It ended unexpectedly after {}: its machine or its runner stopped"),
}


def state_words(source: Source) -> tuple[str, Tone, str]:
    """(short form, tone, start of a sentence with {} for a duration)."""
    outcome = source.outcome
    if outcome is None:
        return STATES.get(source.state, STATES["failed"])
    shown = excerpt(outcome, 40)
    return OUTCOMES.get(outcome, (shown, "bad", f"It ended ({shown}) after {{}}"))


def verdict(source: Source) -> str:
    """The model, its data, how the run ended, time, cost and quality."""
    found = facts_of(source)
    return " ".join([_what(source), _how_it_ended(source), *_how_good(source, found)])


def tiles(source: Source) -> Tiles:
    """The main figures, if known."""
    history, found = source.history, facts_of(source)
    seconds, price = source.all_seconds, source.config.runtime.price_per_hour
    steps, planned = found["steps"], found["planned_steps"]
    measured = found["measured"]
    tiles: list[Tile | None] = [
        _bits_tile(found),
        _score_tile(source),
        Tile(
            "parameters", formatting.count(shape_of(source.config).params.total), f"depth {source.config.model.depth}"
        ),
        Tile("tokens", formatting.count(found["tokens"]), _steps(steps, planned)) if steps else None,
        Tile("run time", formatting.duration(seconds), "all stages") if history.attempts else None,
        Tile("speed", f"{formatting.count(measured['tokens_per_second'])}/s", _mfu(measured)) if measured else None,
        Tile("cost", formatting.money(price * seconds / 3600), f"{price:g} per hour") if price and seconds else None,
    ]
    return Tiles(tuple(tile for tile in tiles if tile is not None))


def device_of(source: Source) -> str:
    """The name of the device: recorded by the training stage, else planned."""
    said = source.history.devices.get(PRETRAIN) or next(iter(source.history.devices.values()), None)
    if said is not None:
        return excerpt(said.name, 80)
    return source.plan.gpu_name if source.plan is not None else ""


def _what(source: Source) -> str:
    config, columns = source.config, source.history.columns(PRETRAIN)
    shape = shape_of(config)
    kind = "chat model" if any(len(source.history.columns(stage)) for stage in TUNING) else "language model"
    words_of_model = (
        f"A {kind} with {formatting.count(shape.params.total)} parameters (preset {_preset(config)}, depth "
    )
    device = device_of(source)
    where = f" on {device}" if device.startswith("CPU") else f" on one {device}" if device else ""
    if len(columns):
        read = f"pretrained on {formatting.count(columns.tokens[-1])} tokens of {CORPORA[config.data.source]}{where}"
    else:
        read = f"to be pretrained on {CORPORA[config.data.source]}{where}"
    return f"{words_of_model}{config.model.depth}), {read}."


def _how_it_ended(source: Source) -> str:
    history, seconds = source.history, source.all_seconds
    sentence = state_words(source)[2].format(formatting.duration(seconds))
    price = source.config.runtime.price_per_hour
    if price is not None and seconds:
        cost = price * seconds / 3600
        sentence += f", which cost {formatting.money(cost)}"
    if source.outcome == "done":
        return f"{sentence}."
    columns = history.columns(PRETRAIN)
    if len(columns) and columns.steps and columns.step[-1] < columns.steps:
        share = formatting.percent(columns.step[-1] / columns.steps)
        sentence += f", at step {columns.step[-1]:,} of {columns.steps:,} ({share})"
    reason = history.ended.message if history.ended is not None else ""
    return f"{sentence}: {excerpt(reason).rstrip('.')}." if reason else f"{sentence}."


def _how_good(source: Source, found: dict[str, float | None]) -> list[str]:
    end, start = found["val_bpb"], found["val_bpb_start"]
    if end is None:
        return ["Its bits per byte have not been measured."]
    before = f", from {start:.4f} before training" if start is not None else ""
    said = [f"It predicts held-out text at {end:.4f} bits per byte{before} ({LOWER})."]
    for metric, name in (("core", "CORE"), ("chat_core", "the chat tasks")):
        event = source.history.latest(metric)
        if event is not None and source.made_again(event.stage) is None:
            said.append(f"On {name} it scores {event.value:.4f}, where 0 is guessing and 1 is perfect.")
    return said


def _bits_tile(found: dict[str, float | None]) -> Tile | None:
    if found["val_bpb"] is None:
        return None
    start = found["val_bpb_start"]
    before = f"from {start:.4f}" if start is not None else "held out"
    return Tile("bits per byte", f"{found['val_bpb']:.4f}", f"{before}, {LOWER}")


def _score_tile(source: Source) -> Tile | None:
    current = [event for event in source.history.evaluations if source.made_again(event.stage) is None]
    newest = {score.name: score for score in scores(current)}
    for metric, label in (("core", "CORE"), ("chat_core", "chat tasks")):
        if metric in newest:
            return Tile(label, f"{newest[metric].value:.4f}", f"{newest[metric].examples:,} questions")
    return None


def _steps(steps: int, planned: int | None) -> str:
    return f"{steps:,} steps" if planned in (None, steps) else f"{steps:,} of {planned:,} steps"


def _mfu(measured: dict[str, float | None]) -> str:
    return f"MFU {formatting.percent(measured['mfu'])}" if measured["mfu"] is not None else "tokens, median"


def _preset(config: RunConfig) -> str:
    return excerpt(config.about.preset, 60)
