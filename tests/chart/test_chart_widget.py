"""The widget driven by its keys in a headless app."""

import subprocess
import sys
from math import inf, nan
from typing import ClassVar, cast

import pytest
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.pilot import Pilot

from tui.chart.model import XAxis
from tui.chart.series import Series
from tui.chart.widget import SMOOTHINGS, Chart

AXES = (XAxis("step"), XAxis("tokens"), XAxis("time", "duration"))


class Host(App[None]):
    """One chart; remembers what the chart said."""

    def __init__(self, chart: Chart) -> None:
        super().__init__()
        self.chart = chart
        self.axes: list[str] = []
        self.escapes = 0

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "count_escape")]

    def compose(self) -> ComposeResult:
        yield self.chart

    def on_chart_axis_changed(self, message: Chart.AxisChanged) -> None:
        assert message.control is self.chart
        self.axes.append(message.axis.name)

    def action_count_escape(self) -> None:
        self.escapes += 1


def filled() -> Chart:
    """1,000 steps of a planned 2,000 and a validation value every 100; one step is 64 tokens and two seconds."""
    chart = Chart("Loss", axes=AXES, smoothing=0.9)
    steps = [float(step) for step in range(1000)]
    for name, role, chosen in (("train", "line", steps), ("validation", "points", steps[99::100])):
        chart.set_series(name, role=role)  # type: ignore[arg-type]
        xs = {"step": chosen, "tokens": [64 * x for x in chosen], "time": [2 * x for x in chosen]}
        chart.extend(name, xs, [3 + 4 / (1 + x / 50) for x in chosen])
    chart.add_marker({"step": 500, "tokens": 32_000, "time": 1000}, "checkpoint", "step_500")
    for axis, end in zip(AXES, (2000, 128_000, 4000), strict=True):
        chart.set_x_domain(axis.name, (0, end))
    return chart


def shown(pilot: Pilot[None]) -> list[str]:
    """What the terminal would show."""
    return ["".join(segment.text for segment in strip) for strip in pilot.app.screen._compositor.render_strips()]


async def press(pilot: Pilot[None], *keys: str) -> Chart:
    await pilot.press(*keys)
    await pilot.pause()
    chart = cast(Host, pilot.app).chart
    # Whatever the key did, the screen shows the whole canvas and the canvas the whole model.
    assert [line.rstrip() for line in shown(pilot)] == chart.plot.canvas.lines()
    return chart


async def start(pilot: Pilot[None]) -> Chart:
    cast(Host, pilot.app).chart.focus()
    return await press(pilot)


async def test_zoom_pan_and_reset() -> None:
    async with Host(filled()).run_test(size=(80, 24)) as pilot:
        chart = await start(pilot)
        assert chart.model.window() == (0, 2000)
        await press(pilot, "+")
        lo, hi = chart.model.window()
        assert hi - lo == pytest.approx(1000)
        assert lo < 999 < hi  # around the newest sample
        assert "zoom 2x" in shown(pilot)[0]
        await press(pilot, "=")
        assert hi - lo == pytest.approx(2 * (chart.model.window()[1] - chart.model.window()[0]))
        before = chart.model.window()
        await press(pilot, "<")
        after = chart.model.window()
        assert after[0] == pytest.approx(before[0] - 125)
        await press(pilot, ">")
        assert chart.model.window() == pytest.approx(before)
        await press(pilot, "-", "-", "-")
        assert chart.model.window() == (0, 2000)
        await press(pilot, "+", "+", "<", "0")
        assert chart.model.window() == (0, 2000)
        assert "zoom" not in shown(pilot)[0]


async def test_the_cursor_reads_logged_samples_only() -> None:
    async with Host(filled()).run_test(size=(100, 24)) as pilot:
        chart = await start(pilot)
        await press(pilot, "left")
        assert chart.model.cursor == (0, 999)
        await press(pilot, "left")
        assert chart.model.cursor is not None
        index = chart.model.cursor[1]
        assert 950 < index < 999
        series = chart.model.layers[0].series
        assert f"train {series.raw.values[index]}" in shown(pilot)[1]
        assert f"step {index}" in shown(pilot)[1]
        await press(pilot, "right", "right", "right")
        assert chart.model.cursor == (0, 999)
        await press(pilot, "down")
        assert chart.model.cursor == (1, 9)
        assert "validation" in shown(pilot)[1].split("train")[0]
        await press(pilot, "left")
        assert chart.model.cursor == (1, 8)  # by at least one sample, however far apart they are
        await press(pilot, "up")
        assert chart.model.cursor == (0, 899)
        assert "@" not in shown(pilot)[1]
        await press(pilot, "left")
        assert "@ 899" in shown(pilot)[1]  # the other series was logged elsewhere


