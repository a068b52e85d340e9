"""`nanosolo --preset`, `resume`, `attach` and `stop`: start runs, follow them as text, end them."""

import argparse
import contextlib
import signal
import sys
from types import FrameType

from engine.config.layers import parse_override
from engine.config.schema import RunConfig, fields, get
from engine.config.stages import named_stages
from engine.core import formatting
from engine.core.errors import EXIT_DONE, EXIT_STOPPED, UsageError
from engine.diagnostics.preflight import require_ready
from engine.events.history import read_history
from engine.events.log import read_events
from engine.launch.control import stop_run
from engine.launch.prepare import Launch, prepare, with_absolute_paths
from engine.launch.rerun import describe, rerun_stages
from engine.launch.start import resume_run, start
from engine.plan.plan import Plan
from engine.run.directory import RunDirectory, find_run, named_run
from engine.run.stage_status import is_finished, next_command
from tui.cli.commands.configuration import configuration
from tui.cli.diagnostic_text import diagnostic_line
from tui.cli.follow import follow
from tui.planning.stage_table import pipeline_range

DEVICE = ("runtime.gpu", "runtime.device")  # a run may continue on another GPU
PAST_LINES = 20  # steps shown when following starts: one screen


def train(options: argparse.Namespace) -> int:
    """Start a run and follow it to its end; the exit code is that of the run."""
    config = configuration(options).config
    if options.name is not None:
        named_run(options.name)  # refuse a bad name before anything is printed
    existing = _existing(options.name) if options.resume else None
    if existing is not None:
        _require_same(existing, with_absolute_paths(config))
        return _go_on(existing, options)
    launch = prepare(config)
    require_ready(launch.checks)
    _print_launch(launch)
    run = start(launch, options.name, _say)
    print(f"run {run.name} in {run.path}")
    return _follow_unless_detached(run, options)


def resume(options: argparse.Namespace) -> int:
    """Resume a run, or run some of its stages, and follow it."""
    stages = named_stages(options.stages.split(","), "--stages") if options.stages is not None else ()
    if options.restart and not stages:
        raise UsageError("--restart: name the stages to restart, for example --stages sft --restart.")
    changes = {
        f"{section}.{key}": value
        for text in options.set
        for section, values in parse_override(text).items()
        for key, value in values.items()
    }
    run = find_run(options.run)
    seen = _events_of(run)
    if not stages and not changes:
        resume_run(run, _say)
    else:
        rerun = rerun_stages(run, stages, changes, options.restart, _say)
        for line in describe(run, rerun) if rerun is not None else []:
            print(line)
    return _follow_on(run, options, seen)


def attach(options: argparse.Namespace) -> int:
    """Summarize what a run did so far, and follow it. Leaving does not affect it."""
    run = find_run(options.run)
    last = options.lines if options.lines is not None else 0 if options.json else PAST_LINES
    return _watch(run, options.every, last, as_json=options.json)


def stop(options: argparse.Namespace) -> int:
    """Stop a run."""
    run = find_run(options.run)
    stop_run(run, now=options.now)
    how = "now" if options.now else "after writing a checkpoint"
    print(f"run {run.name} stops {how}. Resume later with: nanosolo resume {run.name}")
    return EXIT_DONE


def _existing(name: str | None) -> RunDirectory | None:
    if name is None:
        raise UsageError("--resume: name the run, for example --name first --resume")
    run = named_run(name)
    return run if run.config_file.exists() else None


def _require_same(run: RunDirectory, config: RunConfig) -> None:
    """Refuse to continue a run that was started with other settings. Raises UsageError naming the first."""
    before = run.config()
    for path, _ in fields():
        asked, had = get(config, path), get(before, path)
        another_card = path in DEVICE and _on_gpu(config) == _on_gpu(before)
        if asked != had and not path.startswith("about.") and not another_card:
            way = next_command(run)
            if path == "pipeline.stages" and not run.is_running():
                way = f"run these stages of it: nanosolo resume {run.name} --stages {_shown(asked)}"
            raise UsageError(
                f"run {run.name} was started with {path} = {_shown(had)}, but {_shown(asked)} is requested now. "
                f"Choose another --name, or {way}"
            )


