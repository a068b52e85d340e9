"""The status of a run in one line of text, for the console, `runs` and `attach`."""

import math
from bisect import bisect_left
from typing import Literal, NamedTuple

from engine.config.schema import RunConfig
from engine.config.stages import MODEL_STAGES
from engine.config.train_spec import train_spec
from engine.core import formatting
from engine.events.attempts import seconds_at_work
from engine.events.history import History
from engine.events.kinds import Progress
from engine.events.step_columns import StepColumns
from engine.run.state import RunState

Tone = Literal["good", "busy", "warn", "bad", "quiet"]

QUIET_FACTOR = 4  # a step that takes this many usual steps, and
QUIET_SECONDS = 10.0  # at least this long, is reported
FIRST_STEP_SECONDS = 20.0  # loading torch and the first batch; beyond that a first step is compiling

STAGE_WORDS = {
    "data": "getting the text",
    "tokenizer": "training the tokenizer",
    "tokenize": "writing tokens",
    "pretrain": "training",
    "evaluate": "evaluating",
    "midtrain": "training on conversations",
    "sft": "fine-tuning",
    "rl": "learning from rewards",
    "chat_eval": "asking the model",
    "report": "writing the report",
}


class RunStatus(NamedTuple):
    """The state of a run, one line about it, and its tone."""

    state: RunState
    text: str
    tone: Tone


def run_status(name: str, state: RunState, history: History, now: float, config: RunConfig | None = None) -> RunStatus:
    """The status of the run `name` at Unix time `now`. `state`: the result of `state_of`."""
    match state:
        case "running":
            return _running(history, now, config)
        case "stalled":
            return _stalled(name, history, now)
        case "orphaned":
            doing = _running(history, now, config).text.removeprefix("running, ")
            text = f"runner died, training continues: {doing}; checkpoint and stop it with: nanosolo stop {name}"
            return RunStatus(state, text, "warn")
        case "elsewhere":
            return _elsewhere(name, history, now)
        case "finished":
            return RunStatus(state, _finished(history), "good")
        case "stopped":
            return RunStatus(state, f"stopped{_where(history)}, resume with: nanosolo resume {name}", "quiet")
        case "new":
            return RunStatus(state, f"not started yet, start it with: nanosolo resume {name}", "quiet")
    return RunStatus("failed", _failed(name, history), "bad")


def damaged(reason: str) -> RunStatus:
    """The status of a directory whose files cannot be read."""
    return RunStatus("damaged", f"damaged: {reason}", "bad")


def last_columns(history: History) -> tuple[str, StepColumns] | None:
    """The training stage that ran last, and its steps; None before the first step."""
    if history.current in history.steps and len(history.steps[history.current]):
        return history.current, history.steps[history.current]
    return next(((s, c) for s, c in reversed(history.steps.items()) if len(c)), None)


def remaining_seconds(history: History) -> float | None:
    """Seconds until the running training stage is done, with evaluations and checkpoints; None while unknown."""
    known = last_columns(history)
    if known is None or history.current != known[0]:
        return None
    stage, columns = known
    left = columns.remaining_seconds()
    return None if left is None else left * _between_steps(columns, history.stages[stage].started)


def _between_steps(columns: StepColumns, begun: float) -> float:
    """Wall time over step time since the stage began: what evaluations, samples and checkpoints add, at most 3."""
    first = bisect_left(columns.time, begun)
    if len(columns) - first < 3:
        return 1.0
    wall = columns.time[-1] - columns.time[first]
    # a summary has only the first and the last steps: their mean is used for the steps in between
    known = columns.step_seconds[first + 1 :]
    stepping = sum(known) / len(known) * (columns.step[-1] - columns.step[first])
    return min(3.0, max(1.0, wall / stepping)) if stepping > 0 else 1.0


def _running(history: History, now: float, config: RunConfig | None) -> RunStatus:
    stage = history.current
    if stage is None:
        return RunStatus("running", "starting" if not history.stages else "running, between two stages", "busy")
    begun = history.stages[stage].started if stage in history.stages else now
    columns = history.steps.get(stage)
    if columns is not None and len(columns) and columns.time[-1] >= begun:
        return _stepping(history, stage, columns, now, config)
    progress = history.progress
    if progress is not None and progress.stage == stage:
        return RunStatus("running", f"running, {progress_words(history, progress)}", "busy")
    silent = max(0.0, now - begun)
    doing = STAGE_WORDS.get(stage, stage)
    if stage not in MODEL_STAGES:
        return RunStatus("running", f"running, {doing} for {formatting.duration(silent)}", "busy")
    text = f"running, {doing}: no step yet, started {formatting.duration(silent)} ago"
    device = history.devices.get(stage)
    if silent > FIRST_STEP_SECONDS:
        compiles = device is not None and device.compiled
        text += ": compiling, a first step takes a minute or two" if compiles else ": loading?"
    return RunStatus("running", text, "busy")


def _stepping(history: History, stage: str, columns: StepColumns, now: float, config: RunConfig | None) -> RunStatus:
    step, steps = columns.step[-1], columns.steps
    of = "" if stage == "pretrain" else f"{stage} "
    place = f"running, {of}step {step:,}/{steps:,}" if steps else f"running, {of}step {step:,}"
    since = max(0.0, now - columns.time[-1])
    pace = columns.recent_seconds()
    left = remaining_seconds(history)
    rest = f", {formatting.duration(left)} left" if left is not None and step < steps else ""
    if steps and step >= steps:
        return RunStatus("running", f"{place}, all steps done: evaluating and saving", "busy")
    usual = pace if pace is not None else QUIET_SECONDS
    if since <= max(QUIET_SECONDS, QUIET_FACTOR * usual):
        return RunStatus("running", f"{place}, last step {formatting.duration(since)} ago{rest}", "good")
    why = _why_quiet(history, stage, step, pace, config)
    return RunStatus("running", f"{place}, no step for {formatting.duration(since)}: {why}{rest}", "busy")


