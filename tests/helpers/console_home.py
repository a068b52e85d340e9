"""A console for tests: an empty home, true colors, and a machine of known size."""

from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.hardware import gpu_catalog
from engine.hardware.gpu_catalog import Gpu
from tui.app import NanosoloApp
from tui.planning.choices import Here

CPU = gpu_catalog.cpu(2, 16 * gpu_catalog.GIB, "x86_64")


def use_home(monkeypatch: pytest.MonkeyPatch, home: Path, config: str = "", gpu: Gpu | None = None) -> None:
    """Give the console an empty home and a settings file, on a machine with two cores and optionally a GPU."""
    settings = home / "config.toml"
    home.mkdir(parents=True, exist_ok=True)
    settings.write_text(config, encoding="utf-8")
    monkeypatch.setenv("NANOSOLO_HOME", str(home))
    monkeypatch.setenv("NANOSOLO_CONFIG", str(settings))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("TMUX", raising=False)
    here = Here(gpu, CPU, {})
    monkeypatch.setattr("tui.planning.choices.Here.look", classmethod(lambda cls: here))


def console(**options: object) -> NanosoloApp:
    """The application, as run_console creates it."""
    return NanosoloApp(**options)  # type: ignore[arg-type]


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Press keys; wait after each until the screen has handled it."""
    for key in keys:
        await pilot.press(key)
        await pilot.pause()
