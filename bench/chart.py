"""Measure the chart: appending to the pyramid, the first drawing, and redraws at 10^4, 10^5 and 10^6 points.

Prints one JSON object; all times are CPU milliseconds of this process. Steady means a fixed x domain and ten samples
added before each redraw. `paint` is the chart alone, `textual` the whole app on a headless screen of the same size.
"""

import argparse
import asyncio
import datetime
import importlib.metadata
import json
import math
import os
import platform
import random
import sys
import time
from array import array

from textual.app import App, ComposeResult

from tui.chart.model import Model
from tui.chart.plot import Plot
from tui.chart.series import Series
from tui.chart.widget import Chart

BATCH = 10  # samples between two redraws
SMOOTHING = 0.99
SHARE_DONE = 0.6  # share of the x domain with samples when measuring starts


def loss_curve(points: int) -> tuple["array[float]", "array[float]"]:
    """Steps 0, 1, 2, ... and a noisy loss that falls from 11 to below 3."""
    noise = random.Random(0)
    fall = points / 30
    ys = (2.6 + 8.4 * math.exp(-x / fall) + noise.gauss(0, 0.1) for x in range(points))
    return array("d", range(points)), array("d", ys)


def median_ms(samples: list[float]) -> float:
    """The median, in milliseconds."""
    return round(sorted(samples)[len(samples) // 2] * 1e3, 4)


def measure_plot(points: int, width: int, height: int, redraws: int) -> dict[str, float]:
    """The chart without Textual."""
    xs, ys = loss_curve(points + BATCH * redraws)
    series = Series()
    start = time.process_time()
    for x, y in zip(xs[:points], ys, strict=False):
        series.append(y, x)
    appended = time.process_time() - start
    start = time.process_time()
    Series().extend(ys[:points], xs[:points])
    extended = time.process_time() - start
    start = time.process_time()
    series.values(SMOOTHING)
    smoothed = time.process_time() - start

    model = Model(title="Loss", smoothing=SMOOTHING)
    model.put("train", series, "line")
    model.domains[0] = (0.0, points / SHARE_DONE)
    plot = Plot(model)
    plot.resize(width, height)
    start = time.process_time()
    plot.paint()
    plot.canvas.take_changes()
    first = time.process_time() - start
    steady, cells = [], 0
    for i in range(points, points + BATCH * redraws, BATCH):
        series.extend(ys[i : i + BATCH], xs[i : i + BATCH])
        start = time.process_time()
        plot.paint()
        runs = plot.canvas.take_changes()
        steady.append(time.process_time() - start)
        cells += sum(run.width for run in runs)
    return {
        "append_us_per_point": round(appended / points * 1e6, 3),
        "extend_us_per_point": round(extended / points * 1e6, 3),
        "ema_us_per_point": round(smoothed / points * 1e6, 3),
        "paint_first_ms": round(first * 1e3, 3),
        "paint_steady_median_ms": median_ms(steady),
        "paint_steady_worst_ms": round(max(steady) * 1e3, 3),
        "cells_changed_per_redraw": round(cells / redraws, 1),
    }


async def measure_textual(points: int, width: int, height: int, redraws: int) -> dict[str, float]:
    """The complete app: from new samples to the terminal's output, including event loop and compositor."""
    xs, ys = loss_curve(points + BATCH * redraws)

    class Bench(App[None]):
        def compose(self) -> ComposeResult:
            yield Chart("Loss", smoothing=SMOOTHING)

    app = Bench()
    async with app.run_test(size=(width, height)) as pilot:
        chart = app.query_one(Chart)
        chart.set_series("train")
        chart.x_domain = (0.0, points / SHARE_DONE)
        chart.extend("train", xs[:points], ys[:points])
        await pilot.pause(0.2)
        idle_start = time.process_time()
        for _ in range(redraws):
            await pilot.pause(0.02)
        idle = time.process_time() - idle_start
        start = time.process_time()
        for i in range(points, points + BATCH * redraws, BATCH):
            chart.extend("train", xs[i : i + BATCH], ys[i : i + BATCH])
            await pilot.pause(0.02)
        busy = time.process_time() - start
    return {"textual_steady_mean_ms": round((busy - idle) / redraws * 1e3, 3)}


def main() -> None:
    """Run the measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="160x45", help="columns x rows (default 160x45)")
    parser.add_argument("--redraws", type=int, default=200)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    results = {}
    for points in (10_000, 100_000, 1_000_000):
        results[str(points)] = measure_plot(points, width, height, options.redraws) | asyncio.run(
            measure_textual(points, width, height, options.redraws)
        )
    report = {
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "os": platform.system(),
        },
        "versions": {"python": platform.python_version(), "textual": importlib.metadata.version("textual")},
        "size": options.size,
        "results": results,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
