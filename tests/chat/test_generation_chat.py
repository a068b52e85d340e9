"""Talking: sessions that remember and forget, the terminal with a person at it, the pipe, the worker process."""

import json
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from engine.checkpoint.selection import choose_checkpoint
from engine.core.errors import UsageError
from engine.data.chat.conversation import Message, conversation_of, prompt_of
from engine.inference.chat_session import Reply, Session
from engine.inference.chat_settings import Settings
from engine.inference.decoder import Decoder
from engine.inference.engine import ChatEngine, load_engine
from engine.inference.sampling_params import Sampling
from engine.run.directory import RunDirectory
from tests.helpers.trained_run import STEPS, home_of, nanosolo

GREEDY = Settings(sampling=Sampling(temperature=0), max_new_tokens=12)


@pytest.fixture(scope="module")
def run(trained: RunDirectory) -> RunDirectory:
    return trained


@pytest.fixture(scope="module")
def engine(run: RunDirectory) -> ChatEngine:
    return load_engine(run, device="cpu")


def reply_to(session: Session, text: str) -> Reply:
    *_, reply = session.ask(text)
    assert isinstance(reply, Reply)
    return reply


def test_the_best_stage_is_chosen(run: RunDirectory) -> None:
    assert choose_checkpoint(run)[:2] == ("sft", STEPS)
    assert choose_checkpoint(run, "pretrain")[:2] == ("pretrain", STEPS)
    with pytest.raises(UsageError, match=r"no checkpoint of rl yet\. It has one of sft, pretrain"):
        choose_checkpoint(run, "rl")
    with pytest.raises(UsageError, match="expected one of pretrain, midtrain, sft, rl"):
        choose_checkpoint(run, "best")


def test_a_damaged_checkpoint_is_named(run: RunDirectory, tmp_path: Path) -> None:
    import shutil

    from engine.checkpoint.manifest import Damaged

    copy = RunDirectory(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    weights = choose_checkpoint(copy).path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    with pytest.raises(Damaged, match=r"model\.safetensors is not what was written"):
        load_engine(copy, device="cpu")


def test_a_session_remembers_what_was_said(engine: ChatEngine) -> None:
    session = Session(engine, GREEDY)
    session.system = "Be kind."
    first, second = reply_to(session, "ab"), reply_to(session, "cd")
    said = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "cd"},
        {"role": "assistant", "content": second.text},
    ]
    prompt = prompt_of(conversation_of(said)[:-1], engine.tokenizer)
    pieces = list(engine.answer(prompt, 12, GREEDY.sampling))
    assert "".join(piece.text for piece in pieces[:-1]) == second.text
    assert second.prompt_tokens == len(prompt)
    assert first.new_tokens == second.new_tokens == 12
    session.clear()
    assert reply_to(session, "ab").text == first.text


def test_the_oldest_turns_are_forgotten(engine: ChatEngine) -> None:
    session = Session(engine, GREEDY)
    truncated = [reply_to(session, "word " * 4).truncated for _ in range(8)]
    assert truncated[0] == 0 and truncated[-1] > 0
    assert truncated == sorted(truncated)
    with pytest.raises(UsageError, match=r"the model.s context is 128 tokens"):
        reply_to(session, "x" * 500)
    assert len(session.messages) == 16
    long = Session(engine, Settings(sampling=Sampling(temperature=0)))
    assert (reply := reply_to(long, "a")).end == "stop" or reply.prompt_tokens + reply.new_tokens == 128


def test_an_answer_may_be_broken_off(engine: ChatEngine) -> None:
    session = Session(engine, GREEDY)
    whole = reply_to(session, "ab").text
    session.clear()
    answer = session.ask("ab")
    first = next(answer)
    answer.close()
    assert session.messages == [Message("user", "ab"), Message("assistant", first.text)]
    session.clear()
    assert reply_to(session, "ab").text == whole


def test_calculations_run_and_are_remembered(engine: ChatEngine) -> None:
    """The model is made to call the calculator, by forcing its first tokens."""
    tokenizer, special = engine.tokenizer, engine.tokenizer.special_ids
    prompt = engine.prompt((Message("user", "What is 6*7?"),))
    call = [special["<|python_start|>"], *tokenizer.encode("6*7"), special["<|python_end|>"]]
    request = engine.request("it", prompt, 30, GREEDY.sampling, 0)
    calculator, todo = request.force, list(call)

    def force(token: int) -> list[int]:
        forced = list(calculator(token))
        return forced or ([todo.pop(0)] if todo else [])

    decoder = Decoder(engine.model, 128)
    decoder.add(request._replace(force=force))
    ids = []
    while decoder.active:
        ids += [token.id for token in decoder.step()]
    expected = [*call, special["<|output_start|>"], *tokenizer.encode("42"), special["<|output_end|>"]]
    assert ids[1 : 1 + len(expected)] == expected


