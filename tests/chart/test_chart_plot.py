"""Painting: repainting what changed gives the same picture as painting everything, and no data breaks it."""

from math import inf, nan
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.chart import readout
from tui.chart.canvas import Canvas
from tui.chart.glyphs import ASCII, EVENTS, UNICODE
from tui.chart.model import Event, Model, XAxis
from tui.chart.plot import Plot
from tui.chart.scale import short
from tui.chart.series import Series
from tui.chart.text import render_text

PICTURES = Path(__file__).parent / "pictures"
HOSTILE = st.one_of(
    st.floats(),
    st.floats(-10, 10),
    st.sampled_from([nan, inf, -inf, 0.0, -1.0, 1e300, -1e300, 5e-324, 1.7e308, 2.5]),
)


def cells(plot: Plot) -> list:
    return [plot.canvas.chars, plot.canvas.styles]


class Screen:
    """A terminal that is only ever sent the cells that changed."""

    def __init__(self, width: int, height: int) -> None:
        self.chars = [[" "] * width for _ in range(height)]
        self.styles = [[""] * width for _ in range(height)]

    def receive(self, canvas: Canvas) -> int:
        runs = canvas.take_changes()
        for x, y, width in runs:
            self.chars[y][x : x + width] = canvas.chars[y][x : x + width]
            self.styles[y][x : x + width] = canvas.styles[y][x : x + width]
        return sum(run.width for run in runs)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("samples"), st.lists(HOSTILE, max_size=40)),
            st.tuples(st.just("points"), st.lists(HOSTILE, max_size=3)),
            st.tuples(st.just("resume"), st.floats(0, 1)),
            st.tuples(st.just("event"), st.sampled_from(EVENTS)),
            st.tuples(st.just("cursor"), st.integers(-9, 9)),
            st.tuples(st.just("switch"), st.sampled_from([-1, 1])),
            st.tuples(st.just("zoom"), st.sampled_from([0.5, 2.0])),
            st.tuples(st.just("pan"), st.sampled_from([-0.25, 0.25])),
            st.tuples(st.just("smooth"), st.sampled_from([0.0, 0.9])),
            st.tuples(st.sampled_from(["log", "follow"]), st.none()),
        ),
        max_size=14,
    ),
    st.integers(0, 70),
    st.integers(0, 24),
    st.booleans(),
    st.booleans(),
)
def test_sending_only_changes_shows_the_whole_picture(
    history: list, width: int, height: int, ascii_only: bool, planned: bool
) -> None:
    model = Model(title="Löss 损失")
    line, points = Series(), Series()
    model.put("train", line, "line")
    model.put("val", points, "points")
    if planned:
        model.domains[0] = (0.0, 100.0)
    plot = Plot(model, ascii_only)
    plot.resize(width, height)
    screen = Screen(width, height)
    for what, argument in history:
        last = line.xs[0][-1] if len(line) else 0.0
        if what == "samples":
            line.extend(argument, [last + i for i in range(len(argument))])
        elif what == "points":
            points.extend(argument, [last] * len(argument))
        elif what == "resume":
            line.truncate_from(last * argument)
        elif what == "event":
            model.add_event(Event((last,), argument))
        elif what == "cursor":
            model.move_cursor(argument, max(width, 1))
        elif what == "switch":
            model.switch_cursor(argument)
        elif what == "zoom":
            model.zoom(argument)
        elif what == "pan":
            model.pan(argument)
        elif what == "smooth":
            model.smoothing = argument
        elif what == "log":
            model.log_y = not model.log_y
        else:
            model.follow = not model.follow
        plot.paint()
        screen.receive(plot.canvas)
        assert cells(plot) == [screen.chars, screen.styles]
        # The same model painted on an empty canvas. The y axis may lag behind the samples, so it is handed on.
        fresh = Plot(model, ascii_only)
        fresh.resize(width, height)
        fresh.y_scale = plot.y_scale
        fresh.paint()
        assert cells(fresh) == cells(plot)


