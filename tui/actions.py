"""Actions of the console on runs: stop, checkpoint, resume, relaunch. Each runs in a thread and reports the result."""

from collections.abc import Callable, Mapping
from typing import Any

from engine.core.errors import NanosoloError
from engine.launch.control import ask_for_checkpoint, stop_run
from engine.launch.relaunch import fits_checkpoint, relaunch
from engine.launch.start import resume_run
from engine.run.directory import RunDirectory
from tui.console import Console
from tui.planning.choices import Choice
from tui.terminal.clipboard import copy
from tui.widgets.dialogs import ChoiceDialog

AFTER_CHECKPOINT, NOW, CONTINUE = "after", "now", "continue"


def ask_to_stop(console: Console, run: RunDirectory) -> None:
    """Ask how to stop, then stop the run."""
    choices = (
        Choice(
            AFTER_CHECKPOINT, "After a checkpoint", "", f"No progress is lost. Resume with: nanosolo resume {run.name}"
        ),
        Choice(NOW, "Now", "", "The steps since the last checkpoint are lost."),
        Choice(CONTINUE, "Do not stop", "", "The run continues."),
    )

    def answered(how: str | None) -> None:
        if how in (AFTER_CHECKPOINT, NOW):
            now = how == NOW
            when = "now" if now else "after a checkpoint"
            in_background(console, lambda: stop_run(run, now=now), f"{run.name}: stopping {when}.")

    console.push_screen(ChoiceDialog(f"Stop {run.name}?", choices, AFTER_CHECKPOINT), answered)


def checkpoint(console: Console, run: RunDirectory) -> None:
    """Ask for a checkpoint at the next step."""
    in_background(console, lambda: ask_for_checkpoint(run), f"{run.name}: writing a checkpoint at the next step.")


def resume(console: Console, run: RunDirectory) -> None:
    """Start a runner for the remaining stages."""
    in_background(console, lambda: resume_run(run), f"{run.name}: resumed.")


def relaunch_with(
    console: Console,
    run: RunDirectory,
    change: Mapping[str, Any],
    effect: str,
    then: Callable[[RunDirectory], None],
) -> None:
    """Start the run again with changed settings, and call `then` with the run that was started."""
    resumed = fits_checkpoint(change)
    success = f"{run.name}: resumed with the change." if resumed else "Started a new run with the change."

    def work() -> None:
        started = relaunch(run, change, effect)
        console.call_from_thread(then, started)

    in_background(console, work, success)


def copy_text(console: Console, text: str, file_name: str) -> None:
    """Copy the text, and say where it was copied to."""
    console.tell(copy(console, text, file_name))


def in_background(console: Console, work: Callable[[], None], success: str) -> None:
    """Call `work` in a thread, because it may wait for a process or a disk. Report an error, or `success`."""

    def guarded() -> None:
        try:
            work()
        except NanosoloError as error:
            console.call_from_thread(console.tell_error, error)
        except OSError as error:
            console.call_from_thread(console.tell, f"{error}", "error")
        else:
            if success:
                console.call_from_thread(console.tell, success)

    console.run_worker(guarded, thread=True, exit_on_error=False)