async def test_the_cursor_names_events_and_stays_in_view() -> None:
    async with Host(filled()).run_test(size=(100, 24)) as pilot:
        chart = await start(pilot)
        chart.model.place_cursor(500)
        await press(pilot, "+", "+", "+", "+")
        assert "step_500" in shown(pilot)[1]
        lo = chart.model.window()[0]
        await press(pilot, *["left"] * 32)
        x = chart.model.cursor_x()
        assert x is not None
        assert x < lo
        assert chart.model.window()[0] <= x <= chart.model.window()[1]


async def test_escape_hides_the_cursor_and_otherwise_goes_on() -> None:
    async with Host(filled()).run_test(size=(80, 24)) as pilot:
        chart = await start(pilot)
        await press(pilot, "left", "escape")
        assert chart.model.cursor is None
        assert cast(Host, pilot.app).escapes == 0
        await press(pilot, "escape")
        assert cast(Host, pilot.app).escapes == 1


async def test_smoothing() -> None:
    async with Host(filled()).run_test(size=(80, 24)) as pilot:
        chart = await start(pilot)
        assert "EMA 0.9" in shown(pilot)[0]
        await press(pilot, "s")
        assert chart.model.smoothing == 0.95
        await press(pilot, "S", "S")
        assert chart.model.smoothing == 0.8
        await press(pilot, *["S"] * len(SMOOTHINGS))
        assert chart.model.smoothing == 0
        assert "EMA" not in shown(pilot)[0]
        await press(pilot, *["s"] * (len(SMOOTHINGS) + 1))
        assert chart.model.smoothing == SMOOTHINGS[-1]


async def test_log_axis() -> None:
    async with Host(filled()).run_test(size=(80, 24)) as pilot:
        chart = await start(pilot)
        linear = shown(pilot)
        await press(pilot, "l")
        assert "log y" in shown(pilot)[0]
        assert shown(pilot)[5:] != linear[5:]
        await press(pilot, "l")
        assert not chart.model.log_y


async def test_x_axes() -> None:
    async with Host(filled()).run_test(size=(80, 24)) as pilot:
        chart = await start(pilot)
        await press(pilot, "X")
        assert shown(pilot)[-1].split() == ["tokens", "0", "50k", "100k"]
        await press(pilot, "X")
        assert shown(pilot)[-1].split()[:6] == ["time", "0", "15m", "30m", "45m", "1h"]
        assert chart.x_domain == (0, 4000)
        await press(pilot, "X")
        assert shown(pilot)[-1].split()[0] == "step"
        assert cast(Host, pilot.app).axes == ["tokens", "time", "step"]


async def test_follow() -> None:
    async with Host(filled()).run_test(size=(80, 24)) as pilot:
        chart = await start(pilot)
        await press(pilot, "f")
        assert chart.model.window() == (0, 1000)  # the run so far, in a power of two of the plan
        more = {"step": [1000.5], "tokens": [64_032.0], "time": [2001.0]}
        chart.extend("train", more, [3.0])
        await press(pilot)
        assert chart.model.window() == (0, 2000)
        await press(pilot, "+", "+", "+", "+")
        step = chart.model.window()[1] + 1
        chart.extend("train", {"step": [step], "tokens": [step * 64], "time": [step * 2]}, [3.0])
        await press(pilot)
        assert chart.model.window()[0] < step < chart.model.window()[1]
        await press(pilot, "<")
        assert not chart.model.follow
        await press(pilot, "f", "f", "0")
        assert chart.model.window() == (0, 2000)


def test_every_binding_can_be_explained_and_remapped() -> None:
    bindings = [binding for binding in Chart.BINDINGS if isinstance(binding, Binding)]
    assert len(bindings) == len(Chart.BINDINGS)
    assert all(binding.id and binding.description and binding.tooltip for binding in bindings)
    assert len({binding.id for binding in bindings}) == len(bindings)


async def test_a_click_places_the_cursor() -> None:
    async with Host(filled()).run_test(size=(80, 24)) as pilot:
        chart = await start(pilot)
        await pilot.click(Chart, offset=(25, 10))
        await press(pilot)
        frame = chart.plot.frame
        assert frame is not None
        assert frame.cell_of(chart.model.cursor_x() or -1) == 25 - frame.left


