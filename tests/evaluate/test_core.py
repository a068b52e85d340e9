"""CORE: nanochat's prompts and scores, many at a time and exactly those of one at a time."""

import math
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from engine.config.layers import from_dict, to_toml
from engine.core.errors import NanosoloError, UsageError
from engine.data.core_bundle import CoreTask, check_setting, find_bundle, read_examples, read_tasks
from engine.data.tokenizer import Tokenizer
from engine.evaluate.core import core
from engine.evaluate.core.core import TaskResult, core_metric, evaluate_core
from engine.evaluate.core.questions import Question, make_questions
from engine.evaluate.core.scoring import answer, answer_alone, batched_scores
from engine.evaluate.row_batches import batches_of_like_length
from engine.events.history import read_history
from engine.events.kinds import Evaluation
from engine.events.log import read_events
from engine.model.branches import Branches
from engine.model.gpt import GPT
from engine.plan.shape import Shape
from engine.run.directory import RunDirectory
from engine.run.stage_context import StageContext
from tests.helpers.byte_tokenizer import byte_tokenizer
from tests.helpers.core_bundle import write_bundle


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return byte_tokenizer("river", " stone", " was left")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("core") / "bundle")


def random_model(vocab_size: int, head_scale: float = 3.0) -> GPT:
    model = GPT(Shape(depth=2, width=128, heads=1, vocab_size=vocab_size, max_seq_len=64))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = head_scale if name == "head.weight" else 1.0
            weight.copy_(torch.empty(weight.shape).normal_(0, scale / math.sqrt(weight.shape[1]), generator=generator))
    return model


def questions_of(task: CoreTask, tokenizer: Tokenizer) -> list[Question]:
    return make_questions(task, read_examples(task, 0), tokenizer)


def full_forward(model: GPT, question: Question) -> tuple[list[float], list[bool]]:
    """Mean nats and whether all targets are the likeliest, from logits of whole rows, as nanochat computes them."""
    nats, hits = [], []
    for row, targets in zip(question.rows, question.targets, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*row.tokens.tolist(), int(targets[-1])]]))[0]
        wanted = torch.tensor(targets.astype("int64"))
        logits = logits[row.start : row.start + len(targets)]
        nats.append(F.cross_entropy(logits, wanted).item())
        hits.append(bool((logits.argmax(1) == wanted).all()))
    return nats, hits


def test_prompts_follow_nanochats_rules(tokenizer: Tokenizer) -> None:
    shown = [
        {"query": "Q1", "choices": ["x", "yes"], "gold": 1},
        {"query": "Q2", "choices": ["no", "x"], "gold": 0},
        {"query": "Q3", "choices": ["so", "sun"], "gold": 0},
    ]
    task = CoreTask("t", "multiple_choice", Path(), 2, "\nA: ", 0.5)
    question = make_questions(task, shown, tokenizer)[2]
    order = random.Random(1234 + 2).sample([0, 1], 2)
    shots = "".join(["Q1\nA: yes\n\n", "Q2\nA: no\n\n"][i] for i in order)
    whole = [
        tokenizer.decode([*row.tokens, *targets[-1:]])
        for row, targets in zip(question.rows, question.targets, strict=True)
    ]
    assert whole == [f"<|bos|>{shots}Q3\nA: so", f"<|bos|>{shots}Q3\nA: sun"]
    assert [tokenizer.decode(t) for t in question.targets] == ["o", "un"]  # what follows the common prefix
    assert question.gold == 0


def test_schema_scores_the_common_end(tokenizer: Tokenizer) -> None:
    task = CoreTask("t", "schema", Path(), 0, " ", 0.5)
    example = {"context_options": ["The cat", "The dog"], "continuation": "ran.", "gold": 1}
    (question,) = make_questions(task, [example], tokenizer)
    assert [tokenizer.decode(t) for t in question.targets] == [" ran.", " ran."]