def _why_quiet(history: History, stage: str, step: int, pace: float | None, config: RunConfig | None) -> str:
    progress = history.progress
    columns = history.steps[stage]
    if progress is not None and progress.stage == stage and progress.t >= columns.time[-1]:
        return f"{progress_words(history, progress)}"
    if pace is None:
        return "compiling?"
    if config is not None:
        every = train_spec(config, stage).evaluate.every_steps
        if every and step % every == 0:
            return "evaluating?"
        if config.checkpoint.every_steps and step % config.checkpoint.every_steps == 0:
            return "writing a checkpoint?"
    return f"usually {formatting.duration(pace)}"


def progress_words(history: History, progress: Progress) -> str:
    """`downloading 3.1 of 9.8 GiB, 41.2 MiB/s, 3 m 05 s left`."""
    fetches = progress.stage == "data" and progress.unit.startswith(("bytes", "shards"))
    doing = "downloading" if fetches else STAGE_WORDS.get(progress.stage, progress.stage)
    unit, _, note = progress.unit.partition(" (")
    if note:
        return f"{doing}: {note.rstrip(')')}"
    # the tokenizer is trained on so many characters at most; how many there are is known when all were read
    most = "at most " if progress.stage == "tokenizer" and progress.done < progress.total else ""
    amount = _amount(progress.done, progress.total, unit, most)
    rate = _rate(history, progress)
    if rate is None:
        return f"{doing}: {amount}"
    speed = f"{formatting.size(rate)}/s" if unit == "bytes" else f"{formatting.count(rate)} {unit}/s"
    left = (
        f", {most}{formatting.duration((progress.total - progress.done) / rate)} left"
        if progress.total > progress.done
        else ""
    )
    return f"{doing}: {amount}, {speed}{left}"


def _amount(done: int, total: int, unit: str, most: str) -> str:
    if unit == "bytes":
        return f"{formatting.size(done)} of {formatting.size(total)}" if total else formatting.size(done)
    show = formatting.count if max(done, total) >= 10_000 else "{:,}".format
    return f"{show(done)} of {most}{show(total)} {unit}" if total else f"{show(done)} {unit}"


def _rate(history: History, progress: Progress) -> float | None:
    """Units per second since the first report; units from before a resume do not count."""
    first = history.progress_from
    if first is None or progress.t - first.t < 1.0 or progress.done <= first.done:
        return None
    return (progress.done - first.done) / (progress.t - first.t)


def _stalled(name: str, history: History, now: float) -> RunStatus:
    known = last_columns(history)
    if known is None:
        return RunStatus("stalled", f"stalled. Look for the reason: nanosolo logs {name}", "bad")
    columns = known[1]
    silent = formatting.duration(max(0.0, now - columns.time[-1]))
    pace = formatting.duration(columns.recent_seconds())
    text = f"stalled at step {columns.step[-1]:,}: no step for {silent}, usually {pace}. Why: nanosolo logs {name}"
    return RunStatus("stalled", text, "bad")


def _elsewhere(name: str, history: History, now: float) -> RunStatus:
    host = history.started.host if history.started else "another host"
    silent = max(0.0, now - history.last_time) if history.last_time is not None else math.inf
    if silent < 60:
        return RunStatus("elsewhere", f"running on {host}{_where(history, 'at')}, read from here", "busy")
    text = f"last event from {host} {formatting.duration(silent)} ago{_where(history, 'at')}; if that machine is down: "
    return RunStatus("elsewhere", f"{text}nanosolo resume {name}", "warn")


def _finished(history: History) -> str:
    parts = ["finished"]
    pretraining, known = history.steps.get("pretrain"), last_columns(history)
    columns = pretraining if pretraining is not None and len(pretraining) else known[1] if known is not None else None
    if columns is not None:  # pretraining's where there are any, as the bits per byte are
        parts.append(f"{columns.step[-1]:,} steps")
    if history.ended is not None and history.first_started is not None:
        if history.whole:
            parts.append(f"in {formatting.duration(seconds_at_work(history.attempts, history.last_time))}")
        else:  # pauses included
            parts.append(f"within {formatting.duration(max(0.0, history.ended.t - history.first_started))}")
    bpb = history.latest("val_bpb")
    if bpb is not None:
        parts.append(f"{bpb.value:.4f} bits per byte")
    return ", ".join(parts)


def _failed(name: str, history: History) -> str:
    ended = history.ended
    again = f"resume with: nanosolo resume {name}"
    if history.checkpoints:
        again += f", from step {history.checkpoints[-1].step:,}"
    if ended is None:
        return f"failed: the runner exited unexpectedly{_where(history)} (machine restarted, or killed); {again}"
    if ended.outcome == "refused":  # resumed as it is, it would be refused again
        again = f"correct that, then {again}" if history.checkpoints else "correct that and start a new run"
    reason = {
        "out_of_memory": "out of GPU memory",
        "out_of_host_memory": "out of host memory",
        "diverged": "the loss diverged",
        "killed": "the process was killed",
        "crashed": "the stage crashed",
        "refused": "refused",
    }.get(ended.outcome, ended.outcome)
    message = _one_line(ended.message)
    detail = f": {message}" if message and not message.startswith(reason) else message.removeprefix(reason)
    return f"failed{_where(history)}: {reason}{detail}; {again}"


def _where(history: History, word: str = "after") -> str:
    known = last_columns(history)
    return f" {word} step {known[1].step[-1]:,}" if known is not None else ""


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 160 else text[:157] + "..."
