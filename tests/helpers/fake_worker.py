"""A fake engine.serve.model_worker without a model: python fake_worker.py RUN --stage S --device D. What it is asked
decides what it does; its figures are always the same. FAKE_WORKER says how loading ends, if not well, FAKE_ANSWERS
what is answered: {question: {stage: [[kind, text], ...]}}; FAKE_PARAMETERS and FAKE_SPEED how large and fast it is."""

import argparse
import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import msgspec

from engine.serve.worker_protocol import Delta, Event, Finished, Loaded, WorkerError

HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 [bold]loud[/bold] [/] \x9b2J a\rb\x00c "
    "\u202egnihton\u202c 日本語 👩‍🚀 e\u0301 "
    "\ufe0f \t| " + "x" * 300 + "\n\n\n<|assistant_end|>"
)
SUM = [("text", "12 * 7 is "), ("python", "12 * 7"), ("python_output", "84"), ("text", "84.")]
ANSWERS: dict[str, list[tuple[str, str]]] = {
    "hostile": [("text", HOSTILE)],
    "sum": SUM,
    "empty": [],
}
RATES = {"sft": 52.0, "pretrain": 48.0}  # tokens/s


def answer_to(question: str, stage: str) -> list[tuple[str, str]]:
    """The pieces of an answer, by default one word each."""
    told = json.loads(os.environ.get("FAKE_ANSWERS", "{}"))
    if question in told:
        return [(kind, word) for kind, text in told[question][stage] for word in _words(text)]
    if question in ANSWERS:
        return ANSWERS[question]
    return [("text", word) for word in _words(f"You said: {question}")]


def _words(text: str) -> list[str]:
    return [word + " " * (i + 1 < len(text.split(" "))) for i, word in enumerate(text.split(" "))]


def say(event: Event) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
    sys.stdout.buffer.flush()


def load(run: Path, stage: str, device: str) -> None:
    """Report that the model is loaded, or end as FAKE_WORKER says."""
    match os.environ.get("FAKE_WORKER"):
        case "damaged":
            say(WorkerError(id=None, message=f"{run}/model.safetensors has 3 bytes, not 10"))
            raise SystemExit(5)
        case "no memory" if device != "cpu":
            print("Traceback\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", file=sys.stderr)
            raise SystemExit(1)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "slow":
            time.sleep(3600)
    print("a library says hello", flush=True)  # not an event
    step = max(int(path.name.removeprefix("step_")) for path in (run / "checkpoints" / stage).iterdir())
    parameters = int(os.environ.get("FAKE_PARAMETERS", "5242880"))
    where = "cpu" if device == "cpu" else "cuda"
    chats = stage != "pretrain"
    say(Loaded(name=run.name, stage=stage, step=step, chats=chats, context=256, parameters=parameters, device=where))


def serve(stage: str) -> None:
    """Answer requests until the input ends."""
    lines: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin.buffer:
            lines.put(json.loads(line))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (operation := lines.get()) is not None:
        if operation["op"] == "generate":
            answer(operation, stage, lines)


def answer(operation: dict[str, Any], stage: str, lines: "queue.Queue[dict[str, Any] | None]") -> None:
    """Write one answer. `forever` continues until it is canceled; `die` kills the process after a few words."""
    key, messages = operation["id"], operation["messages"]
    speed = float(os.environ.get("FAKE_SPEED", "1"))
    question = str(messages[-1]["content"])
    if question == "refuse":
        say(WorkerError(id=key, message="the prompt takes 900 tokens, but the context is 256"))
        return
    if question == "full":
        say(WorkerError(id=key, message="OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB."))
        return
    if question == "what do you hear":
        pieces = [("text", json.dumps({k: operation[k] for k in ("messages", "temperature", "top_k", "max_tokens")}))]
    else:
        pieces = answer_to(question, stage)
    endless = question in ("forever", "die")
    written, end = 0, "stop"
    while endless or written < len(pieces):
        kind, text = pieces[written] if not endless else ("text", f"word{written} ")
        say(Delta(id=key, type=kind, text=text))
        written += 1
        if question == "die" and written == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        if endless:
            time.sleep(0.01)
        if not lines.empty():
            waiting = lines.get()
            if waiting is None:
                os._exit(0)
            if waiting["op"] == "cancel" and waiting["id"] == key:
                end = "cancelled"
                break
            lines.put(waiting)
    say(
        Finished(
            id=key,
            end=end,
            prompt_tokens=9,
            new_tokens=written,
            seconds=written / (RATES.get(stage, 50.0) * speed),
            first_token_seconds=0.085 / speed if written else None,
            truncated=2 if question == "forgetful" else 0,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--stage")
    parser.add_argument("--device")
    options = parser.parse_args()
    load(options.run, options.stage, options.device)
    serve(options.stage)


if __name__ == "__main__":
    main()