async def test_only_changed_cells_are_repainted() -> None:
    async with Host(filled()).run_test(size=(120, 40)) as pilot:
        chart = await start(pilot)
        regions: list = []
        refresh = chart.refresh

        def watched(*given, **options):  # type: ignore[no-untyped-def]
            regions.append(given)
            return refresh(*given, **options)

        chart.refresh = watched  # type: ignore[method-assign]
        more = [1000.0, 1001.0]
        chart.extend(
            "train", {"step": more, "tokens": [x * 64 for x in more], "time": [x * 2 for x in more]}, [3.25, 3.3]
        )
        await press(pilot)
        assert len(regions) == 1
        assert regions[0]
        assert sum(region.area for region in regions[0]) < 60


async def test_other_sizes_and_themes() -> None:
    async with Host(filled()).run_test(size=(80, 24)) as pilot:
        chart = await start(pilot)
        before = chart.render_line(1)
        for theme in ("textual-light", "nord", "ansi-dark", "textual-dark"):
            pilot.app.theme = theme
            await press(pilot)
        assert [segment.style for segment in chart.render_line(1)] == [segment.style for segment in before]
        for size in ((20, 5), (3, 2), (200, 60)):
            await pilot.resize_terminal(*size)
            await press(pilot, "+", "left", "s", "l", "X", "f", "-", "<", ">", "0")
        pilot.app.theme = "textual-light"
        await press(pilot)
        assert [segment.style for segment in chart.render_line(1)] != [segment.style for segment in before]


async def test_an_empty_and_a_hidden_chart_take_every_key() -> None:
    chart = Chart(empty="Nothing here until the first step")
    keys = ["left", "right", "up", "down", "escape", "+", "-", "<", ">", "0", "s", "S", "l", "X", "f"]
    async with Host(chart).run_test(size=(60, 12)) as pilot:
        await start(pilot)
        await press(pilot, *keys)
        assert any("Nothing here until the first step" in line for line in shown(pilot))
        chart.set_series("loss")
        chart.display = False
        await pilot.pause()
        chart.extend("loss", [1, 2, 3], [nan, inf, 1e300])
        await pilot.pause()
        chart.display = True
        chart.focus()
        await pilot.pause()
        await press(pilot, *keys)
        assert not any("Nothing here" in line for line in shown(pilot))
        chart.clear()
        await press(pilot, *keys)
        assert any("Nothing here" in line for line in shown(pilot))


async def test_series_come_and_go() -> None:
    chart = Chart()
    async with Host(chart).run_test(size=(80, 20)) as pilot:
        await start(pilot)
        shared = Series()
        chart.set_series("a", shared)
        chart.set_series("b")
        chart.extend("b", [0, 1], [1, 2])
        chart.x_domain = (0, 10)
        shared.extend([5.0], [3.0])
        chart.data_changed()
        await press(pilot, "left")
        assert all(name in shown(pilot)[1] for name in ("a 5", "b 2"))
        color = chart.model.layers[1].color
        chart.remove_series("a")
        await press(pilot)
        assert chart.model.layers[0].color == color
        assert chart.x_domain == (0, 10)
        with pytest.raises(KeyError):
            chart.extend("a", [1], [1])
        with pytest.raises(ValueError, match="has 2 x axes, the chart has 1"):
            chart.set_series("c", Series(2))


def test_the_package_imports_nothing_else_of_ours() -> None:
    code = (
        "import sys, tui.chart.text\n"
        "print('textual' in sys.modules)\n"  # a report needs no console
        "import tui.chart.widget\n"
        "ours = [name for name in sys.modules if name.partition('.')[0] in ('engine', 'presets', 'tui')]\n"
        "print([name for name in ours if name != 'tui' and not name.startswith('tui.chart')])\n"
        "print([name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["False", "[]", "[]"]


async def test_a_cleared_chart_keeps_no_y_range() -> None:
    chart, fresh = Chart(), Chart()
    for one, before in ((chart, [0.0, 10.0]), (fresh, None)):
        async with Host(one).run_test(size=(80, 20)) as pilot:
            await start(pilot)
            if before is not None:
                one.set_series("a")
                one.extend("a", [0, 1], before)
                await press(pilot)
                one.clear()
            one.set_series("b")
            one.extend("b", [0, 1], [1.0, 9.0])
            await press(pilot)
    assert chart.plot.y_scale == fresh.plot.y_scale