def test_language_modelling_scores_the_continuation_without_the_blank_before(tokenizer: Tokenizer) -> None:
    task = CoreTask("t", "language_modeling", Path(), 0, " ", 0.0)
    (question,) = make_questions(task, [{"context": " a b ", "continuation": "stone"}], tokenizer)
    assert [tokenizer.decode(t) for t in question.targets] == [" stone"]
    assert tokenizer.decode(question.rows[0].tokens[: question.rows[0].start + 1]) == "<|bos|>a b"
    assert question.gold is None


def test_an_option_that_begins_another_still_has_a_token_to_score(tokenizer: Tokenizer) -> None:
    task = CoreTask("t", "multiple_choice", Path(), 0, " ", 0.5)
    (question,) = make_questions(task, [{"query": "q", "choices": ["a", "a b"], "gold": 0}], tokenizer)
    assert [len(t) for t in question.targets] == [1, 2]


def test_scores_are_those_of_whole_rows(tokenizer: Tokenizer, folder: Path) -> None:
    model = random_model(tokenizer.vocab_size)
    for task in read_tasks(folder):
        questions = questions_of(task, tokenizer)
        found = [pair for batch in batched_scores(model, questions, 700) for pair in zip(*batch, strict=True)]
        assert sorted(number for number, _ in found) == list(range(len(questions)))
        for number, scores in found:
            nats, hits = full_forward(model, questions[number])
            if task.kind == "language_modeling":
                assert [score > 0 for score in scores] == hits
            else:
                assert scores == pytest.approx(nats, abs=1e-4)


@pytest.mark.parametrize("head_scale", [3.0, 0.0, 1e-4])  # clear cases; nothing but ties; close ones
@pytest.mark.parametrize("max_tokens", [1, 100, 5000])
def test_batched_is_exactly_one_at_a_time(
    tokenizer: Tokenizer, folder: Path, head_scale: float, max_tokens: int
) -> None:
    model = random_model(tokenizer.vocab_size, head_scale)
    for task in read_tasks(folder):
        questions = questions_of(task, tokenizer)
        assert answer(model, questions, max_tokens) == [answer_alone(model, q) for q in questions]