def test_saved_conversations_can_be_read_by_training(engine: ChatEngine, tmp_path: Path) -> None:
    session = Session(engine, GREEDY)
    session.system = "Hm."
    reply_to(session, "ab")
    session.save(tmp_path / "said.jsonl")
    messages = json.loads((tmp_path / "said.jsonl").read_text())["messages"]
    assert conversation_of(messages)[0] == Message("user", "Hm.\n\nab")


def test_a_pipe_answers_line_by_line(run: RunDirectory, tmp_path: Path) -> None:
    saved = tmp_path / "said.jsonl"
    lines = f"one\n\n/temperature x\n/top_p 2\n/nothing\n/save {saved}\n/new\none\n/quit\nnever\n"
    done = nanosolo(run, "chat", "tiny", "--max-tokens", "8", "--temperature", "0", input=lines)
    assert done.returncode == 0
    answers = done.stdout.splitlines()
    assert done.stdout == "\n".join(answers[: len(answers) // 2] * 2) + "\n"
    assert [line.partition(" ")[0] for line in done.stderr.splitlines()] == ["error:", "error:", "error:", "wrote"]
    assert len(json.loads(saved.read_text())["messages"]) == 2


def test_json_answers(run: RunDirectory) -> None:
    done = nanosolo(run, "chat", "tiny", "--max-tokens", "8", "--json", "--prompt", "one")
    (answer,) = map(json.loads, done.stdout.splitlines())
    assert (answer["prompt"], answer["new_tokens"]) == ("one", 8)
    assert answer["tokens_per_second"] > 0 and answer["first_token_seconds"] > 0


def test_a_person_at_a_terminal(run: RunDirectory) -> None:
    command = ["-c", "from tui.cli.main import entry; entry()", "chat", "tiny", "--max-tokens", "20"]
    child = pexpect.spawn(sys.executable, command, env=home_of(run), encoding="utf-8", timeout=60)
    child.expect(f"tiny, sft step {STEPS}. /help lists commands.")
    child.expect("> ")
    child.sendline("hello")
    child.expect(r"20 tokens, [\d,]+ tokens/s")
    child.expect("> ")
    child.sendline("/temperature")
    child.expect("temperature is 0.7")
    child.sendline("/help")
    child.expect("start a new conversation")
    child.expect("> ")
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


class Worker:
    """The worker process and a person's hand on it."""

    def __init__(self, run: RunDirectory, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine.serve.model_worker", *options],
            env=home_of(run),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def tell(self, **operation: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(operation).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, object]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def answer(self, key: object) -> tuple[str, dict[str, object]]:
        text = ""
        while (event := self.hear())["event"] == "piece":
            assert event["id"] == key
            text += str(event["text"])
        return text, event


def test_the_worker(run: RunDirectory) -> None:
    worker = Worker(run, "tiny", "--device", "cpu")
    try:
        loaded = worker.hear()
        assert loaded["event"] == "loaded" and loaded["chats"] is True and loaded["context"] == 128
        asked = {"op": "generate", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}
        worker.tell(**asked, id=1, max_tokens=10)
        text, finish = worker.answer(1)
        spoken = nanosolo(run, "chat", "tiny", "--prompt", "hello", "--temperature", "0", "--max-tokens", "10")
        assert text + "\n" == spoken.stdout
        assert (finish["end"], finish["new_tokens"]) == ("length", 10)

        worker.tell(**asked, id="long")
        assert worker.hear()["id"] == "long"
        worker.tell(op="cancel", id="long")
        finish = worker.answer("long")[1]
        assert finish["end"] == "cancelled" and int(str(finish["new_tokens"])) >= 1
        worker.tell(op="cancel", id="long")  # too late, and no harm

        turns = [{"role": role, "content": "word " * 8} for _ in range(9) for role in ("user", "assistant")]
        worker.tell(**asked | {"messages": [*turns, *asked["messages"]]}, id="much", forget=True, max_tokens=99)
        finish = worker.answer("much")[1]
        assert 0 < int(str(finish["truncated"])) <= 18 and finish["prompt_tokens"] <= 128 - 16

        worker.tell(**asked | {"messages": []}, id=2)
        assert "messages" in str(worker.hear()["message"])
        worker.tell(op="dance")
        assert worker.hear() == {
            "event": "error",
            "id": None,
            "message": "not an operation: Invalid value 'dance' - at `$.op`",
        }
        worker.tell(**asked, id=3, max_tokens=10)
        assert worker.answer(3)[0] == text
    finally:
        worker.process.stdin.close()
        assert worker.process.wait(30) == 0


def test_the_worker_says_what_it_cannot_load(run: RunDirectory) -> None:
    worker = Worker(run, "nobody")
    assert "no run nobody" in str(worker.hear()["message"])
    assert worker.process.wait(30) == 2
