"""The whole surface of the command line: every command with its options."""

import argparse
import difflib
from typing import NoReturn

from engine import __version__
from engine.core.errors import EXIT_USAGE
from engine.plan.presets import preset_names

EPILOG = """\
Without arguments the console opens. With a preset or a configuration the run starts at once and is followed as text;
it goes on when this terminal closes.

  nanosolo --preset quickstart                        train a small model here, on the CPU
  nanosolo plan --preset balanced --gpu a100-40gb     what would this take?
  nanosolo plan --hours 12 --gpu a100-40gb            the best model for this card and time
  nanosolo fit --preset balanced                      the batch that fits and is fastest
  nanosolo --preset maximum --export my.toml          the complete configuration, to edit
  nanosolo --config my.toml --set batch.device_batch_size=16

Exit codes: 0 done, 2 bad usage or configuration, 3 out of memory, 4 diverged, 5 a stage crashed or was killed,
130 stopped by you, after a checkpoint.
"""


class Parser(argparse.ArgumentParser):
    """argparse, with errors of one line that name what was probably meant."""

    def _check_value(self, action: argparse.Action, value: object) -> None:
        near = difflib.get_close_matches(str(value), [str(choice) for choice in action.choices or ()], n=1)
        if near and near[0] != value:
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}. Did you mean {near[0]}?")
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"error: {message}{'' if message.endswith('?') else '.'} See: {self.prog} --help\n")


def build_parser() -> Parser:
    """The whole surface of the command line."""
    parser = Parser(
        prog="nanosolo",
        description="Train a nanochat-style GPT on one A100: plan it, launch it, watch it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nanosolo {__version__}")
    _add_debug(parser, False)
    _add_configuration(parser)
    parser.add_argument(
        "--export", metavar="FILE", help="write the complete configuration as TOML ('-': print it) and stop"
    )
    parser.add_argument("--name", metavar="NAME", help="name of the run (default: preset, date and time)")
    parser.add_argument("--resume", action="store_true", help="go on with the run of that --name if there is one")
    parser.add_argument("--ascii", action="store_true", help="draw the console with plain characters")
    _add_following(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name: str, what: str) -> Parser:
        return commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")

    plan = command("plan", "what a configuration means: memory, time, steps, disk")
    _add_configuration(plan)
    plan.add_argument(
        "--trace", action="store_true", help="trace the real model on fake tensors (seconds) beside the formula"
    )
    plan.add_argument("--hours", metavar="H", type=_decimal, help="the best model that trains in this time on this GPU")
    _add_json(plan)

    fit = command("fit", "which batch fits and which is fastest, predicted, then tried out")
    _add_configuration(fit)
    fit.add_argument("--limit", metavar="SIZE", help="memory that the trials may use, for example 2GiB")
    fit.add_argument("--predict", action="store_true", help="only predict, try nothing")
    fit.add_argument("--ladder", action="store_true", help="begin with depth 8, 2 x 512 tokens, 10 steps, and scale up")
    fit.add_argument(
        "--iterations", metavar="N", type=_whole, help="measured steps of each trial (default: 3; ladder: 10)"
    )
    fit.add_argument(
        "--patience",
        metavar="SECONDS",
        type=_decimal,
        default=600.0,
        help="give a trial up after this long (default: 600)",
    )
    fit.add_argument("--write", metavar="FILE", help="write the configuration with the best batch as TOML")
    _add_json(fit)

    runs = command("runs", "all runs and how they are doing")
    _add_json(runs)

    attach = command("attach", "follow a run as text")
    _add_run(attach)
    _add_following(attach)
    attach.add_argument(
        "-n",
        "--lines",
        metavar="N",
        type=_number,
        help="how many lines of the steps so far, the others in short (default: 20; 0: all); with --json how many of "
        "the events so far (default: all)",
    )
    _add_json(attach, "print the events as they come, one JSON object a line")

    stop = command("stop", "stop a run after writing a checkpoint")
    _add_run(stop)
    stop.add_argument("--now", action="store_true", help="do not wait for a checkpoint")

    resume = command("resume", "go on with a run from its last checkpoint, or run some of its stages")
    _add_run(resume)
    resume.add_argument(
        "--stages",
        metavar="A,B",
        help="run these stages and no others: those that are done again from their beginning, those that are half done "
        "from where they stopped; also stages that are not in the pipeline, such as rl",
    )
    resume.add_argument(
        "--restart", action="store_true", help="with --stages: restart incomplete stages from the beginning"
    )
    resume.add_argument("--anew", dest="restart", action="store_true", help=argparse.SUPPRESS)  # its name until 2026
    _add_set(resume, "change one value: sft.epochs=3")
    _add_following(resume)

    logs = command("logs", "what the stages of a run printed")
    _add_run(logs)
    logs.add_argument(
        "-n", "--lines", metavar="N", type=_number, default=40, help="how many of the last lines (default: 40; 0: all)"
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on printing as lines come")
    _add_json(logs)

    report = command("report", "write and print the report of a run")
    _add_run(report)
    _add_json(report)

    _add_chat(command("chat", "talk to the model of a run"))

    export = command("export", "write the model of a run for other programs")
    _add_run(export)
    _add_stage(export)
    export.add_argument(
        "--to",
        nargs=2,
        required=True,
        metavar=("FORMAT", "DIR"),
        help="hf (transformers) or nanochat, and the folder to write",
    )
    _add_json(export)

    bring = command("import", "make a run of a nanochat checkpoint")
    bring.add_argument("folder", help="the folder with model_000123.pt and meta_000123.json")
    bring.add_argument("--name", required=True, help="name of the new run")
    bring.add_argument(
        "--tokenizer", required=True, metavar="FILE", help="its tokenizer.json, nanosolo's or transformers'"
    )
    bring.add_argument("--step", metavar="N", type=_whole, help="which step (default: the last)")
    _add_json(bring)

    doctor = command("doctor", "check this machine: driver, memory, disk, limits")
    _add_json(doctor)

    serve = command("serve", "show the console in a browser")
    serve.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to serve at (default: %(default)s)"
    )
    serve.add_argument(
        "--port", metavar="N", type=_port, help="port to serve at (default: the first free one from 8000 up)"
    )
    serve.add_argument(
        "--allow-remote", action="store_true", help="allow an address that others reach; they need the token"
    )
    serve.add_argument(
        "--token", metavar="T", help="what the browser must know (default: made up where others reach the address)"
    )
    for each in commands.choices.values():
        _add_debug(each, argparse.SUPPRESS)
    return parser


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("configuration, later ones over earlier ones")
    group.add_argument(
        "--preset", metavar="NAME", help=f"one of {', '.join(preset_names())}; `auto` chooses for the GPU found here"
    )
    group.add_argument("--config", metavar="FILE", help="a TOML file")
    group.add_argument("--gpu", metavar="ID", help="plan for this GPU, for example a100-40gb, or cpu")
    group.add_argument("--price", metavar="N", help="price of the machine per hour")
    _add_set(group, "override one value: model.depth=12")
    group.add_argument(
        "--stages", metavar="A,B", help="run these stages only: data,tokenizer,tokenize,pretrain (pipeline.stages)"
    )
    group.add_argument("--skip", metavar="A,B", help="leave these stages of the pipeline out: chat_eval")


