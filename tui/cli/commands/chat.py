"""`nanosolo chat`: chat with a run's model on a terminal, through a pipe, or over HTTP."""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from engine.core.errors import EXIT_DONE, NanosoloError, UsageError
from engine.core.sanitize import terminal_text
from engine.inference.chat_settings import COMMANDS, NUMBERS, Settings, change, file_to_save, read_command, value_of
from engine.run.directory import find_run
from engine.run.environment import prepare_this_process

if TYPE_CHECKING:  # these import torch, which takes seconds
    from engine.inference.chat_session import Reply, Session
    from engine.inference.detokenizer import Piece
    from engine.inference.engine import ChatEngine

DIM, PLAIN = "\x1b[2m", "\x1b[0m"


def chat(options: argparse.Namespace) -> int:
    """Chat until the end of the input."""
    if options.serve and options.prompt is not None:
        raise UsageError("--prompt and --serve cannot be combined. Use one of them.")
    settings = _settings(options)
    run = find_run(options.run)
    if options.serve:
        from engine.serve.http import check_exposure, require_aiohttp

        check_exposure(options.host, options.token)
        require_aiohttp()
    if sys.stdin.isatty() and not options.json:
        print("Loading the model...", file=sys.stderr)
    prepare_this_process()
    from engine.inference.chat_session import Session
    from engine.inference.engine import load_engine

    engine = load_engine(run, options.stage, options.device)
    if engine.warning:
        print(f"warning: {engine.warning}", file=sys.stderr)
    if options.serve:
        from engine.serve.http import serve

        return serve(engine, options.host, options.port, options.token, settings)
    session = Session(engine, settings)
    session.system = options.system
    terminal = Terminal(session, as_json=options.json, interactive=sys.stdin.isatty() and options.prompt is None)
    if options.prompt is not None:
        terminal.say(options.prompt)
        return EXIT_DONE
    return terminal.converse()


def _settings(options: argparse.Namespace) -> Settings:
    """The chat settings from the options. Raises UsageError for an invalid value."""
    settings = Settings()
    for name in NUMBERS:
        if (text := getattr(options, name)) is not None:
            settings = change(settings, name, "off" if name == "top_k" and text == "0" else text)
    return settings


@dataclass
class Terminal:
    """Reads messages from standard input and prints answers."""

    session: "Session"
    as_json: bool
    interactive: bool

    def converse(self) -> int:
        """Answer line by line until the end of the input."""
        engine = self.session.engine
        if self.interactive:
            print(f"{engine.name}, {engine.stage} step {engine.step:,}. /help lists commands.", file=sys.stderr)
        if not engine.chats:
            print(_base_model_note(engine), file=sys.stderr)
        for line in self._lines():
            try:
                if line.startswith("/"):
                    if not self._command(line):
                        break
                elif line:
                    self.say(line)
            except NanosoloError as error:
                print(f"error: {error}", file=sys.stderr)
        return EXIT_DONE

    def say(self, text: str) -> None:
        """Print the answer to one message as it streams. Ctrl-C stops it."""
        from engine.inference.chat_session import Reply

        printer = _Printer(styled=sys.stdout.isatty())
        reply: Reply | None = None
        with closing(self.session.ask(text)) as pieces, _Interrupts() as interrupted:
            for piece in pieces:
                if isinstance(piece, Reply):
                    reply = piece
                elif not self.as_json:
                    printer.show(piece)
                if interrupted():
                    break
        if self.as_json:
            print(json.dumps(_record(text, reply) if reply else {"prompt": text, "end": "interrupted"}), flush=True)
            return
        printer.end()
        if reply and reply.truncated:
            print(f"({reply.truncated} earlier messages left out: the context is full)", file=sys.stderr)
        if self.interactive and reply:
            speed = reply.new_tokens / reply.seconds if reply.seconds else 0.0
            print(f"{DIM}{reply.new_tokens} tokens, {speed:,.0f} tokens/s{PLAIN}", file=sys.stderr)

    def _lines(self) -> Iterator[str]:
        if not self.interactive:
            yield from (line.rstrip("\r\n") for line in sys.stdin)
            return
        import readline  # noqa: F401  adds line editing and history to input()

        while True:
            try:
                yield input("> ").strip()
            except EOFError:
                print(file=sys.stderr)
                return

    def _command(self, line: str) -> bool:
        """Run a /command. Returns False to quit."""
        name, value = read_command(line)
        session = self.session
        if name == "help":
            print(_help(), file=sys.stderr)
        elif name == "new":
            session.clear()
        elif name == "system":
            session.system = value or None
            session.clear()
        elif name == "save":
            session.save(file_to_save(value))
            print(f"wrote {value}", file=sys.stderr)
        elif name in NUMBERS and not value:
            print(f"{name} is {value_of(session.settings, name)}", file=sys.stderr)
        elif name in NUMBERS:
            session.settings = change(session.settings, name, value)
        return name != "quit"


def _help() -> str:
    lines = [f"/{command.name} {command.argument}".ljust(20) + f" {command.help}" for command in COMMANDS]
    return "\n".join([*lines, "Ctrl-D quits too. Ctrl-C stops an answer."])


class _Printer:
    """Prints the pieces of an answer, calculations in brackets."""

    def __init__(self, styled: bool) -> None:
        self._on_terminal = styled
        self._dim, self._plain = (DIM, PLAIN) if styled else ("", "")
        self._type = "text"

    def show(self, piece: "Piece") -> None:
        before = {"text": "", "python": "[", "python_output": " = "}[piece.type] if piece.type != self._type else ""
        self._close(piece.type)
        style = self._dim if piece.type != "text" else ""
        text = terminal_text(piece.text) if self._on_terminal else piece.text  # a pipe gets the exact answer
        sys.stdout.write(f"{style}{before}{text}{self._plain if style else ''}")
        sys.stdout.flush()
        self._type = piece.type

    def end(self) -> None:
        self._close("text")
        print(flush=True)

    def _close(self, following: str) -> None:
        if self._type != "text" and following not in (self._type, "python_output"):
            sys.stdout.write("]")


class _Interrupts:
    """A context in which Ctrl-C only sets a flag. Yields a function that returns the flag."""

    def __enter__(self) -> Callable[[], bool]:
        self._pressed = False
        self._before: Any = signal.signal(signal.SIGINT, self._note)
        return lambda: self._pressed

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        self._pressed = True


def _record(prompt: str, reply: "Reply") -> dict[str, Any]:
    """An answer in the format of --json."""
    return {
        "prompt": prompt,
        "text": reply.text,
        "parts": msgspec.to_builtins(reply.parts),
        "end": reply.end,
        "prompt_tokens": reply.prompt_tokens,
        "new_tokens": reply.new_tokens,
        "seconds": reply.seconds,
        "first_token_seconds": reply.first_token_seconds,
        "tokens_per_second": reply.new_tokens / reply.seconds if reply.seconds else None,
        "forgotten_messages": reply.truncated,
    }


def _base_model_note(engine: "ChatEngine") -> str:
    return (
        f"note: {engine.name} has not been trained to chat (its last stage is {engine.stage}). It continues your text "
        "instead of answering it."
    )
