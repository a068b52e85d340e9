"""CORE's questions in batches and with their beginnings shared: every decision that of one question at a time."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.core_bundle import CoreTask
from engine.evaluate.core.prefix_packing import batch_size, by_length, pack
from engine.evaluate.core.questions import Question, make_questions
from engine.evaluate.core.scoring import _leads, answer, answer_alone, batched_scores, decide, drifts, scores_alone
from engine.evaluate.row_batches import MOST_TOKENS, Row, token_budget
from engine.model.branches import Branches
from engine.model.gpt import GPT
from engine.plan.shape import Shape
from tests.helpers.byte_tokenizer import byte_tokenizer

VOCABULARY = 40
TOKENIZER = byte_tokenizer("river", "\n\n", "\n\n\n", " \n", "\n ")  # line breaks that join what follows, if they may
KINDS = ("multiple_choice", "schema", "language_modeling")


def random_model(head_scale: float, dtype: torch.dtype = torch.float32) -> GPT:
    """With small heads, everything lies close together."""
    model = GPT(Shape(depth=2, width=64, heads=2, vocab_size=VOCABULARY, max_seq_len=32), compute_dtype=dtype)
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = head_scale if name == "head.weight" else 1.0
            weight.copy_(torch.empty(weight.shape).normal_(0, scale / math.sqrt(weight.shape[1]), generator=generator))
    return model


MODELS = [random_model(scale) for scale in (3.0, 0.05, 1e-4, 0.0)]  # clear cases, close ones, nothing but ties

tokens_of = st.lists(st.integers(0, VOCABULARY - 1), max_size=12)


@st.composite
def questions_of_options(draw: st.DrawFn) -> Question:
    """Options with a common beginning (a long one at times: the context holds 32), ends of any length, and targets of
    which some are in the beginning."""
    prefix = [0, *draw(tokens_of)] * draw(st.sampled_from([1, 1, 4]))
    ends = draw(st.lists(tokens_of, min_size=1, max_size=5))
    rows, targets = [], []
    for end in ends:
        ids = np.array([*prefix, *end, draw(st.integers(0, VOCABULARY - 1))], np.uint16)
        start = draw(st.integers(1, len(ids) - 1))
        rows.append(Row(ids[:-1], start - 1))
        targets.append(ids[start:])
    return Question(tuple(rows), tuple(targets), draw(st.integers(0, len(ends) - 1)))


def without_options(question: Question) -> Question:
    """Its first row as a question of language modelling."""
    return Question(question.rows[:1], question.targets[:1], None)


@settings(max_examples=80)
@given(st.lists(questions_of_options(), min_size=1, max_size=8), st.integers(1, 400), st.sampled_from(MODELS))
def test_batched_decisions_are_those_alone(questions: list[Question], max_tokens: int, model: GPT) -> None:
    for asked in (questions, [without_options(question) for question in questions]):
        assert answer(model, asked, max_tokens) == [answer_alone(model, question) for question in asked]
        numbers = []
        for batch, scores in batched_scores(model, asked, max_tokens):
            numbers += batch
            for number, found in zip(batch, scores, strict=True):
                alone = scores_alone(model, asked[number], range(len(found)))
                allowed = drifts(asked[number], torch.float32)
                assert all(abs(a - b) < c / 4 for a, b, c in zip(found, alone, allowed, strict=True))
        assert sorted(numbers) == list(range(len(asked)))


@settings(max_examples=25)
@given(st.lists(questions_of_options(), min_size=1, max_size=6), st.sampled_from([1.0, 0.1]))
def test_decisions_in_bfloat16_are_those_alone(questions: list[Question], head_scale: float) -> None:
    model = random_model(head_scale, torch.bfloat16)
    for asked in (questions, [without_options(question) for question in questions]):
        assert answer(model, asked, 200) == [answer_alone(model, question) for question in asked]


@given(questions_of_options())
def test_packed_rows_can_be_told_apart_again(question: Question) -> None:
    packed = pack(question.rows)
    for row, wanted in zip(question.rows, packed.wanted, strict=True):
        (branch,) = {*packed.branch[wanted].tolist()} - {0} or {0}
        path = (packed.branch == 0) | (packed.branch == branch)
        whole = packed.tokens[path][: len(row.tokens)]
        assert whole.tolist() == row.tokens.tolist()
        assert packed.positions[path][: len(row.tokens)].tolist() == list(range(len(row.tokens)))
        assert packed.tokens[wanted].tolist() == row.tokens[row.start :].tolist()
    assert len(packed.tokens) <= sum(len(row.tokens) for row in question.rows)
    assert (packed.branch[: packed.shared] == 0).all() and (packed.branch[packed.shared :] != 0).all()


def test_what_rows_share_stands_there_once() -> None:
    rows = [Row(np.array(tokens, np.uint16), 0) for tokens in ([1, 2, 3], [1, 2, 4, 5], [1, 2, 3], [1, 2])]
    packed = pack(rows)
    assert packed.tokens.tolist() == [1, 2, 3, 4, 5]  # the third is the first, the fourth begins all
    assert packed.positions.tolist() == [0, 1, 2, 2, 3]
    assert packed.branch.tolist() == [0, 0, 1, 2, 2]
    assert [wanted.tolist() for wanted in packed.wanted] == [[0, 1, 2], [0, 1, 3, 4], [0, 1, 2], [0, 1]]
    apart = pack([Row(np.array(tokens, np.uint16), 0) for tokens in ([1, 2], [3])])
    assert (apart.shared, apart.tokens.tolist(), apart.positions.tolist()) == (0, [1, 2, 3], [0, 1, 0])


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(1, 4000))
def test_batches_hold_every_question_within_the_budget(lengths: list[int], max_tokens: int) -> None:
    packed = [pack([Row(np.zeros(length, np.uint16), 0)]) for length in lengths]
    order = by_length(packed)
    assert sorted(order) == list(range(len(lengths)))
    falling = [lengths[number] for number in order]
    assert falling == sorted(lengths, reverse=True)
    while falling:
        size = batch_size(falling, max_tokens)
        assert 1 <= size <= len(falling)
        assert size == 1 or size * falling[0] <= max_tokens
        batch, falling = falling[:size], falling[size:]
        # little padding, but where the batch would be too small for a device
        assert batch[-1] >= 0.75 * batch[0] or (size - 1) * batch[0] < max_tokens / 8
        # and as many as fit
        assert not falling or falling[0] < 0.75 * batch[0] or (size + 1) * batch[0] > max_tokens


near_scores = st.floats(-1, 1).map(lambda x: x / 2)
drifting = st.floats(0.001, 0.2).flatmap(lambda most: st.tuples(st.just(most), st.floats(-most * 0.99, most * 0.99)))


@given(st.lists(st.tuples(near_scores, drifting), min_size=1, max_size=5), st.data())
def test_scores_that_drift_never_turn_a_decision(
    pairs: list[tuple[float, tuple[float, float]]], data: st.DataObject
) -> None:
    """Whatever a batch does to scores, within the drifts: what it settles is right, and so is what is asked again."""
    alone, allowed = [score for score, _ in pairs], [most for _, (most, _) in pairs]
    batched = [score + drift for score, (_, drift) in pairs]
    gold = data.draw(st.integers(0, len(pairs) - 1))
    question = Question((), (), gold)
    outcome = decide(question, batched, allowed)
    if not isinstance(outcome, bool):
        least = [alone[option] for option in outcome]
        outcome = outcome[least.index(min(least))] == gold
    assert outcome == (alone.index(min(alone)) == gold)
    lead = decide(question._replace(gold=None), batched[:1], allowed)
    assert lead == [0] or lead == (alone[0] > 0)


def test_what_is_no_number_is_asked_again() -> None:
    question = Question((), (), 1)
    assert decide(question, [math.nan, 1.0, math.nan], [0.1] * 3) == [0, 1, 2]
    assert decide(question._replace(gold=None), [math.nan], [0.1]) == [0]


def test_only_what_rounding_could_turn_is_asked_again() -> None:
    question = Question((), (), 0)
    assert decide(question, [1.0, 1.5, 1.1], [0.1] * 3) == [0, 2]  # the second cannot be the likeliest
    assert decide(question, [1.5, 1.0, 1.1], [0.1] * 3) is False  # nor can the right one here, whichever else is
    assert decide(question, [1.0, 1.5, 1.3], [0.1] * 3) is True
    assert decide(question, [1.0, 1.5, 1.3], [0.1, 0.1, 0.3]) == [0, 2]


def test_a_mean_of_more_targets_drifts_less() -> None:
    row = Row(np.zeros(4, np.uint16), 0)
    question = Question((row, row), (row.tokens[:1], row.tokens), 0)
    one, four = drifts(question, torch.bfloat16)
    assert four == one / 2 and one > drifts(question, torch.float32)[0]


def test_of_equal_logits_one_is_the_likeliest() -> None:
    logits = torch.tensor([[1.0, 1.0, 0.0]])
    likeliest = int(logits.argmax(1))
    hits = [float(_leads(logits.clone(), torch.tensor([[target]]))) > 0 for target in range(3)]
    assert hits == [target == likeliest for target in range(3)]


def some_questions() -> list[Question]:
    generator = np.random.default_rng(0)
    questions = []
    for number in range(6):
        prefix = generator.integers(0, VOCABULARY, 20 - number)
        ends = [generator.integers(0, VOCABULARY, 3 + number) for _ in range(3)]
        rows = [np.concatenate([prefix, end]).astype(np.uint16) for end in ends]
        questions.append(
            Question(tuple(Row(row[:-1], len(prefix) - 1) for row in rows), tuple(r[len(prefix) :] for r in rows), 0)
        )
    return questions


@pytest.mark.parametrize("room", [100, 40, 25])  # for two questions, for one, for no more than a row of the longest
def test_memory_that_runs_out_makes_batches_smaller(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full device is what is not there: a trunk that refuses so many tokens stands in for it."""
    model, questions = MODELS[0], some_questions()
    whole = answer(model, questions, 1000)
    trunk, tried = model.trunk, []

    def small(tokens: torch.Tensor, *branches: Branches) -> torch.Tensor:
        tried.append(tokens.numel())
        if tokens.numel() > room:
            raise torch.OutOfMemoryError("full")
        return trunk(tokens, *branches)

    monkeypatch.setattr(model, "trunk", small)
    told: list[int] = []
    assert answer(model, questions, 1000, told.append) == whole
    assert told == sorted(told) and told[-1] == 6
    # nothing that was answered is run again: what ran is each question once
    lengths = [len(pack(question.rows).tokens) for question in questions]
    if room > max(lengths):
        assert sum(n for n in tried if n <= room) <= 1.1 * sum(lengths)
    assert sum(n > room for n in tried) <= 3 + (len(questions) if room <= max(lengths) else 0)


