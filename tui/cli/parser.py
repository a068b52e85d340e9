"""The parser of the command line: every command with its options."""

import argparse
import difflib
import functools
from collections.abc import Callable
from typing import NoReturn

from engine import __version__
from engine.core.errors import EXIT_USAGE
from engine.plan.presets import preset_names
from tui.cli import option_types

EPILOG = """\
Without arguments, nanosolo opens the console. With a preset or a configuration, it starts a run and follows it as text;
the run continues when you close the terminal.

  nanosolo --preset quickstart                        train a small model on this machine's CPU
  nanosolo plan --preset balanced --gpu a100-40gb     show what a run needs
  nanosolo plan --hours 12 --gpu a100-40gb            find the best model for this GPU and time
  nanosolo fit --preset balanced                      find the fastest batch size that fits
  nanosolo --preset maximum --export my.toml          write the complete configuration, to edit
  nanosolo --config my.toml --set batch.device_batch_size=16
  nanosolo config show --preset balanced              show every setting and where its value comes from

Exit codes: 0 done, 2 bad usage or configuration, 3 out of memory, 4 diverged, 5 a stage crashed or was killed,
130 stopped by you, after a checkpoint.
"""

SHELLS = ("bash", "zsh", "fish")


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line that name the closest match."""

    def _check_value(self, action: argparse.Action, value: object) -> None:
        near = difflib.get_close_matches(str(value), [str(choice) for choice in action.choices or ()], n=1)
        if near and near[0] != value:
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}. Did you mean {near[0]}?")
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"error: {message}{'' if message.endswith('?') else '.'} See: {self.prog} --help\n")


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="nanosolo",
        description="Train a nanochat-style GPT on one A100: plan it, start it, watch it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nanosolo {__version__}")
    _add_debug(parser, False)
    _add_configuration(parser)
    parser.add_argument(
        "--export", metavar="FILE", help="write the complete configuration as TOML ('-': print it) and exit"
    )
    parser.add_argument("--name", metavar="NAME", help="name of the run (default: preset, date and time)")
    parser.add_argument("--resume", action="store_true", help="resume the run called --name if it exists")
    parser.add_argument("--ascii", action="store_true", help="draw the console with ASCII characters only")
    _add_following(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, (text, add_options) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add_options(command)
        _add_debug(command, argparse.SUPPRESS)
    return parser


def _add_plan(parser: Parser) -> None:
    _add_configuration(parser)
    parser.add_argument(
        "--trace",
        action="store_true",
        help="compare the memory formula with a trace of the real model on fake tensors (takes seconds)",
    )
    parser.add_argument(
        "--hours",
        metavar="H",
        type=option_types.decimal,
        help="find the best model that this GPU trains in this time",
    )
    _add_json(parser)


def _add_fit(parser: Parser) -> None:
    _add_configuration(parser)
    parser.add_argument("--limit", metavar="SIZE", help="maximum memory for the trials, for example 2GiB")
    parser.add_argument("--predict", action="store_true", help="only predict, run no trial")
    parser.add_argument(
        "--ladder", action="store_true", help="start with depth 8, 2 × 512 tokens, 10 steps, and scale up"
    )
    parser.add_argument(
        "--iterations", metavar="N", type=option_types.whole, help="measured steps per trial (default: 3; ladder: 10)"
    )
    parser.add_argument(
        "--patience",
        metavar="SECONDS",
        type=option_types.decimal,
        default=600.0,
        help="maximum time per trial (default: 600)",
    )
    parser.add_argument("--write", metavar="FILE", help="write the configuration with the best batch as TOML")
    _add_json(parser)


def _add_attach(parser: Parser) -> None:
    _add_run(parser)
    _add_following(parser)
    parser.add_argument(
        "-n",
        "--lines",
        metavar="N",
        type=option_types.number,
        help="how many lines of past steps to print; earlier ones are summarized (default: 20; 0: all). With --json: "
        "how many past events (default: all)",
    )
    _add_json(parser, "print events as they arrive, one JSON object per line")


def _add_stop(parser: Parser) -> None:
    _add_run(parser)
    parser.add_argument("--now", action="store_true", help="stop at once, without a checkpoint")


def _add_resume(parser: Parser) -> None:
    _add_run(parser)
    parser.add_argument(
        "--stages",
        metavar="A,B",
        help="run only these stages: finished ones again from the start, incomplete ones from where they stopped. "
        "Stages outside the pipeline, such as rl, are allowed",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="with --stages: also run incomplete stages from the start",
    )
    parser.add_argument("--anew", dest="restart", action="store_true", help=argparse.SUPPRESS)  # its name until 0.1
    _add_set(parser, "change one setting: sft.epochs=3")
    _add_following(parser)


def _add_logs(parser: Parser) -> None:
    _add_run(parser)
    parser.add_argument(
        "-n",
        "--lines",
        metavar="N",
        type=option_types.number,
        default=40,
        help="how many lines to print, the last ones (default: 40; 0: all)",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="keep printing new lines")
    _add_json(parser)


def _add_run_and_json(parser: Parser) -> None:
    _add_run(parser)
    _add_json(parser)


def _add_export(parser: Parser) -> None:
    _add_run(parser)
    _add_stage(parser)
    parser.add_argument(
        "--to",
        nargs=2,
        required=True,
        metavar=("FORMAT", "DIR"),
        help="hf (transformers) or nanochat, and the folder to write",
    )
    _add_json(parser)


def _add_import(parser: Parser) -> None:
    parser.add_argument("folder", help="folder with model_000123.pt and meta_000123.json")
    parser.add_argument("--name", required=True, help="name of the new run")
    parser.add_argument(
        "--tokenizer", required=True, metavar="FILE", help="tokenizer.json of the model, from nanosolo or transformers"
    )
    parser.add_argument("--step", metavar="N", type=option_types.whole, help="step of the checkpoint (default: last)")
    _add_json(parser)


def _add_serve(parser: Parser) -> None:
    parser.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port", metavar="N", type=option_types.port, help="port to listen on (default: the first free one from 8000)"
    )
    parser.add_argument(
        "--allow-remote", action="store_true", help="allow an address that other machines reach; they need the token"
    )
    parser.add_argument(
        "--token", metavar="TEXT", help="token that the browser must send (default: generated if the address is remote)"
    )


def _add_config(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    show = actions.add_parser(
        "show",
        help="show every setting and where its value comes from",
        description="Show every setting, its value and where the value comes from: default, preset, file or flag.",
    )
    _add_configuration(show)
    _add_json(show)
    schema = actions.add_parser(
        "schema",
        help="write the JSON Schema of configuration files, for editors",
        description="Write the JSON Schema of configuration files. Editors use it to complete and check them.",
    )
    schema.add_argument("file", metavar="FILE", nargs="?", default="-", help="file to write (default: print it)")
    for each in (show, schema):
        _add_debug(each, argparse.SUPPRESS)


def _add_completion(parser: Parser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="your shell")


@functools.cache  # several commands name them, and reading the folder takes time
def _preset_list() -> str:
    return ", ".join(preset_names())


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("configuration (later options override earlier ones)")
    group.add_argument(
        "--preset",
        metavar="NAME",
        help=f"one of {_preset_list()}, or your own; auto: the one that fits this machine",
    )
    group.add_argument("--config", metavar="FILE", help="TOML file with settings")
    group.add_argument("--gpu", metavar="ID", help="plan for this GPU, for example a100-40gb, or for the cpu")
    group.add_argument("--price", metavar="N", help="price of the machine per hour, in any currency")
    _add_set(group, "set one value, for example model.depth=12; `nanosolo config show` lists all settings")
    group.add_argument(
        "--stages",
        metavar="A,B",
        help="run only these stages, for example data,tokenizer,tokenize,pretrain",
    )
    group.add_argument("--skip", metavar="A,B", help="skip these stages of the pipeline, for example chat_eval")


def _add_set(parser: argparse.ArgumentParser | argparse._ArgumentGroup, text: str) -> None:
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=text)


def _add_following(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--every",
        metavar="N",
        type=option_types.count,
        default=10,
        help="print every Nth step if the output is no terminal (default: 10)",
    )
    if parser.prog == "nanosolo" or parser.prog.endswith("resume"):
        parser.add_argument("--detach", action="store_true", help="start the run and exit")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="last", help="name or path of a run (default: the newest run)")


def _add_stage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stage", help="use the model of this stage: pretrain, midtrain, sft or rl (default: the last that exists)"
    )


def _add_chat(parser: Parser) -> None:
    _add_run(parser)
    _add_stage(parser)
    parser.add_argument("--prompt", metavar="TEXT", help="answer this prompt and exit")
    parser.add_argument("--system", metavar="TEXT", help="system message")
    parser.add_argument(
        "--temperature", metavar="X", help="sampling temperature; 0: the most likely token (default: 0.7)"
    )
    parser.add_argument("--top-k", metavar="N", help="sample from the N most likely tokens; 0: from all (default: 50)")
    parser.add_argument("--top-p", metavar="X", help="sample from the most likely tokens with total probability X")
    parser.add_argument(
        "--max-tokens", metavar="N", help="maximum length of an answer (default: as the context allows)"
    )
    parser.add_argument("--seed", metavar="N", help="seed; the same seed gives the same answers")
    parser.add_argument(
        "--device", choices=("auto", "cuda", "cpu"), default="auto", help="where the model runs (default: auto)"
    )
    _add_json(parser, "print each answer as one JSON object")
    serving = parser.add_argument_group("server with OpenAI's chat protocol")
    serving.add_argument("--serve", action="store_true", help="serve the model and a chat page instead")
    serving.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    serving.add_argument(
        "--port",
        metavar="N",
        type=option_types.whole,
        help="port to listen on; 0: any free one (default: first free one from 8000)",
    )
    serving.add_argument("--token", metavar="TEXT", help="API key that clients must send")


def _add_json(parser: argparse.ArgumentParser, text: str = "print JSON") -> None:
    parser.add_argument("--json", action="store_true", help=text)


def _add_debug(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument("--debug", action="store_true", default=default, help="show the traceback of an error")


# every command: what it does, and the function that adds its options
COMMANDS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "plan": ("show what a configuration needs: memory, time, steps, disk", _add_plan),
    "fit": ("find the batch sizes that fit and the fastest one: predict, then try", _add_fit),
    "config": ("show settings and where they come from; write their JSON Schema", _add_config),
    "runs": ("list all runs and their state", _add_json),
    "attach": ("follow a run as text", _add_attach),
    "stop": ("stop a run after writing a checkpoint", _add_stop),
    "resume": ("resume a run from its last checkpoint, or run some of its stages", _add_resume),
    "logs": ("print the output of a run's stages", _add_logs),
    "report": ("write and print the report of a run", _add_run_and_json),
    "chat": ("chat with the model of a run", _add_chat),
    "export": ("write the model of a run for other programs", _add_export),
    "import": ("create a run from a nanochat checkpoint", _add_import),
    "doctor": ("check this machine: driver, memory, disk, limits", _add_json),
    "serve": ("show the console in a browser", _add_serve),
    "completion": ("print the script that completes commands in your shell", _add_completion),
}
