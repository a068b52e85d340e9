"""Measure the console: first paint, attaching to a long run, redraws, and CPU and bandwidth while it watches a run.

    python bench/console.py [--seconds 30] > bench/results/console.json

CPU seconds are the figures to compare; wall times are given as well, and depend on how busy the machine is.
"""

import argparse
import json
import os
import platform
import random
import select
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pexpect
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.run.directory import RunDirectory
from tests.helpers.fake_runner import FakeRunner
from tests.helpers.made_run import story_of, write_run
from tui.chart.model import Model
from tui.chart.plot import Plot
from tui.chart.series import Series

STEPS = 200_000
BRAILLE = (b"\xe2\xa1", b"\xe2\xa2", b"\xe2\xa3")  # first bytes of all braille patterns except the sparsest
SIZES = ((80, 24), (120, 40), (200, 60))
PATIENCE = 60.0
BUDGET = {  # limits
    "first_paint_cpu_seconds": 0.5,
    "attach_seconds": 1.0,
    "redraw_ms_at_1000000": 3.0,
    "steady_cpu_percent": 2.0,
    "steady_kib_per_second": 5.0,
}


class Console:
    """The console in a pseudo-terminal that is read as fast as it writes."""

    def __init__(self, home: Path, columns: int, rows: int, watch: str | None) -> None:
        environment = {**os.environ, "NANOSOLO_HOME": str(home), "NANOSOLO_CONFIG": str(home / "none.toml")}
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        code = f"from tui.app import run_console; raise SystemExit(run_console(watch={watch!r}))"
        self.began = time.monotonic()
        self.child = pexpect.spawn(sys.executable, ["-c", code], env=environment, dimensions=(rows, columns))
        self.process = psutil.Process(self.child.pid)
        self.seen = b""

    def read(self, seconds: float) -> int:
        """Read for some time. Returns the number of bytes."""
        end, count = time.monotonic() + seconds, 0
        while (left := end - time.monotonic()) > 0:
            if select.select([self.child.child_fd], [], [], left)[0]:
                try:
                    data = os.read(self.child.child_fd, 1 << 16)
                except OSError:  # the console has ended
                    return count
                self.seen = (self.seen + data)[-(1 << 20) :]
                count += len(data)
        return count

    def until(self, *texts: bytes) -> dict[str, float]:
        """Read until one of the texts was written. Returns wall and CPU seconds since the start."""
        deadline = time.monotonic() + PATIENCE
        while not any(text in self.seen for text in texts):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{texts!r} was not painted")
            self.read(0.01)
        return {"wall": round(time.monotonic() - self.began, 3), "cpu": round(self.cpu, 3)}

    @property
    def cpu(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    def close(self) -> None:
        self.child.send(b"q")
        self.read(0.5)
        self.child.close(force=True)


def first_paint(home: Path) -> dict[str, float]:
    """From the start of the interpreter to the complete Plan screen."""
    console = Console(home, 80, 24, None)
    painted = console.until(b"leave")
    console.close()
    return painted


def attach(home: Path, run: RunDirectory) -> dict[str, Any]:
    """From the start of the interpreter to the first chart, and to the complete run."""
    console = Console(home, 80, 24, run.name)
    frame = console.until(b"EMA")
    chart = console.until(*BRAILLE)
    whole = console.until(f" {STEPS:,} steps".encode())
    console.close()
    after = round(chart["wall"] - frame["wall"], 3)
    return {"first_frame": frame, "first_chart": chart, "whole_run": whole, "frame_to_chart_wall": after}


def redraw(points: int) -> dict[str, float]:
    """CPU milliseconds to paint a chart of 120x20 cells completely, and after one more sample."""
    random.seed(1)
    model = Model(title="loss", smoothing=0.9, domains={0: (0.0, 1.1 * points)})
    series = Series(1)
    series.extend([3 + 5 / (1 + i / 500) + random.gauss(0, 0.05) for i in range(points)], range(points))
    model.put("loss", series, "line")
    plot = Plot(model)
    plot.resize(120, 20)
    plot.paint()

    def cpu_ms(count: int, work: Any) -> float:
        began = time.process_time()
        for i in range(count):
            work(i)
        return round(1000 * (time.process_time() - began) / count, 3)

    def from_scratch(_: int) -> None:
        plot.resize(120, 20)
        plot.paint()
        plot.canvas.take_changes()

    def one_more(i: int) -> None:
        series.append(3.0, points + i)
        plot.paint()
        plot.canvas.take_changes()

    return {"whole_ms": cpu_ms(20, from_scratch), "one_more_sample_ms": cpu_ms(200, one_more)}


def steady(home: Path, seconds: float, columns: int, rows: int) -> dict[str, float]:
    """Watch an active run that has made 20,000 steps and makes one per second."""
    story = story_of("live", time.time()).steps(19_000).reading().until(time.time())
    run = write_run(home, f"live-{columns}", story)
    with FakeRunner(run, home, seconds=1.0, first=19_000):
        console = Console(home, columns, rows, run.name)
        console.until(b"running,")
        console.read(6.0)
        cpu, began = console.cpu, time.monotonic()
        count = console.read(seconds)
        spent = time.monotonic() - began
        figures = {
            "cpu_percent": round(100 * (console.cpu - cpu) / spent, 2),
            "kib_per_second": round(count / 1024 / spent, 2),
        }
        console.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=30.0, help="of watching, for the steady figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        painted = min((first_paint(home) for _ in range(3)), key=lambda result: result["cpu"])
        story = story_of("long", time.time(), budget__steps=STEPS, evaluate__every_steps=2000).steps(STEPS)
        long = write_run(home, "long", story.end_stage("pretrain").end().until(time.time() - 60))
        attached = min((attach(home, long) for _ in range(3)), key=lambda result: result["first_chart"]["wall"])
        size = long.events_file.stat().st_size
        report = {
            "what": "cost of the console",
            "command": " ".join(["python", "bench/console.py", *sys.argv[1:]]),
            "date": time.strftime("%Y-%m-%d"),
            "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
            "load_average": [round(load, 1) for load in os.getloadavg()],
            "versions": {"python": platform.python_version(), "textual": version("textual"), "rich": version("rich")},
            "budget": BUDGET,
            "first_paint_seconds": painted,
            "attach": {"steps": STEPS, "events_bytes": size, **attached},
            "redraw": {str(points): redraw(points) for points in (10**4, 10**5, 10**6)},
            "steady": {f"{c}x{r}": steady(home, options.seconds, c, r) for c, r in SIZES},
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