def _on_gpu(config: RunConfig) -> bool:
    return "cpu" not in (config.runtime.gpu, config.runtime.device)


def _shown(value: object) -> object:
    return ",".join(value) if isinstance(value, tuple) else value


def _go_on(run: RunDirectory, options: argparse.Namespace) -> int:
    if run.is_running():
        # somebody else may have started it: what stops this command must not stop the training
        print(f"run {run.name} is running already")
        return _say_detached(run) if options.detach else _watch(run, options.every, PAST_LINES)
    if is_finished(run):
        report = (
            f"its report: {run.page_file}" if run.page_file.exists() else f"see it with: nanosolo report {run.name}"
        )
        print(f"run {run.name} is finished already; {report}")
        return EXIT_DONE
    seen = _events_of(run)
    resume_run(run, _say)
    return _follow_on(run, options, seen)


def _events_of(run: RunDirectory) -> int:
    """How many events there are now."""
    return sum(1 for _ in read_events(run.events_file))


def _follow_on(run: RunDirectory, options: argparse.Namespace, seen: int) -> int:
    print(f"run {run.name} continues")
    return _follow_unless_detached(run, options, skip=seen)


def _follow_unless_detached(run: RunDirectory, options: argparse.Namespace, skip: int = 0) -> int:
    """Follow the run; Ctrl-C or SIGTERM asks it to stop after a checkpoint, a lost terminal leaves it alone."""
    if options.detach:
        return _say_detached(run)
    print(
        f"Ctrl-C stops the run after a checkpoint. Closing the terminal leaves it running; "
        f"to follow it again: nanosolo attach {run.name}",
        flush=True,
    )
    asked = False

    def on_stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("stopping after a checkpoint; press Ctrl-C again to leave without waiting", file=sys.stderr)
        stop_run(run)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_stop)
    code = follow(run, every=options.every, skip=skip)
    if code is None:
        return EXIT_STOPPED
    if code == EXIT_DONE:
        if run.report_file.exists():
            print(f"report: {run.page_file}\nas text: {run.report_file}")
    elif code != EXIT_STOPPED:
        ended = read_history(run.events_file).ended
        print(f"error: run {run.name}: {ended.message if ended else 'see nanosolo logs'}", file=sys.stderr)
    return code


def _say_detached(run: RunDirectory) -> int:
    print(f"The run continues in the background. Follow it with: nanosolo attach {run.name}")
    return EXIT_DONE


def _watch(run: RunDirectory, every: int, last: int, *, as_json: bool = False) -> int:
    """Follow a run without affecting it; leaving is no failure. `last`: how many of its past steps to show."""
    code = None
    with contextlib.suppress(KeyboardInterrupt):  # pressed before there is anything to follow
        if run.is_running():
            print("Ctrl-C leaves the run running.", file=sys.stderr if as_json else sys.stdout, flush=True)
        code = follow(run, every=every, as_json=as_json, last=last)
    if code is not None:
        return code
    print(f"Run {run.name} continues. Follow it again with: nanosolo attach {run.name}", file=sys.stderr)
    return EXIT_DONE


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_launch(launch: Launch) -> None:
    """Print in one line what will run, and every warning about the machine and the plan."""
    plan = launch.plan
    print(f"{plan.preset}: {_summary(launch.config, plan)} on {plan.gpu_name}")
    for check in launch.checks:
        if check.severity == "warning" or check.subject == "device":
            print(diagnostic_line(check))
    for warning in plan.warnings:
        print(diagnostic_line(warning))


def _summary(config: RunConfig, plan: Plan) -> str:
    """What will run and how long it takes: the model and its training, or the stages where none of them pretrains."""
    if not plan.pretrains:
        time = f", {pipeline_range(plan)}" if plan.pipeline.hours is not None else ""
        return f"{' and '.join(config.pipeline.stages)} only{time}"
    hours = f", about {formatting.duration(plan.time.hours * 3600)}" if plan.time.hours is not None else ""
    if plan.pipeline.hours is not None:
        hours += f" (all stages {pipeline_range(plan)})"
    return (
        f"depth {plan.depth}, {formatting.count(plan.params.total)} parameters, {plan.steps:,} steps of "
        f"{plan.total_batch_size:,} tokens{hours}"
    )
