"""Parts of the Chat screen: conversations, rendering, error messages, available models, the worker client."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.core.sanitize import terminal_text
from engine.inference.chat_settings import Settings
from engine.run.directory import RunDirectory
from engine.serve import worker_protocol
from tui.chat import model_picker, worker_client
from tui.chat.messages import chips, device_notes
from tui.chat.model_picker import Scene
from tui.chat.render import answer_content, compared, figures, turn_rows
from tui.chat.turns import Conversation, Turn
from tui.chat.worker_client import WorkerClient, WorkerExited
from tui.chat.worker_errors import describe_error, describe_exit

FAKE = str(Path(__file__).resolve().parents[1] / "helpers" / "fake_worker.py")


def took(
    tokens: int = 84, seconds: float = 2.0, first: float | None = 0.21, **other: object
) -> worker_protocol.Finished:
    fields = {"id": 1, "end": "stop", "prompt_tokens": 9, "truncated": 0} | other
    return worker_protocol.Finished(new_tokens=tokens, seconds=seconds, first_token_seconds=first, **fields)  # type: ignore[arg-type]


def turn(question: str = "a?", answer: str = "b.", **other: object) -> Turn:
    return Turn(question, "red, sft step 9", "done", [("text", answer)], **other)  # type: ignore[arg-type]


# conversations


def test_pieces_of_a_kind_are_joined() -> None:
    made = Turn("a?", "red")
    for kind, text in [("text", "1"), ("text", "2"), ("python", "3"), ("python", "4"), ("text", "5")]:
        made.append(kind, text)
    assert made.parts == [("text", "12"), ("python", "34"), ("text", "5")]
    assert made.answer == "125"


def test_what_is_sent_leaves_out_what_was_not_answered() -> None:
    conversation = Conversation()
    conversation.turns = [turn("1?", "one"), Turn("lost?", "red", "failed"), turn("2?", "two"), Turn("3?", "red")]
    assert [m["content"] for m in conversation.to_answer("", chats=True)] == ["1?", "one", "2?", "two", "3?"]
    assert conversation.to_answer("Be brief.", chats=True)[0] == {"role": "system", "content": "Be brief."}
    assert [m["content"] for m in conversation.to_answer("", chats=False)] == ["3?"]
    assert [m["content"] for m in conversation.said("")] == ["1?", "one", "2?", "two"]


def test_calculations_are_sent_back_as_parts() -> None:
    made = Turn("a?", "red", "done", [("python", "6*7"), ("python_output", "42"), ("text", " it is")])
    assert made.messages()[1]["content"] == [
        {"type": "python", "text": "6*7"},
        {"type": "python_output", "text": "42"},
        {"type": "text", "text": " it is"},
    ]


# rows


@given(st.text(max_size=300), st.text(max_size=60), st.integers(24, 90))
def test_rows_fit_and_hold_nothing_that_steers_a_terminal(answer: str, question: str, width: int) -> None:
    for row in turn_rows(turn(question, answer, figures=took()), width):
        assert cell_len(row.plain) <= width
        assert row.plain.isprintable()


def test_hostile_text_is_shown_as_text() -> None:
    assert terminal_text("\x1b[31mred\x07") == "·[31mred·"
    assert terminal_text("a\r\nb\rc") == "a\nb·c"
    assert terminal_text("\u202eabc\u200b\u00a0d\ufe0f") == "abc d"
    assert terminal_text("日本語 e\u0301") == "日本語 e\u0301"
    rows = turn_rows(turn("[red]q[/red]", "[bold]loud[/bold] [/]"), 60)
    assert [row.plain for row in rows[:2]] == ["› [red]q[/red]", "  [bold]loud[/bold] [/]"]


def test_lines_and_indentation_stay() -> None:
    rows = turn_rows(turn("code?", "def f(x):\n    return x\n\n\tdone"), 60)
    assert [row.plain for row in rows[1:-1]] == ["  def f(x):", "      return x", "  ", "      done"]


def test_calculations_stand_in_brackets() -> None:
    parts = [("text", "It is "), ("python", "12 * 7"), ("python_output", "84"), ("text", " so"), ("python", "1+")]
    assert answer_content(parts).plain == "It is [12 * 7 = 84] so[1+]"
    assert answer_content([*parts[1:3], ("text", "so"), ("text", "it")]).plain == "[12 * 7 = 84] so it"
    assert answer_content([("text", "\n  Then"), ("text", "\n  so")]).plain == "Then\n  so"
    assert answer_content([("python_output", "84")]).plain == "[= 84]"


def test_figures_of_an_answer() -> None:
    assert figures(turn(figures=took())) == ["84 tokens", "42.0 tokens/s", "first token 210 ms"]
    assert figures(turn(figures=took(truncated=1)))[-1] == "1 earlier message left out (context full)"
    assert figures(turn(figures=took(1, 0.5, None, end="length"))) == [
        "reached the token limit",
        "1 token",
        "2.0 tokens/s",
    ]
    stopped = figures(turn(figures=took(4000, 2.0, 1.24, end="cancelled", truncated=6)))
    assert stopped == [
        "stopped",
        "4,000 tokens",
        "2.00k tokens/s",
        "first token 1.2 s",
        "6 earlier messages left out (context full)",
    ]
    assert figures(Turn("a?", "red", "stopped")) == ["stopped"]
    assert figures(Turn("a?", "red", "failed")) == []
    assert figures(turn(figures=took(0, 0.0, None)))[1] == "0.0 tokens/s"


def test_two_answers_are_compared_once_both_are_there() -> None:
    fast, slow = turn(figures=took(84, 2.0, 0.2)), turn(figures=took(60, 2.0, 0.3))
    assert compared(fast, slow) == "A is 1.4× as fast · A starts 100 ms earlier · 84 and 60 tokens"
    assert compared(slow, fast).startswith("B is 1.4× as fast · B starts")
    assert compared(fast, fast) == "same speed · 84 and 84 tokens"
    assert compared(fast, turn()) == compared(None, fast) == ""
    assert compared(fast, turn("another?", figures=took())) == ""
    assert compared(fast, turn(figures=took(0))) == ""


# faults


@pytest.mark.parametrize(
    ("exited", "device", "said"),
    [
        (WorkerExited(1, "torch.OutOfMemoryError: CUDA out of memory."), "cuda", "Not enough free GPU memory"),
        (
            WorkerExited(5, "RuntimeError: DefaultCPUAllocator: can't allocate memory"),
            "cpu",
            "Not enough free memory on this machine",
        ),
        (WorkerExited(-9, ""), "cpu", "was killed"),
        (WorkerExited(-11, ""), "cpu", "signal 11"),
        (WorkerExited(5, "model.safetensors has 3 bytes, not 10"), "cpu", "Model.safetensors has 3 bytes, not 10."),
        (WorkerExited(3, ""), "cpu", "exited with code 3"),
    ],
)
def test_every_exit_message_says_what_to_do(exited: WorkerExited, device: str, said: str) -> None:
    text = describe_exit(exited, device)
    assert said in text and "\n" not in text
    assert text.endswith(("Press r to load it again.", "Press d to load it on the CPU."))


def test_a_refusal_is_one_line() -> None:
    assert describe_error("too\nlong\x1b", "cpu") == "Too long\N{REPLACEMENT CHARACTER}."
    assert "Press d to load it on the CPU" in describe_error("OutOfMemoryError: CUDA out of memory", "cuda")


# available models


def runs_with(home: Path, **stages: dict[str, int]) -> list[RunDirectory]:
    """Runs, oldest first, with empty checkpoints."""
    made = []
    for i, (name, steps) in enumerate(stages.items()):
        run = RunDirectory(home / "runs" / name)
        run.path.mkdir(parents=True)
        run.config_file.write_text("")
        os.utime(run.config_file, (1000 + i, 1000 + i))
        for stage, step in steps.items():
            (run.checkpoints(stage) / f"step_{step:06d}").mkdir(parents=True)
        made.append(run)
    return made


def test_the_best_checkpoint_of_each_run_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path))
    assert model_picker.look().models == ()
    old, new, bare = runs_with(tmp_path, old={"pretrain": 5}, new={"pretrain": 9, "sft": 7}, bare={})
    (new.checkpoints("sft") / "step_000012").mkdir()
    (new.checkpoints("sft") / ".step_000013.partial").mkdir()
    scene = model_picker.look()
    labels = [model.label for model in scene.models]
    assert labels == ["new, sft step 12", "new, pretrain step 9", "old, pretrain step 5"]
    assert scene.best_of(new) == scene.models[0]
    assert scene.best_of(None) is scene.best_of(bare) is None
    assert scene.begin_with(None, None) == (scene.models[0], "")
    assert scene.begin_with(old, scene.models[0]) == (scene.models[2], "")
    assert scene.begin_with(None, scene.models[1]) == (scene.models[1], "")
    assert scene.begin_with(bare, scene.models[1]) == (scene.models[1], "bare has no checkpoint yet. Using new.")
    assert scene.best_of(old) == scene.models[2]
    assert scene.now(scene.models[1]) == scene.models[1]
    assert scene._replace(models=()).now(scene.models[1]) is None


def test_a_gpu_that_trains_is_left_alone() -> None:
    idle, busy = Scene(1, (), True, ()), Scene(1, (), True, ("red",))
    assert (idle.device, busy.device, Scene(1, (), False, ("red",)).device) == ("auto", "cpu", "cpu")
    assert device_notes(idle, "") == []
    assert "red is training on the GPU, so this model runs on the CPU" in device_notes(busy, "")[0]
    assert "shares its memory with this model" in device_notes(busy, "cuda")[0]
    assert "slow each other down" in device_notes(Scene(1, (), False, ("red", "blue")), "")[0]


def test_the_settings_in_one_row() -> None:
    assert chips(Settings(), "", 80).plain == "temperature 0.7 · top-k 50 · seed 0"
    row = chips(Settings(max_new_tokens=9), "Be\x1b " + "brief " * 30, 80).plain
    assert "max tokens 9" in row and "\x1b" not in row and cell_len(row) <= 80


# the client


async def hear(code: str, run: RunDirectory, *asked: str) -> list[object]:
    """The events of a process that runs this code, until it exits."""
    heard: list[object] = []
    made = WorkerClient(run, "sft", "cpu", heard.append)
    made._command = ("-c", code)
    await asyncio.wait_for(made.follow(), 30)
    return heard


@pytest.mark.parametrize(
    ("code", "gone"),
    [
        (
            "import sys; print('noise'); print('{}'); sys.exit('first\\nlast \\x1b word')",
            WorkerExited(1, "last \ufffd word"),
        ),
        ("import os; os.kill(os.getpid(), 9)", WorkerExited(-9, "")),
        ("import sys; sys.stderr.write('y' * 3_000_000 + '\\nend\\n')", WorkerExited(0, "end")),
        ('print(\'{"event": "error", "id": null, "message": "no"}\')', WorkerExited(0, "no")),
    ],
)
async def test_a_process_that_exits_reports_its_last_line(code: str, gone: WorkerExited, tmp_path: Path) -> None:
    assert await hear(code, RunDirectory(tmp_path)) == [gone]


async def test_a_process_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    (gone,) = await hear("", RunDirectory(tmp_path))
    assert isinstance(gone, WorkerExited) and "could not be started: No such file" in gone.message


async def test_asking_cancelling_and_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_client, "WORKER", (FAKE,))
    (run,) = runs_with(tmp_path, red={"sft": 7})
    heard: asyncio.Queue[object] = asyncio.Queue()
    made = WorkerClient(run, "sft", "cpu", heard.put_nowait)
    following = asyncio.create_task(made.follow())
    try:
        loaded = await asyncio.wait_for(heard.get(), 30)
        assert isinstance(loaded, worker_protocol.Loaded) and (loaded.name, loaded.step) == ("red", 7)
        made.ask(1, [{"role": "user", "content": "forever"}], Settings())
        assert isinstance(await heard.get(), worker_protocol.Delta)
        made.cancel(1)
        while isinstance(event := await heard.get(), worker_protocol.Delta):
            pass
        assert isinstance(event, worker_protocol.Finished) and event.end == "cancelled"
    finally:
        await made.close()
    await asyncio.wait_for(following, 30)
    assert heard.empty()  # no events after close
    assert made.pid is not None and not psutil.pid_exists(made.pid)


async def test_closing_while_the_process_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_client, "WORKER", (FAKE,))
    heard: list[object] = []
    made = WorkerClient(RunDirectory(tmp_path), "sft", "cpu", heard.append)
    following = asyncio.create_task(made.follow())
    await asyncio.sleep(0)
    made.kill()
    await asyncio.wait_for(following, 30)
    assert heard == [] and made.pid is not None and not psutil.pid_exists(made.pid)


def test_a_worker_exits_when_its_parent_is_killed(tmp_path: Path) -> None:
    """The console is killed with SIGKILL: the worker notices only the end of its input."""
    (run,) = runs_with(tmp_path, red={"sft": 7})
    code = (
        "import asyncio, pathlib, tui.chat.worker_client as c\n"
        "from engine.run.directory import RunDirectory\n"
        f"c.WORKER = ({FAKE!r},)\n"
        "async def main():\n"
        f"    one = c.WorkerClient(RunDirectory(pathlib.Path({str(run.path)!r})), 'sft', 'cpu', "
        "lambda event: print(one.pid, flush=True))\n"
        "    await one.follow()\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    gone, alive = psutil.wait_procs([worker], timeout=20)
    assert gone and not alive