def test_ten_more_samples_change_a_handful_of_cells() -> None:
    model = Model(title="Loss", smoothing=0.9)
    series = model.put("train", Series(), "line").series
    model.domains[0] = (0.0, 20_000.0)
    plot = Plot(model)
    plot.resize(160, 45)
    ys = [3 + (i * 7919 % 13) / 13 for i in range(10_100)]
    series.extend(ys[:10_000], range(10_000))
    plot.paint()
    screen = Screen(160, 45)
    screen.receive(plot.canvas)
    for i in range(10_000, 10_100, 10):
        series.extend(ys[i : i + 10], range(i, i + 10))
        plot.paint()
        assert screen.receive(plot.canvas) < 2 * 45  # of 7,200: two columns at the most


def test_a_spike_shows_although_the_newest_sample_stays_where_it_was() -> None:
    model = Model()
    series = model.put("train", Series(), "line").series
    model.domains[0] = (0.0, 1000.0)
    plot = Plot(model)
    plot.resize(40, 12)
    series.extend([0.0, 9.0] * 50 + [1.0], range(101))
    plot.paint()
    before = sum(char == " " for row in plot.canvas.chars for char in row)
    series.extend([1.0, 1.0, 8.0, 1.0], [124, 125, 126, 126])
    plot.paint()
    middle = sum(char == " " for row in plot.canvas.chars for char in row)
    series.extend([9.0, 0.0, 1.0], [126, 126, 126])
    plot.paint()
    after = sum(char == " " for row in plot.canvas.chars for char in row)
    assert before > middle > after


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(HOSTILE, HOSTILE), max_size=60),
    st.integers(-1, 60),
    st.integers(-1, 20),
    st.booleans(),
    st.sampled_from([0.0, 0.9]),
    st.booleans(),
    st.sampled_from([None, (0.0, 100.0), (5.0, 5.0), (1e300, -1e300), (-1e308, 1e308)]),
    st.sampled_from(["count", "number", "duration"]),
)
def test_text_never_fails(
    samples: list, width: int, height: int, log_y: bool, smoothing: float, ascii_only: bool, domain: tuple, unit: str
) -> None:
    series = Series()
    series.extend([y for _, y in samples], [x for x, _ in samples])
    lines = render_text(
        {"a": series, "b": (series, "points"), "c": series},
        width=width,
        height=height,
        x_axis=XAxis("x", unit),
        x_domain=domain,
        events=[Event((x,), "nan") for x, _ in samples[:5]],
        smoothing=smoothing,
        log_y=log_y,
        ascii_only=ascii_only,
    )
    assert len(lines) == max(height, 0)
    assert all(len(line) <= max(width, 0) for line in lines)
    if ascii_only:
        assert "".join(lines).isascii()


def loss_picture(width: int, height: int, ascii_only: bool = False) -> str:
    train, validation = Series(), Series()
    for step in range(1200):
        wobble = ((step * 7919) % 101 - 50) / 400
        train.append(2.6 + 8 / (1 + step / 9) + wobble, step)
        if step % 150 == 149:
            validation.append(2.72 + 8 / (1 + step / 9), step)
    train.append(nan, 1200)
    events = [Event((x,), "checkpoint") for x in (400.0, 800.0)] + [Event((640.0,), "resume")]
    return "\n".join(
        render_text(
            {"train": train, "validation": (validation, "points")},
            width=width,
            height=height,
            title="Loss",
            x_domain=(0, 2000),
            events=events,
            smoothing=0.9,
            ascii_only=ascii_only,
        )
    )


@pytest.mark.parametrize(
    ("name", "width", "height", "ascii_only"),
    [("80x20", 80, 20, False), ("40x9", 40, 9, False), ("80x20-ascii", 80, 20, True), ("20x5", 20, 5, False)],
)
def test_pictures(name: str, width: int, height: int, ascii_only: bool) -> None:
    assert loss_picture(width, height, ascii_only) + "\n" == (PICTURES / f"{name}.txt").read_text(encoding="utf-8")


def picture(ys: list[float], width: int = 24, height: int = 4, **options) -> list[str]:  # type: ignore[no-untyped-def]
    series = Series()
    series.extend(ys, range(len(ys)))
    return render_text({"a": series}, width=width, height=height, x_domain=(0, len(ys) - 1), **options)