def _add_set(parser: argparse.ArgumentParser | argparse._ArgumentGroup, text: str) -> None:
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=text)


def _add_following(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--every", metavar="N", type=_count, default=10, help="when piped, print every Nth step (default: 10)"
    )
    if parser.prog == "nanosolo" or parser.prog.endswith("resume"):
        parser.add_argument("--detach", action="store_true", help="start the run and return at once")


def _count(text: str) -> int:
    """A whole number from 1."""
    if (number := _number(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 1")
    return number


def _number(text: str) -> int:
    """A whole number from 0."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number")
    return int(text)


def _whole(text: str) -> int:
    """A whole number; whoever takes it says from where to where."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number") from None


def _decimal(text: str) -> float:
    """A number, whole or not."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected a number") from None


def _port(text: str) -> int:
    """A port that a user's program may listen at."""
    if not 1 <= (number := _number(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"{text}: expected a port from 1 to 65535")
    return number


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="last", help="name or path of a run (default: the newest)")


def _add_stage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", help="pretrain, midtrain, sft or rl (default: the last of them that there is)")


def _add_chat(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    _add_stage(parser)
    parser.add_argument("--prompt", metavar="TEXT", help="answer this and stop")
    parser.add_argument("--system", metavar="TEXT", help="what the model is told first")
    parser.add_argument("--temperature", metavar="X", help="0: always the likeliest token (default: 0.7)")
    parser.add_argument("--top-k", metavar="N", help="of the N likeliest; 0: of all (default: 50)")
    parser.add_argument("--top-p", metavar="X", help="of the likeliest that reach this probability together")
    parser.add_argument("--max-tokens", metavar="N", help="longest answer (default: what the context leaves)")
    parser.add_argument("--seed", metavar="N", help="the same seed gives the same answers")
    parser.add_argument(
        "--device", choices=("auto", "cuda", "cpu"), default="auto", help="where it runs (default: auto)"
    )
    _add_json(parser, "print each answer as one JSON object")
    serving = parser.add_argument_group("as a server that speaks OpenAI's chat protocol")
    serving.add_argument("--serve", action="store_true", help="serve the model, and a page to chat on, instead")
    serving.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    serving.add_argument(
        "--port", metavar="N", type=_whole, help="0: any free one (default: the first free one from 8000 up)"
    )
    serving.add_argument("--token", metavar="TEXT", help="what clients must show as their API key")


def _add_json(parser: argparse.ArgumentParser, text: str = "print JSON") -> None:
    parser.add_argument("--json", action="store_true", help=text)


def _add_debug(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument("--debug", action="store_true", default=default, help="show the traceback of an error")
