"""Packing loses no answer token, marks no other, and gives rows that all count, for any length of rows."""

from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.errors import UsageError
from engine.data.chat.conversation import Conversation, Message, render
from engine.data.chat.dataset import ConversationSet, PackedRows, open_set, write_set
from engine.data.chat.packing import pack
from engine.data.loader import LoaderState, RowLoader
from tests.helpers.byte_tokenizer import byte_tokenizer

TOKENIZER = byte_tokenizer("hello")


def talk(asked: str, *said: str) -> Conversation:
    messages = [Message("user", asked)]
    for number, text in enumerate(said):
        messages += [Message("user", "go on")] * (number > 0) + [Message("assistant", text)]
    return tuple(messages)


def set_of(folder: Path, conversations: list[Conversation]) -> ConversationSet:
    return write_set(folder, "test", {"train": conversations, "validation": conversations[:1]}, TOKENIZER)


@given(st.integers(1, 300), st.data())
def test_every_conversation_is_packed_once_and_whole(room: int, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, room), max_size=200))
    pool = data.draw(st.integers(1, 50))
    rows = pack(lengths, room, pool)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= room for row in rows)
    assert rows == pack(lengths, room, pool)
    if pool >= len(lengths):  # best fit leaves at most one row less than half full
        assert sum(2 * sum(lengths[index] for index in row) < room for row in rows) <= 1


def test_what_does_not_fit_is_refused() -> None:
    for lengths in ([3, 9], [0]):
        with pytest.raises(ValueError, match="does not fit"):
            pack(lengths, 8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.text(max_size=40), st.lists(st.text(max_size=60), min_size=1, max_size=3)), min_size=1, max_size=12
    ),
    st.integers(16, 200),
)
def test_no_answer_token_is_lost_and_no_other_counts(
    tmp_path_factory: pytest.TempPathFactory, talks: list[tuple[str, list[str]]], seq_len: int
) -> None:
    conversations = [talk(asked, *said) for asked, said in talks]
    wanted = []
    cut = dropped = 0
    for conversation in conversations:
        ids, trained = render(conversation, TOKENIZER)
        kept = trained[1 : seq_len + 1]
        if not kept.any():
            dropped += 1
            continue
        cut += len(ids) > seq_len + 1
        wanted += [(int(a), int(b)) for a, b, t in zip(ids, ids[1:], kept, strict=False) if t]
    made = set_of(tmp_path_factory.mktemp("set") / "s", conversations)
    if dropped == len(conversations):
        with pytest.raises(UsageError, match="no conversation of the train split has an answer"):
            PackedRows(made, "train", seq_len, TOKENIZER.bos_id)
        return
    rows = PackedRows(made, "train", seq_len, TOKENIZER.bos_id)
    assert (rows.cut, rows.dropped) == (cut, dropped)
    tokens, targets = rows.gather(np.arange(rows.rows))
    assert tokens.shape == targets.shape == (rows.rows, seq_len)
    counts = targets >= 0
    found = list(zip(tokens[counts].tolist(), targets[counts].tolist(), strict=True))
    assert sorted(found) == sorted(wanted)
    assert rows.trained_tokens == len(wanted)
    assert counts.any(1).all()  # no row is without a target
    assert int(targets.min()) >= -1 and int(tokens.min()) >= 0


def test_rows_go_on_exactly_from_a_state(tmp_path: Path) -> None:
    rows = PackedRows(set_of(tmp_path / "s", [talk(f"question {i}", "x" * i) for i in range(40)]), "train", 64, 0)
    assert rows.rows > 8
    with RowLoader(rows, 4, 7, True, "epoch") as loader:
        whole = [next(loader) for _ in range(9)]
    with RowLoader(rows, 4, 7, True, "epoch", whole[3].state) as loader:
        again = [next(loader) for _ in range(5)]
    for one, other in zip(whole[4:], again, strict=True):
        assert one.tokens.equal(other.tokens) and one.targets.equal(other.targets) and one.state == other.state
    assert whole[-1].state.epoch > 0 and isinstance(whole[0].state, LoaderState)


def test_a_set_is_written_once_for_the_same_sources(tmp_path: Path) -> None:
    first = set_of(tmp_path / "s", [talk("a", "b")])
    assert open_set(tmp_path / "s", "test") is not None
    assert open_set(tmp_path / "s", "other") is None
    # nothing is rendered again: what is asked for is not even looked at
    again = write_set(tmp_path / "s", "test", {"train": [talk("c", "d")], "validation": []}, TOKENIZER)
    assert again.index == first.index and again.index.conversations["train"] == 1
    tokens = tmp_path / "s" / "train.tokens.npy"
    whole = tokens.read_bytes()
    tokens.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # as long as before
    assert open_set(tmp_path / "s", "test") is None
    tokens.write_bytes(whole)
    assert open_set(tmp_path / "s", "test") is not None
    (tmp_path / "s" / "train.ends.npy").write_bytes(b"torn")
    assert open_set(tmp_path / "s", "test") is None


def test_who_waits_and_gives_up_leaves_what_another_is_writing(tmp_path: Path) -> None:
    half = tmp_path / "s.partial" / "train.tokens.npy"
    half.parent.mkdir()
    half.write_bytes(b"half")

    def give_up(_done: int, _total: int, unit: str) -> None:
        raise KeyboardInterrupt(unit)

    with FileLock(tmp_path / "s.lock"), pytest.raises(KeyboardInterrupt, match="waiting"):
        write_set(tmp_path / "s", "test", {"train": [talk("a", "b")], "validation": []}, TOKENIZER, give_up)
    assert half.read_bytes() == b"half"
