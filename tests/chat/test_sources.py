"""Where conversations come from: built in, local files, datasets of the hub as they lie on disk."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.core.errors import NanosoloError, UsageError
from engine.data.chat import builtin_conversations
from engine.data.chat.conversation import Conversation, Message, Part, conversation_of, text_of
from engine.data.chat.formats import arc_choice, from_gsm8k, gsm8k_answer, mmlu_choice
from engine.data.chat.sources import open_sources
from engine.data.corpora.corpus import SPLITS
from engine.data.skip_counter import SkipCounter

HI = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def train(names: list[str], home: Path) -> list[Conversation]:
    return list(open_sources(names, home, 0.1).conversations("train", SkipCounter()))


def test_the_builtin_set_is_sound() -> None:
    for split in SPLITS:
        examples = builtin_conversations.examples(split)
        assert examples == builtin_conversations.examples(split)
        for example in examples:
            plain = [
                {
                    "role": m.role,
                    "content": m.content
                    if isinstance(m.content, str)
                    else [{"type": p.type, "text": p.text} for p in m.content],
                }
                for m in example.conversation
            ]
            assert conversation_of(plain) == example.conversation
            if example.answer:
                assert text_of(example.conversation[-1]).split()[-1] == example.answer
    sizes = {split: len(builtin_conversations.examples(split)) for split in SPLITS}
    assert sizes["train"] > 1000 and 0.05 < sizes["validation"] / sizes["train"] < 0.2


def test_no_sum_and_no_word_of_validation_is_trained_on() -> None:
    """Held out is what is asked, not only how it is worded."""

    def asked(split: Any) -> set[str]:
        found = set()
        for example in builtin_conversations.examples(split):
            if example.kind == "arithmetic":
                found.add(text_of(example.conversation[-1]).partition(" =")[0])
            elif example.kind == "spelling":
                found.add(text_of(example.conversation[-1]).partition(":")[0])
        return found

    assert asked("validation") and not asked("validation") & asked("train")


def test_the_calculators_results_are_right() -> None:
    for example in builtin_conversations.examples("train"):
        content = example.conversation[-1].content
        if isinstance(content, tuple):
            call, output, _ = content
            # the test trusts its own fixed data; nanosolo itself never evaluates text
            assert str(eval(call.text, {"__builtins__": {}})) == output.text


def test_local_files_in_both_formats(tmp_path: Path) -> None:
    lines = [
        json.dumps(HI),
        json.dumps({"messages": HI}),
        "not json",
        json.dumps([{"role": "user", "content": "?"}]),
        "",
    ]
    jsonl = tmp_path / "talks.jsonl"
    jsonl.write_text("\n".join(lines))
    table = tmp_path / "talks.parquet"
    pq.write_table(pa.table({"messages": [HI, HI[:1]]}), table)
    tally = SkipCounter()
    source = open_sources([str(jsonl), str(table)], tmp_path, 0.1)
    source.prepare()
    found = [c for split in SPLITS for c in source.conversations(split, tally)]
    assert found == [(Message("user", "Hi"), Message("assistant", "Hello"))] * 3
    assert sum(skipped.count for skipped in tally.skipped()) == 3 * 2  # each split's pass reads and counts all
    before = source.identity()
    jsonl.write_text(json.dumps(HI))
    assert open_sources([str(jsonl), str(table)], tmp_path, 0.1).identity() != before


def test_bytes_that_are_no_text_cost_their_own_row_and_are_counted(tmp_path: Path) -> None:
    jsonl, table = tmp_path / "talks.jsonl", tmp_path / "talks.parquet"
    jsonl.write_bytes(b'[{"role": "user", "content": "caf\xe9"}]\n' + json.dumps(HI).encode())
    said = pa.array([b"Hi", b"Hello", b"caf\xe9", b"Hello"])
    bad = pa.Array.from_buffers(pa.string(), len(said), said.buffers())  # unchecked, as a hostile file is
    messages = pa.StructArray.from_arrays([pa.array(["user", "assistant"] * 2), bad], ["role", "content"])
    pq.write_table(pa.table({"messages": pa.ListArray.from_arrays(pa.array([0, 2, 4]), messages)}), table)
    for file, reason, place in (
        (jsonl, "lines that are not JSON", f"{jsonl}:1"),
        (table, "conversations: there is no list of messages", f"{table}:2"),
    ):
        tally = SkipCounter()
        found = [c for split in SPLITS for c in open_sources([str(file)], tmp_path, 0.1).conversations(split, tally)]
        assert found == [(Message("user", "Hi"), Message("assistant", "Hello"))]
        [skipped] = tally.skipped()
        assert (skipped.reason, skipped.first) == (reason, place)


def test_what_is_no_source_says_what_would_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"smoltlak: No such file .* smoltalk"):
        open_sources(["smoltlak"], tmp_path, 0.1)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match=r"neither \.jsonl nor \.parquet"):
        open_sources([str(tmp_path / "a.txt")], tmp_path, 0.1)
    (tmp_path / "a.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="has no conversation"):
        open_sources([str(tmp_path / "a.jsonl")], tmp_path, 0.1).prepare()
    broken = tmp_path / "a.parquet"
    broken.write_bytes(b"PAR1 and no more")
    with pytest.raises(NanosoloError, match="cannot be read"):
        open_sources([str(broken)], tmp_path, 0.1).prepare()


def test_a_limit_takes_so_many_and_the_same_ones(tmp_path: Path) -> None:
    some = train(["builtin:50"], tmp_path)
    assert len(some) == 50 and some == train(["builtin:50"], tmp_path)
    assert len(train(["builtin:50", "builtin:50"], tmp_path)) == 100
    assert set(some) < set(train(["builtin"], tmp_path))


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_datasets_that_were_put_here_by_hand_need_no_network(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    arc = {"question": "Which?", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"}
    for split in ("train", "validation"):
        parquet(hub / f"allenai/ai2_arc/ARC-Easy/{split}-00000-of-00001.parquet", [arc])
    inner = {"question": "Q", "choices": ["w", "x", "y", "z"], "answer": 3, "subject": "s"}
    parquet(hub / "cais/mmlu/auxiliary_train/train-00000-of-00001.parquet", [{"train": inner}])
    parquet(hub / "cais/mmlu/all/test-00000-of-00001.parquet", [inner])
    for split in ("train", "test"):
        parquet(
            hub / f"openai/gsm8k/main/{split}-00000-of-00001.parquet",
            [{"question": "q", "answer": "<<1+1=2>>2\n#### 2"}],
        )
        parquet(
            hub / f"HuggingFaceTB/smol-smoltalk/data/{split}-00000-of-00001.parquet", [{"messages": HI, "source": "x"}]
        )
    names = ["arc-easy", "mmlu", "gsm8k", "smoltalk"]
    open_sources(names, tmp_path, 0.1).prepare()
    found = train(names, tmp_path)
    assert [text_of(c[-1]) for c in found] == ["2", "D", "2\n#### 2", "Hello"]
    assert text_of(found[0][0]) == "Which?\n- a=1\n- b=2\n\nAnswer with one letter."


def test_gsm8ks_calculations_become_calls() -> None:
    row = {"question": "How much?", "answer": "It is 12/60 = $<<12/60=0.2>>0.2.\n#### 0.2"}
    assert from_gsm8k(row)[1].content == (
        Part("text", "It is 12/60 = $"),
        Part("python", "12/60"),
        Part("python_output", "0.2"),
        Part("text", "0.2.\n#### 0.2"),
    )
    assert gsm8k_answer("so\n#### 1,234.") == "1234"
    assert gsm8k_answer("#### -5") == "-5"
    assert gsm8k_answer("5") is None


def test_choices_name_the_right_letter() -> None:
    assert mmlu_choice({"question": "Q", "choices": ["a", "b"], "answer": 1}).answer == "B"
    assert arc_choice({"question": "Q", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "A"}).letters == ("A",)