def test_other_errors_are_not_taken_for_full_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(MODELS[0], "trunk", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        answer(MODELS[0], some_questions(), 1000)


def test_close_calls_run_their_contenders_alone_and_equal_rows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, question = MODELS[0], some_questions()[0]
    first, second, third = question.rows
    question = question._replace(rows=(first, second, third, second), targets=(*question.targets, question.targets[0]))
    trunk, ran = model.trunk, []

    def watched(tokens: torch.Tensor, *branches: Branches) -> torch.Tensor:
        ran.append(tokens.tolist())
        return trunk(tokens, *branches)

    monkeypatch.setattr(model, "trunk", watched)
    answer_alone(model, question, [1, 2, 3])
    assert ran == [[second.tokens.tolist()], [third.tokens.tolist()]]


texts = st.text(st.sampled_from(" \n\t.,a1Bé\u00a0\u2028river"), max_size=12)


@settings(max_examples=150)
@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=5), st.sampled_from(KINDS), st.data())
def test_shots_encoded_once_give_the_ids_of_whole_prompts(
    triples: list[tuple[str, str, str]], kind: str, data: st.DataObject
) -> None:
    delimiter = data.draw(st.sampled_from([" ", "\nAnswer: ", "\n"]))
    task = CoreTask("t", kind, Path(), data.draw(st.integers(0, 3)), delimiter, 0.0)  # type: ignore[arg-type]
    examples = [
        {"query": a, "choices": [b, c], "context_options": [a, b], "context": a, "continuation": c + "x", "gold": 0}
        for a, b, c in triples
    ]
    for index, question in enumerate(make_questions(task, examples, TOKENIZER)):
        for row, targets in zip(question.rows, question.targets, strict=True):
            end = targets[-1:]  # the only token that is in no row
            ids = [*row.tokens.tolist(), *end.tolist()]
            text = TOKENIZER.decode(ids[1:])
            assert ids == [TOKENIZER.bos_id, *TOKENIZER.encode(text)]
            if kind == "language_modeling":
                assert text.endswith(examples[index]["continuation"])


def test_a_cpu_takes_batches_that_its_caches_hold() -> None:
    assert token_budget(MODELS[0]) == MOST_TOKENS["cpu"]