def test_a_model_that_knows_the_answers_scores_one(tokenizer: Tokenizer) -> None:
    """Trained on two questions until it answers them: rightness means being right."""
    task = CoreTask("t", "multiple_choice", Path(), 0, " ", 0.5)
    rows = [{"query": f"Q{i}:", "choices": ["A", "B"], "gold": i % 2} for i in range(4)]
    questions = make_questions(task, rows, tokenizer)
    model = random_model(tokenizer.vocab_size, 0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(30):
        loss = torch.zeros(())
        for question in questions:
            logits = model(torch.tensor([question.rows[0].tokens.tolist()]))[0, -1:]
            loss = loss + F.cross_entropy(logits, torch.tensor([int(question.targets[question.gold or 0][0])]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert answer(model, questions, 1000) == [True] * 4
    assert len(questions[0].rows) == 2  # and both options shared one row
    assert questions[0].rows[0].tokens.tolist() == questions[0].rows[1].tokens.tolist()


def test_the_metric_centres_on_the_baseline(tokenizer: Tokenizer, folder: Path) -> None:
    model = random_model(tokenizer.vocab_size, 0.0)  # all options alike: the first is chosen
    told: list[int] = []
    results = []
    for task in read_tasks(folder):
        examples = read_examples(task, 8)
        outcomes = answer(model, make_questions(task, examples, tokenizer), 2000, told.append)
        results.append(TaskResult(task, sum(outcomes) / len(outcomes), len(examples)))
    letters = next(result for result in results if result.task.label == "letters")
    golds = [example["gold"] for example in read_examples(letters.task, 8)]
    assert letters.examples == 8 and letters.accuracy == golds.count(0) / 8
    assert letters.centered == pytest.approx((letters.accuracy - 0.25) / 0.75)
    assert core_metric(results) == pytest.approx(sum(result.centered for result in results) / 4)
    assert told[-1] == 8


def test_the_evaluation_tells_every_task_and_repeats_none(tokenizer: Tokenizer, folder: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.config_file.write_text(to_toml(from_dict({"evaluate": {"core": str(folder), "core_max_per_task": 5}})))
    model = random_model(tokenizer.vocab_size)
    evaluate_core(StageContext(run, "evaluate"), model, tokenizer, 7)
    found = {event.metric: event for event in read_history(run.events_file).evaluations}
    assert set(found) == {"core", "core/choices", "core/letters", "core/schemas", "core/words"}
    assert (found["core/letters"].baseline, found["core/letters"].examples) == (0.25, 5)
    centered_mean = sum((e.value - e.baseline) / (1 - e.baseline) for m, e in found.items() if m != "core") / 4
    assert found["core"].value == pytest.approx(centered_mean)
    # again, with a model that would answer otherwise: the tasks are taken from the events
    evaluate_core(StageContext(run, "evaluate"), random_model(tokenizer.vocab_size, 0.0), tokenizer, 7)
    evaluations = read_history(run.events_file).evaluations
    assert [e.metric for e in evaluations].count("core/choices") == 1
    assert evaluations[-1].value == found["core"].value


def test_only_tasks_that_were_not_asked_are_asked_after_a_resume(
    tokenizer: Tokenizer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.config_file.write_text(to_toml(from_dict({"evaluate": {"core": str(folder), "core_max_per_task": 5}})))
    context = StageContext(run, "evaluate")
    common = {"stage": "evaluate", "seconds": 1.0, "examples": 5}
    for label, step, examples in (("choices", 7, 5), ("letters", 6, 5), ("schemas", 7, 4)):  # the last two: of others
        event = Evaluation(metric=f"core/{label}", step=step, value=0.125, baseline=0.25, **common)  # type: ignore[arg-type]
        context.emit(msgspec.structs.replace(event, examples=examples))
    asked: list[str] = []
    monkeypatch.setattr(
        core, "make_questions", lambda task, *rest: asked.append(task.label) or make_questions(task, *rest)
    )
    evaluate_core(context, random_model(tokenizer.vocab_size), tokenizer, 7)
    assert asked == ["letters", "schemas", "words"]
    found = {(e.metric, e.step): e.value for e in read_history(run.events_file).evaluations}
    values = [found[f"core/{label}", 7] for label in ("choices", "letters", "schemas", "words")]
    baselines = [0.3, 0.25, 0.5, 0.0]
    assert values[0] == 0.125
    assert found["core", 7] == pytest.approx(sum((v - b) / (1 - b) for v, b in zip(values, baselines, strict=True)) / 4)


def test_a_task_that_fits_in_no_memory_costs_a_warning(
    tokenizer: Tokenizer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full device is what is not there: a trunk that refuses long rows stands in for it."""
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.config_file.write_text(to_toml(from_dict({"evaluate": {"core": str(folder), "core_max_per_task": 5}})))
    model = random_model(tokenizer.vocab_size)
    longest = {
        task.label: max(len(row.tokens) for question in questions_of(task, tokenizer) for row in question.rows)
        for task in read_tasks(folder)
    }
    trunk = model.trunk

    def small(tokens: torch.Tensor, *branches: Branches) -> torch.Tensor:
        if tokens.shape[1] > sorted(longest.values())[-2]:
            raise torch.OutOfMemoryError("full")
        return trunk(tokens, *branches)

    monkeypatch.setattr(model, "trunk", small)
    evaluate_core(StageContext(run, "evaluate"), model, tokenizer, 7)
    history = read_history(run.events_file)
    (warning,) = history.warnings
    left_out = max(longest, key=lambda label: longest[label])
    assert warning.code == "core_left_out" and left_out in warning.message
    assert {e.metric for e in history.evaluations} == {f"core/{label}" for label in longest if label != left_out}


def test_a_bundle_that_cannot_be_read_costs_a_warning(tokenizer: Tokenizer, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.config_file.write_text(to_toml(from_dict({"evaluate": {"core": "/nowhere"}})))
    evaluate_core(StageContext(run, "evaluate"), random_model(tokenizer.vocab_size), tokenizer, 7)
    (event,) = read_events(run.events_file)
    assert event.code == "core_left_out" and "/nowhere" in event.message


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(1, 2000))
def test_batches_hold_every_row_once_within_the_budget(lengths: list[int], max_tokens: int) -> None:
    batches = list(batches_of_like_length(lengths, max_tokens))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= max_tokens


def test_where_the_bundle_comes_from(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert find_bundle("off", home) is None
    assert find_bundle("auto", home) is None
    folder = write_bundle(tmp_path / "eval_bundle")
    assert find_bundle(str(folder), home) == folder
    archive = tmp_path / "eval_bundle.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*"):
            file.write(path, path.relative_to(tmp_path))
    unpacked = find_bundle(str(archive), home)
    assert unpacked is not None and [t.label for t in read_tasks(unpacked)] == [t.label for t in read_tasks(folder)]
    unpacked.rename(home / "eval_bundle")
    assert find_bundle("auto", home) == home / "eval_bundle"
    with pytest.raises(UsageError, match=r"evaluate.core = /nowhere"):
        find_bundle("/nowhere", home)


WRONG = ("no.zip", "text.zip", "empty")


def test_a_setting_is_judged_without_fetching_or_unpacking_anything(tmp_path: Path) -> None:
    for right in ("off", "auto", "download", str(write_bundle(tmp_path / "bundle"))):
        check_setting(right)
    archive = tmp_path / "some.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(tmp_path / "bundle" / "core.yaml")
    check_setting(str(archive))
    (tmp_path / "text.zip").write_text("no archive")
    (tmp_path / "empty").mkdir()
    for wrong in ("Off", "/nowhere", "~nobody-of-this-name", "x" * 300, "", *(str(tmp_path / w) for w in WRONG)):
        with pytest.raises(UsageError, match=r"evaluate\.core = .*" + Path(wrong).name):
            check_setting(wrong)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "empty", "some.zip", "text.zip"]


def test_judging_a_setting_needs_no_torch() -> None:
    code = "import sys, engine.data.core_bundle as b; b.check_setting('off'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_damaged_bundle_is_named(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    task = read_tasks(folder)[0]
    task.file.write_text('{"query": "q", "choices": ["a"], "gold": 3}\n')
    with pytest.raises(NanosoloError, match=r"choices.jsonl is damaged: line 1 has gold = 3 for 1 options"):
        read_examples(task, 0)
    baselines = (folder / "eval_meta_data.csv").read_text()
    for baseline in ("100", "nan"):  # nothing could be centered on it
        (folder / "eval_meta_data.csv").write_text(baselines.replace("50.0", baseline))
        with pytest.raises(NanosoloError, match=f"task schemas has a random baseline of {baseline} %"):
            read_tasks(folder)
    (folder / "eval_meta_data.csv").write_text("Eval Task,Random baseline\n")
    with pytest.raises(NanosoloError, match="not a CORE bundle"):
        read_tasks(folder)
    archive = tmp_path / "broken.zip"
    archive.write_bytes(b"PK not really")
    with pytest.raises(NanosoloError, match="is not a zip archive"):
        find_bundle(str(archive), tmp_path)


def test_a_bundle_in_a_shared_cache_is_used_where_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NANOSOLO_DATA", str(tmp_path / "cache"))
    shared = write_bundle(tmp_path / "cache" / "data" / "eval_bundle")
    for setting in ("auto", "download"):
        assert find_bundle(setting, tmp_path / "home" / "data") == shared
    next((shared / "eval_data").rglob("*.jsonl")).unlink()
    assert find_bundle("auto", tmp_path / "home" / "data") is None
