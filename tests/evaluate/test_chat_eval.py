"""Answers of a model: letters by their logits, written ones with the calculator, all told as events."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from engine.data.chat.conversation import Message, conversation_of, render
from engine.evaluate.chat.answers import answer_multiple_choice, most_probable_options, write_answers
from engine.evaluate.chat.problems import Problem, load_problems, training_problems
from engine.evaluate.chat.sample_conversations import QUESTIONS, sample_conversations
from engine.events.kinds import CONVERSATION, Evaluation, Sample
from engine.events.log import read_events
from engine.model.gpt import GPT
from engine.plan.shape import Shape
from engine.stages.chat_eval import chosen
from engine.stages.report import render as render_report
from tests.helpers.byte_tokenizer import byte_tokenizer
from tests.helpers.tiny_run import Base, run_stages

TOKENIZER = byte_tokenizer()
ASKED = {"up": "A", "down": "B", "in": "C", "out": "D"}


def trained(talks: list[tuple[str, object]], steps: int = 60) -> GPT:
    """A small model that knows these answers by heart."""
    model = GPT(Shape(depth=2, width=128, heads=1, vocab_size=TOKENIZER.vocab_size, max_seq_len=64))
    model.init_weights(1)
    rows = [
        render(conversation_of([{"role": "user", "content": q}, {"role": "assistant", "content": a}]), TOKENIZER)
        for q, a in talks
    ]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        for ids, own in rows:
            tokens = torch.tensor(ids.astype("int64"))
            targets = tokens[1:].masked_fill(~torch.tensor(own[1:]), -1)
            F.cross_entropy(model(tokens[None, :-1])[0], targets, ignore_index=-1).backward()
        optimizer.step()
    return model


def test_letters_are_chosen_by_their_logits_in_any_batch() -> None:
    model = trained(list(ASKED.items()))
    problems = [Problem((Message("user", q),), ("A", "B", "C", "D"), a) for q, a in ASKED.items()]
    problems.append(Problem((Message("user", "up"),), ("B", "C"), "B"))  # only the letters of the problem are compared
    for max_tokens in (1, 20, 1000):
        judged = answer_multiple_choice(model, TOKENIZER, problems, max_tokens)
        assert judged.answers[:4] == ["A", "B", "C", "D"] and judged.answers[4] in "BC"
        assert judged.right[:4] == [True] * 4


def test_the_likeliest_option_is_the_first_of_equals_and_never_one_that_only_fills_up() -> None:
    logits = torch.tensor([[0.0, 5.0, 9.0, 1.0], [7.0, 2.0, 0.0, 7.0], [3.0, 1.0, 2.0, 4.0]])
    assert most_probable_options(logits, [[0, 1], [1, 3, 0], [2]]) == [1, 1, 0]
    assert most_probable_options(logits, [[3, 1, 2, 0], [0, 3], [0, 2]]) == [2, 0, 0]


def test_written_answers_use_the_calculator_and_end() -> None:
    parts = [
        {"type": "python", "text": "6*7"},
        {"type": "python_output", "text": "42"},
        {"type": "text", "text": "It is 42"},
    ]
    model = trained([("six by seven", parts)], steps=120)
    problem = Problem((Message("user", "six by seven"),), is_right=lambda text: text == "It is 42")
    judged = write_answers(model, TOKENIZER, [problem] * 3, 60, rows=2)
    call = "<|python_start|>6*7<|python_end|><|output_start|>42<|output_end|>It is 42"
    assert judged.answers == [call] * 3
    assert judged.right == judged.ended == [True] * 3
    short = write_answers(model, TOKENIZER, [problem], 3, rows=1)
    assert short.ended == [False] and short.right == [False]


def test_builtin_problems_are_judged_by_their_last_word() -> None:
    sets = load_problems("builtin", Path("/nowhere"), 5)
    assert [s.metric for s in sets] == ["chat/arithmetic", "chat/spelling"]
    assert [len(s.problems) for s in sets] == [5, 5]
    trained_on = {problem.prompt for problem in training_problems("arithmetic", Path(), "train")}
    assert not trained_on & {problem.prompt for problem in sets[0].problems}
    problem = next(p for p in training_problems("arithmetic", Path(), "train") if "3 plus 1" in str(p.prompt))
    assert problem.is_right is not None
    assert problem.is_right("3 + 1 = 4") and problem.is_right("4")
    assert not problem.is_right("3 + 1 = 5") and not problem.is_right("") and not problem.is_right("4 or 5")


def test_a_conversation_goes_on_from_what_the_model_said() -> None:
    model = trained([("up", "A"), ("down", "B")], steps=80)
    said = sample_conversations(model, TOKENIZER, 8, 2, [("up", "down"), ("down",)])
    assert said[0][:2] == ("up", "A")
    assert said[0][2] == "down"
    assert said[1] == ("down", "B")
    assert len(said[0]) == 4
    assert sample_conversations(model, TOKENIZER, 8, 1, [("up", "down"), ("down",)]) == said
    assert sample_conversations(model, TOKENIZER, 8, 1, []) == []


@pytest.mark.parametrize(
    ("right", "shown"),
    [([True, True, False, True], [0, 2]), ([False, True], [0, 1]), ([True] * 3, [0, 1]), ([False], [0]), ([], [])],
)
def test_a_right_and_a_wrong_answer_are_shown(right: list[bool], shown: list[int]) -> None:
    assert chosen(right) == shown


@pytest.mark.parametrize("stages", [["pretrain", "sft", "chat_eval"]])
def test_the_stage_tells_its_figures_and_the_report_shows_them(tmp_path: Path, stages: list[str]) -> None:
    base = Base(tmp_path / "base")
    run = base.run(
        tmp_path / "run",
        budget__steps=2,
        sft__steps=2,
        sft__total_batch_size=256,
        chat_eval__max_per_task=4,
        chat_eval__max_new_tokens=8,
        pipeline__stages=stages,
    )
    run_stages(base, run, stages)
    found = {e.metric: e for e in read_events(run.events_file) if isinstance(e, Evaluation) and e.stage == "chat_eval"}
    assert set(found) == {"chat/arithmetic", "chat/spelling", "chat/ends", "chat_core"}
    assert (found["chat/arithmetic"].examples, found["chat/ends"].examples, found["chat_core"].examples) == (4, 8, 8)
    samples = [e for e in read_events(run.events_file) if isinstance(e, Sample) and e.stage == "chat_eval"]
    judged = [sample for sample in samples if sample.task != CONVERSATION]
    assert {sample.task for sample in judged} == {"chat/arithmetic", "chat/spelling"}
    assert all(sample.right is not None and not sample.before for sample in judged)
    talks = [sample for sample in samples if sample.task == CONVERSATION]
    assert [(*sample.before[::2], sample.prompt) for sample in talks] == list(QUESTIONS)
    assert all(sample.right is None and len(sample.before) % 2 == 0 for sample in talks)
    assert "| chat/arithmetic |" in render_report(run)
