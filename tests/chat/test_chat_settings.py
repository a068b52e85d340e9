"""The settings of answers as people type them, the /commands, and what they need: no torch."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import NanosoloError, UsageError
from engine.inference.chat_settings import (
    COMMANDS,
    MAX_SEED,
    NUMBERS,
    Settings,
    change,
    file_to_save,
    read_command,
    save_conversations,
    value_of,
)
from engine.serve.worker_protocol import cancel, generate


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("temperature", "0.70", "0.7"),
        ("temperature", "0", "0"),
        ("top_k", "40", "40"),
        ("top_k", "off", "off"),
        ("top_p", "0.9", "0.9"),
        ("top_p", "off", "off"),
        ("max_tokens", "200", "200"),
        ("max_tokens", "off", "off"),
        ("seed", "7", "7"),
    ],
)
def test_what_is_typed_is_set_and_shown(name: str, text: str, shown: str) -> None:
    assert value_of(change(Settings(), name, text), name) == shown


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "warm"),
        ("temperature", "-1"),
        ("temperature", "nan"),
        ("temperature", "inf"),
        ("temperature", "off"),
        ("top_k", "0"),
        ("top_k", "1.5"),
        ("top_p", "0"),
        ("top_p", "1.1"),
        ("max_tokens", "0"),
        ("seed", "-1"),
        ("seed", "off"),
        ("seed", str(MAX_SEED + 1)),
    ],
)
def test_what_cannot_be_set_is_named_with_an_example(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} .*for example"):
        change(Settings(), name, text)


@given(st.sampled_from(NUMBERS), st.text(max_size=12))
def test_any_text_is_a_setting_or_a_usage_error(name: str, text: str) -> None:
    try:
        changed = change(Settings(), name, text)
    except UsageError:
        return
    assert change(changed, name, value_of(changed, name)) == changed or name in ("temperature", "top_p")


@given(st.integers(0, MAX_SEED), st.integers(0, 10_000))
def test_seeds_stay_in_range_and_differ_by_turn(seed: int, messages: int) -> None:
    settings = Settings(seed=seed)
    assert 0 <= settings.turn_seed(messages) <= MAX_SEED
    assert settings.turn_seed(messages) != settings.turn_seed(messages + 2)


def test_commands_are_read() -> None:
    assert read_command("/top_k  40 ") == ("top_k", "40")
    assert read_command("/system Be [brief].") == ("system", "Be [brief].")
    assert read_command("/exit") == ("quit", "")
    assert set(NUMBERS) < {command.name for command in COMMANDS}
    for line in ("/", "/nothing", "//new", "/New"):
        with pytest.raises(UsageError, match="/help"):
            read_command(line)


def test_conversations_are_saved_a_line_each(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "a\nb"}, {"role": "assistant", "content": "c"}]
    save_conversations(tmp_path / "said.jsonl", [said, said[:1]])
    assert [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()] == [
        {"messages": said},
        {"messages": said[:1]},
    ]
    with pytest.raises(UsageError, match="give a file name"):
        file_to_save("")
    with pytest.raises(NanosoloError, match="cannot write"):
        save_conversations(Path("/proc/said.jsonl"), [said])


def test_what_is_asked_of_a_worker() -> None:
    settings = change(change(Settings(seed=3), "top_k", "off"), "max_tokens", "9")
    line = generate("1", [{"role": "user", "content": "a"}], settings)
    asked = msgspec.json.decode(line)
    assert line.count(b"\n") == 1
    assert (asked["op"], asked["top_k"], asked["max_tokens"], asked["forget"]) == ("generate", 0, 9, True)
    assert asked["seed"] == settings.turn_seed(1)
    assert msgspec.json.decode(cancel(1)) == {"op": "cancel", "id": 1}


def test_no_torch() -> None:
    code = "import sys, engine.serve.worker_protocol, engine.checkpoint.selection; "
    code += "sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
