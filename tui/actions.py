"""What the console does to runs: stop, checkpoint, resume, relaunch; off the event loop, and told in one sentence."""

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

AFTER_CHECKPOINT, NOW, GO_ON = "after", "now", "go on"


def ask_to_stop(console: Console, run: RunDirectory) -> None:
    """Ask how to stop, then do it."""
    choices = (
        Choice(
            AFTER_CHECKPOINT,
            "After a checkpoint",
            "",
            f"loses nothing: nanosolo resume {run.name} continues from there",
        ),
        Choice(NOW, "Now", "", "loses the steps since the last checkpoint"),
        Choice(GO_ON, "Do not stop", "", "leave the run alone"),
    )

    def answered(how: str | None) -> None:
        if how in (AFTER_CHECKPOINT, NOW):
            now = how == NOW
            said = "stops now" if now else "stops after a checkpoint"
            in_background(console, lambda: stop_run(run, now=now), f"{run.name} {said}.")

    console.push_screen(ChoiceDialog(f"Stop {run.name}?", choices, AFTER_CHECKPOINT), answered)


def checkpoint(console: Console, run: RunDirectory) -> None:
    """Ask for a checkpoint at the next step."""
    in_background(console, lambda: ask_for_checkpoint(run), f"{run.name} writes a checkpoint at its next step.")


def resume(console: Console, run: RunDirectory) -> None:
    """Start a runner for what is left."""
    in_background(console, lambda: resume_run(run), f"{run.name} goes on.")


def relaunch_with(
    console: Console,
    run: RunDirectory,
    change: Mapping[str, Any],
    effect: str,
    then: Callable[[RunDirectory], None],
) -> None:
    """Start the run again with changed settings, and call `then` with the run that was started."""
    said = (
        f"{run.name} continues with the change."
        if fits_checkpoint(change)
        else "A new run was started with the change."
    )

    def work() -> None:
        started = relaunch(run, change, effect)
        console.call_from_thread(then, started)

    in_background(console, work, said)


def copy_text(console: Console, text: str, file_name: str) -> None:
    """Copy, and tell where the text is now."""
    console.tell(copy(console, text, file_name))


def in_background(console: Console, work: Callable[[], None], said: str) -> None:
    """Do it in a thread: it may wait for a process or a disk. Tell how it went; `said`: what to tell of success."""

    def guarded() -> None:
        try:
            work()
        except NanosoloError as error:
            console.call_from_thread(console.tell_error, error)
        except OSError as error:
            console.call_from_thread(console.tell, f"{error}", "error")
        else:
            if said:
                console.call_from_thread(console.tell, said)

    console.run_worker(guarded, thread=True, exit_on_error=False)
