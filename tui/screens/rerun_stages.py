"""The dialog Stages: run any stage of a run alone, again, or beyond its pipeline."""

from collections.abc import Callable

from engine.config.schema import RunConfig
from engine.config.stages import STAGES, first_missing, named_stages
from engine.core import formatting
from engine.core.errors import NanosoloError
from engine.events.history import History, read_history
from engine.launch.rerun import Asking, run_stages, weigh
from engine.run.directory import RunDirectory
from engine.run.stage_status import Standing, read_standing, results_of
from tui import actions
from tui.console import Console
from tui.widgets.checklist_dialog import Judged, Tick, TickDialog


def choose_stages(console: Console, run: RunDirectory, then: Callable[[], None]) -> None:
    """Ask which stages to run, and run them; `then` is called when they were chosen."""
    if run.is_running():
        console.tell(f"{run.name} is at work. Stop it first (x); then its stages can be chosen.", "warning")
        return

    def look() -> None:
        config = run.config()
        standing = read_standing(run, config.pipeline.stages)
        lines = stage_lines(read_history(run.events_file), standing, config)
        console.call_from_thread(ask, lines, standing)

    def ask(lines: list[Tick], standing: Standing) -> None:
        console.push_screen(
            TickDialog(f"Stages of {run.name}", "runs them", lines, standing.left, lambda t: judge(run, t, standing)),
            chosen,
        )

    def chosen(ticked: tuple[str, ...] | None) -> None:
        if ticked:
            stages = named_stages(ticked, "stages")

            def start() -> None:
                run_stages(run, stages)

            actions.in_background(console, start, f"{run.name} runs {', '.join(stages)}.")
            then()

    actions.in_background(console, look, "")


def judge(run: RunDirectory, ticked: tuple[str, ...], standing: Standing) -> Judged:
    """What these stages would set aside and leave behind."""
    if not ticked:
        return Judged(fault="Tick the stages to run.")
    stages = named_stages(ticked, "stages")
    missing = first_missing(stages, results_of(run, standing))
    if missing is not None:
        return Judged(fault=f"{missing.why}, which is not here: tick {missing.first} as well.")
    try:
        asking = weigh(run, stages, standing=standing)
    except NanosoloError as error:
        return Judged(fault=str(error))
    return Judged(tuple(_words(asking)))


def _words(asking: Asking) -> list[str]:
    lines = [f"from the beginning: {', '.join(asking.again)}"] if asking.again else []
    if asking.half_done:
        lines.append(f"later from the beginning, as half done on what was there: {', '.join(asking.half_done)}")
    if asking.aside:
        kept = ", ".join(f"checkpoints/{name}" for name in asking.aside.values())
        lines.append(f"what they have is kept in {kept}, {formatting.size(asking.bytes)}")
    if asking.stale:
        lines.append(f"! then of an earlier result: {', '.join(asking.stale)}. Space ticks them too.")
    return lines or ["runs what is left of them"]


def stage_lines(history: History, standing: Standing, config: RunConfig) -> list[Tick]:
    """Every stage and how it stands."""
    return [Tick(stage, _state(stage, history, standing, config)) for stage in STAGES]


def _state(stage: str, history: History, standing: Standing, config: RunConfig) -> str:
    view = history.stages.get(stage)
    beyond = "" if stage in standing.line(config.pipeline.stages) else ", not in the pipeline"
    if stage in standing.anew:
        return "to begin anew"
    if stage in standing.done:
        return (
            f"done, {formatting.duration(view.ended.seconds)}"
            if view is not None and view.ended is not None
            else "done"
        )
    columns = history.steps.get(stage)
    if columns is not None and len(columns):
        return f"half done, at step {columns.step[-1]:,} of {columns.steps:,}"
    if view is not None:
        outcome = view.ended.outcome.replace("_", " ") if view.ended is not None else "ended without a word"
        return f"not done: {outcome}"
    return f"not run{beyond}"
