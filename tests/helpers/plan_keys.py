"""The Plan screen driven by its keys: choose a preset, put the cursor on a setting, read a value."""

from typing import Any

from textual.pilot import Pilot

from engine.config.schema import get
from tests.helpers.console_home import press
from tui.app import NanosoloApp
from tui.screens.plan.plan_screen import PlanScreen
from tui.screens.plan.settings_list import KNOBS, KnobList


def plan_of(app: NanosoloApp) -> PlanScreen:
    assert isinstance(app.screen, PlanScreen)
    return app.screen


def value(app: NanosoloApp, path: str) -> Any:
    return get(plan_of(app).draft.config, path)


async def choose(pilot: Pilot[None], name: str) -> None:
    """Take a preset by the keyboard."""
    await press(pilot, "p")
    names = ["quickstart", "smoke", "conservative", "balanced", "aggressive", "maximum", "reference"]
    await press(pilot, "home", *["down"] * names.index(name), "enter")


async def at(pilot: Pilot[None], path: str) -> None:
    """Put the cursor on a knob by the keyboard."""
    order = ["preset", "gpu", *KNOBS]
    await press(pilot, "home", *["down"] * order.index(path))
    assert pilot.app.screen.query_one(KnobList).chosen == path
