"""The dialog Stages: run any stage of a run alone, again, or beyond its pipeline."""

from collections.abc import Callable

from engine.config.schema import RunConfig
from engine.config.stages import STAGES, first_missing, named_stages
from engine.core import formatting
from engine.core.errors import NanosoloError
from engine.events.history import History, read_history
from engine.launch.rerun import RerunPlan, plan_rerun, rerun_stages
from engine.run.directory import RunDirectory
from engine.run.stage_status import StageStatus, results_of, stage_status
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
        history = read_history(run.events_file)
        status = stage_status(history, config.pipeline.stages)
        lines = stage_lines(history, status, config)
        console.call_from_thread(ask, lines, status)

    def ask(lines: list[Tick], status: StageStatus) -> None:
        console.push_screen(
            TickDialog(f"Stages of {run.name}", "runs them", lines, status.left, lambda t: judge(run, t, status)),
            chosen,
        )

    def chosen(ticked: tuple[str, ...] | None) -> None:
        if ticked:
            stages = named_stages(ticked, "stages")

            def start() -> None:
                rerun_stages(run, stages)

            actions.in_background(console, start, f"{run.name} runs {', '.join(stages)}.")
            then()

    actions.in_background(console, look, "")


def judge(run: RunDirectory, ticked: tuple[str, ...], status: StageStatus) -> Judged:
    """What these stages would set aside and leave behind."""
    if not ticked:
        return Judged(fault="Tick the stages to run.")
    stages = named_stages(ticked, "stages")
    missing = first_missing(stages, results_of(run, status))
    if missing is not None:
        return Judged(fault=f"{missing.why}, which is not here: tick {missing.first} as well.")
    try:
        rerun = plan_rerun(run, stages, status=status)
    except NanosoloError as error:
        return Judged(fault=str(error))
    return Judged(tuple(_describe(rerun)))


def _describe(rerun: RerunPlan) -> list[str]:
    lines = [f"from the beginning: {', '.join(rerun.restarted)}"] if rerun.restarted else []
    if rerun.restarted_later:
        lines.append(f"restart later, as built on weights that will be replaced: {', '.join(rerun.restarted_later)}")
    if rerun.archived:
        kept = ", ".join(f"checkpoints/{name}" for name in rerun.archived.values())
        lines.append(f"their checkpoints are archived in {kept}, {formatting.size(rerun.bytes)}")
    if rerun.outdated:
        lines.append(f"! outdated afterwards: {', '.join(rerun.outdated)}. Press Space to run them too.")
    return lines or ["continues what is not finished"]


def stage_lines(history: History, status: StageStatus, config: RunConfig) -> list[Tick]:
    """Every stage and how it stands."""
    return [Tick(stage, _state(stage, history, status, config)) for stage in STAGES]


def _state(stage: str, history: History, status: StageStatus, config: RunConfig) -> str:
    view = history.stages.get(stage)
    beyond = "" if stage in status.all_stages(config.pipeline.stages) else ", not in the pipeline"
    if stage in status.restart:
        return "to begin anew"
    if stage in status.done:
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
