"""The Stages dialog: run or rerun any stage of a run, also stages that are not in its pipeline."""

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
from tui.widgets.checklist_dialog import ChecklistDialog, Item, Validation


def choose_stages(console: Console, run: RunDirectory, then: Callable[[], None]) -> None:
    """Ask which stages to run, and run them; `then` is called after the choice."""
    if run.is_running():
        console.tell(f"{run.name} is running. Stop it (x), then choose stages.", "warning")
        return

    def look() -> None:
        config = run.config()
        history = read_history(run.events_file)
        status = stage_status(history, config.pipeline.stages)
        items = stage_items(history, status, config)
        console.call_from_thread(ask, items, status)

    def ask(items: list[Item], status: StageStatus) -> None:
        console.push_screen(
            ChecklistDialog(
                f"Stages of {run.name}", "run", items, status.left, lambda keys: validate(run, keys, status)
            ),
            chosen,
        )

    def chosen(selected: tuple[str, ...] | None) -> None:
        if selected:
            stages = named_stages(selected, "stages")

            def start() -> None:
                rerun_stages(run, stages)

            actions.in_background(console, start, f"{run.name}: started {', '.join(stages)}.")
            then()

    actions.in_background(console, look, "")


def validate(run: RunDirectory, selected: tuple[str, ...], status: StageStatus) -> Validation:
    """What a rerun of these stages restarts, archives and leaves out of date."""
    if not selected:
        return Validation(error="Select the stages to run.")
    stages = named_stages(selected, "stages")
    missing = first_missing(stages, results_of(run, status))
    if missing is not None:
        return Validation(error=f"{missing.why}, which has no result yet. Select {missing.first} as well.")
    try:
        rerun = plan_rerun(run, stages, status=status)
    except NanosoloError as error:
        return Validation(error=str(error))
    return Validation(tuple(_effects(rerun)))


def _effects(rerun: RerunPlan) -> list[str]:
    lines = [f"restart: {', '.join(rerun.restarted)}"] if rerun.restarted else []
    if rerun.restarted_later:
        later = ", ".join(rerun.restarted_later)
        lines.append(f"incomplete, and built on weights that will be replaced; restart later: {later}")
    if rerun.archived:
        kept = ", ".join(f"checkpoints/{name}" for name in rerun.archived.values())
        lines.append(f"current results move to {kept} ({formatting.size(rerun.bytes)})")
    if rerun.outdated:
        lines.append(f"! will be out of date: {', '.join(rerun.outdated)}. Select them as well to update them.")
    return lines or ["continue: the selected stages are incomplete"]


def stage_items(history: History, status: StageStatus, config: RunConfig) -> list[Item]:
    """Every stage with its status."""
    return [Item(stage, _state(stage, history, status, config)) for stage in STAGES]


def _state(stage: str, history: History, status: StageStatus, config: RunConfig) -> str:
    view = history.stages.get(stage)
    beyond = "" if stage in status.all_stages(config.pipeline.stages) else ", not in the pipeline"
    if stage in status.restart:
        return "will restart"
    if stage in status.done:
        return (
            f"done, {formatting.duration(view.ended.seconds)}"
            if view is not None and view.ended is not None
            else "done"
        )
    columns = history.steps.get(stage)
    if columns is not None and len(columns):
        return f"incomplete, at step {columns.step[-1]:,} of {columns.steps:,}"
    if view is not None:
        outcome = view.ended.outcome.replace("_", " ") if view.ended is not None else "exited unexpectedly"
        return f"incomplete: {outcome}"
    return f"not run{beyond}"