def braille_columns(lines: list[str]) -> list[bool]:
    """For each cell across the plot, whether something is drawn there."""
    left = max(line.find("│") for line in lines) + 1
    rows = [line.ljust(80) for line in lines if "│" in line or "┤" in line]
    return [any("⠀" < row[x] <= "⣿" or row[x] in "●" for row in rows) for x in range(left, 30)]


def test_a_gap_where_values_are_not_finite_and_a_mark_below() -> None:
    whole = picture([1.0] * 13, width=30, height=9)
    broken = picture([1.0] * 6 + [nan] + [1.0] * 6, width=30, height=9)
    assert all(braille_columns(whole))
    columns = braille_columns(broken)
    assert columns[0]
    assert columns[-1]
    assert not all(columns[9:14])
    assert "×" in broken[-2]
    assert "×" not in whole[-2]


def test_no_line_leads_away_from_a_value_that_is_not_finite() -> None:
    series = Series()
    series.extend([1.0, 1.0, nan, 1.0], [0, 3, 3.001, 10])  # the second and the third in the same cell
    columns = braille_columns(render_text({"a": series}, width=30, height=9, x_domain=(0, 10)))
    assert columns == [True] * 8 + [False] * 15 + [True]


def test_values_a_log_axis_cannot_show_are_gaps_and_said() -> None:
    lines = picture([1.0, 10.0, -5.0, 10.0, 100.0], width=60, height=9, log_y=True)
    assert "values <= 0 not shown" in lines[0]
    assert "×" not in lines[-2]
    assert "not shown" not in picture([1.0, 2.0], width=60, height=9, log_y=True)[0]


def test_outliers_are_arrows() -> None:
    lines = picture([1e6] + [1.0 + i / 1000 for i in range(100)], width=40, height=10)
    assert "↑" in "".join(lines)
    assert "↓" in "".join(picture([-1e6] + [1.0 + i / 1000 for i in range(100)], width=40, height=10))


def test_a_line_between_sparse_samples_has_no_holes() -> None:
    series = Series()
    series.extend([0.0, 1.0], [0, 10])
    lines = render_text({"a": series}, width=40, height=8, x_domain=(0, 10))
    plot_columns = list(zip(*[line.ljust(40)[6:] for line in lines[1:-2]], strict=True))
    assert all(any("⠀" < char <= "⣿" or char == "●" for char in column) for column in plot_columns)


def test_an_empty_chart_says_so() -> None:
    assert "No samples yet" in "\n".join(render_text({}, width=40, height=10))
    assert "No samples yet" not in "\n".join(picture([1.0, 2.0]))


def test_wide_and_zero_width_characters_keep_the_grid() -> None:
    canvas = Canvas(5, 1)
    assert canvas.text(0, 0, [("a\u0301损\n失z", "x")]) == 5
    assert canvas.chars[0] == ["a", "损", "", "失", ""]
    assert canvas.text(0, 0, [("abcd损", "x")]) == 4  # only half of it would fit


def test_several_lines_differ_without_color() -> None:
    series = {}
    for name, level in (("low", 1.0), ("high", 2.0)):
        series[name] = Series()
        series[name].extend([level] * 100, range(100))
    for ascii_only, marks in ((False, "●▲"), (True, "*o")):
        text = render_text(series, width=70, height=14, ascii_only=ascii_only)
        assert all(any(mark in line for line in text[2:]) for mark in marks)
        assert all(mark in text[1] for mark in marks)


@given(st.integers(5, 60), st.floats(0, 1e6), st.integers(1, 10**6), st.booleans())
def test_words_of_a_title_give_way_before_figures(width: int, value: float, step: int, ascii_only: bool) -> None:
    model = Model(title="tokens per second", short_title="tokens/s")
    series = Series(1)
    series.extend([value], [step])
    model.put("speed", series, "line")
    glyphs = ASCII if ascii_only else UNICODE
    text = "".join(piece for piece, _ in readout.title(model, glyphs, [], width)[0])
    figure, place = short(value), f" {glyphs.dot} step {step:,}"
    whole = [f"{name}  {figure}{place}" for name in ("tokens per second", "tokens/s")]
    fitting = [form for form in [*whole, f"tokens/s  {figure}"] if len(form) <= width]
    assert text == fitting[0] if fitting else text.endswith(figure)
    assert len(text) <= max(width, len(figure))
