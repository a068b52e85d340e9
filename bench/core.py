"""Compare CORE in batches with shared beginnings and one question at a time: time, work, and effects of rounding.

Run: python bench/core.py --run RUN. It writes bench/results/core.json. The bundle is bench/core_bundle.py's:
shaped like the real one, made up in text. Three parts:

- work: tokens through the blocks and FLOPs of both ways, for all questions at 500 a task. Ratios that hold anywhere.
- speed: both ways alternating, per task, on as many questions as a budget of tokens allows; totals weight a task by its
  questions. One at a time is nanochat's way: a question's options as one padded batch, logits of every position.
- drift: how far a batch moves a score from its row's alone, the share of questions that are answered again for that,
  and whether every decision is that of one at a time. With --run on that run's trained model, else on a random one of
  the first of --models.

Exits with 1 where a decision differs or a score drifts further than half of what is allowed for.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from core_bundle import write_bundle
from core_work import Asked, counts, shape_at, whole_rows, work
from provenance import provenance

from engine.checkpoint.checkpoint import load_model
from engine.checkpoint.selection import choose_checkpoint
from engine.config.schema import TokenizerConfig
from engine.data.core_bundle import read_examples, read_tasks
from engine.data.corpora.builtin_corpus import BuiltinCorpus
from engine.data.tokenizer import Tokenizer, train_tokenizer
from engine.device.allocator import settle_allocator
from engine.evaluate.core.questions import Question, make_questions
from engine.evaluate.core.scoring import answer, batched_scores, decide, drifts, scores_alone
from engine.evaluate.row_batches import token_budget
from engine.model.gpt import GPT
from engine.plan.shape import Shape
from engine.run.directory import find_run
from engine.run.environment import prepare_this_process

RESULTS = Path(__file__).parent / "results" / "core.json"
MOST = 500  # questions per task, the default of evaluate.core_max_per_task
LARGEST = 32_768  # the largest vocabulary that the built-in text gives


def asked(folder: Path, tokenizer: Tokenizer) -> list[Asked]:
    """All tasks, as they are evaluated."""
    found = []
    for task in read_tasks(folder):
        examples = read_examples(task, MOST)
        began = time.process_time()
        questions = make_questions(task, examples, tokenizer)
        found.append(Asked(task, questions, time.process_time() - began))
    return found


def random_model(shape: Shape, device: str, dtype: torch.dtype | None = None, logits: float = 1.0) -> GPT:
    """A model without zero weights, whose logits have this standard deviation."""
    model = GPT(shape, device=device, compute_dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = 1.0 if name == "embedding.weight" else weight.shape[1] ** -0.5
            scale *= logits if name == "head.weight" else 1.0
            weight.copy_(torch.empty(weight.shape).normal_(0, scale, generator=generator))
    return model.to(model.compute_dtype).eval()


# --- one question at a time, as nanochat does it ---


@torch.no_grad()
def one_at_a_time(model: GPT, question: Question) -> bool:
    """A question by one forward pass over its options, with the loss and the most likely token of every position."""
    rows = whole_rows(question)
    longest = max(map(len, rows))
    padded = np.zeros((len(rows), longest), np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    tokens = torch.from_numpy(padded).to(model.device)
    logits = model(tokens)
    following = torch.roll(tokens, -1, 1)
    nats = F.cross_entropy(logits.flatten(0, 1), following.flatten(), reduction="none").view(len(rows), longest)
    top = logits.argmax(-1)
    spans = [slice(row.start, len(row.tokens)) for row in question.rows]
    if question.gold is None:
        return bool((top[0, spans[0]] == following[0, spans[0]]).all())
    means = [nats[place, span].mean().item() for place, span in enumerate(spans)]
    return means.index(min(means)) == question.gold


# --- speed ---


def race(model: GPT, questions: list[Question], rounds: int) -> tuple[dict[str, list[list[float]]], bool]:
    """(wall, CPU) seconds of each round of both methods, in turn, and whether all their answers are equal."""
    clocks = (time.perf_counter, time.process_time)
    sides = {
        "one_at_a_time": lambda: [one_at_a_time(model, question) for question in questions],
        "ours": lambda: answer(model, questions, token_budget(model)),
    }
    seconds: dict[str, list[list[float]]] = {name: [] for name in sides}
    same = True
    for turn in range(rounds + (model.device.type == "cuda")):  # the first round on a GPU warms up
        answers = {}
        for name, side in sides.items():
            before = [clock() for clock in clocks]
            answers[name] = side()
            after = [clock() for clock in clocks]
            if turn >= (model.device.type == "cuda"):
                seconds[name].append([b - a for a, b in zip(before, after, strict=True)])
        same = same and answers["ours"] == answers["one_at_a_time"]
    return seconds, same


def speed(tasks: Sequence[Asked], model: GPT, tokens: int, rounds: int) -> dict[str, Any]:
    """Seconds of both methods for each question of each task, and of all tasks together."""
    rows = []
    whole = {name: [0.0, 0.0] for name in ("one_at_a_time", "ours")}
    kinds: dict[str, dict[str, float]] = {}
    for task, questions, _ in tasks:
        each = sum(counts(question)[0][0] for question in questions) / len(questions)
        some = questions[: max(2, min(len(questions), int(tokens / each)))]
        seconds, same = race(model, some, rounds)
        middle = {
            name: [statistics.median(column) / len(some) for column in zip(*s, strict=True)]
            for name, s in seconds.items()
        }
        for name, (wall, processor) in middle.items():
            whole[name][0] += wall * len(questions)
            whole[name][1] += processor * len(questions)
            kind = kinds.setdefault(task.kind, {"one_at_a_time": 0.0, "ours": 0.0})
            kind[name] += processor * len(questions)
        rows.append(
            {
                "task": task.label,
                "kind": task.kind,
                "questions": len(some),
                "seconds_per_question": {
                    name: dict(zip(("wall", "processor"), s, strict=True)) for name, s in middle.items()
                },
                "times_faster": {
                    clock: middle["one_at_a_time"][i] / middle["ours"][i]
                    for i, clock in enumerate(("wall", "processor"))
                },
                "same_answers_as_padded": same,
            }
        )
        print(
            f"  {task.label:34}{rows[-1]['times_faster']['processor']:7.2f} times ({len(some)} questions)", flush=True
        )
    return {
        "depth": model.shape.depth,
        "vocab_size": model.shape.vocab_size,
        "max_tokens": token_budget(model),
        "tasks": rows,
        "kinds": {kind: s["one_at_a_time"] / s["ours"] for kind, s in kinds.items()},
        "times_faster": {
            clock: whole["one_at_a_time"][i] / whole["ours"][i] for i, clock in enumerate(("wall", "processor"))
        },
        "whole_core_minutes": {name: s[0] / 60 for name, s in whole.items()},
    }


def preparing(tasks: Sequence[Asked], tokenizer: Tokenizer) -> dict[str, float]:
    """CPU seconds to encode all questions: each complete prompt, and with shared parts."""
    seconds = 0.0
    for _, questions, _ in tasks:
        some = questions[:10]
        texts = [tokenizer.decode(row[1:].tolist()) for question in some for row in whole_rows(question)]
        began = time.process_time()
        for text in texts:
            tokenizer.encode(text)
        seconds += (time.process_time() - began) * len(questions) / len(some)
    ours = sum(a.seconds for a in tasks)
    return {"one_at_a_time_seconds": seconds, "ours_seconds": ours, "times_faster": seconds / ours}


# --- drift ---


def drift(tasks: Sequence[Asked], model: GPT, tokens: int) -> dict[str, Any]:
    """How batching changes scores, and whether all decisions are the same as one question at a time."""
    moved: dict[str, list[float]] = {"nats": [], "leads": []}
    used: dict[str, list[float]] = {"nats": [], "leads": []}
    questions, again, rows_again, different = 0, 0, 0, 0
    for _, of_task, _ in tasks:
        each = sum(counts(question)[0][0] for question in of_task) / len(of_task)
        some = of_task[: max(2, min(len(of_task), int(tokens / each)))]
        questions += len(some)
        alone = [scores_alone(model, question, range(len(question.rows))) for question in some]
        outcomes = answer(model, some, token_budget(model))
        for numbers, scores in batched_scores(model, some, token_budget(model)):
            for number, found in zip(numbers, scores, strict=True):
                question, allowed = some[number], drifts(some[number], model.compute_dtype)
                figure = "leads" if question.gold is None else "nats"
                apart = [abs(a - b) for a, b in zip(found, alone[number], strict=True)]
                moved[figure] += apart
                used[figure] += [a / b for a, b in zip(apart, allowed, strict=True)]
                outcome = decide(question, found, allowed)
                if not isinstance(outcome, bool):
                    again, rows_again = (
                        again + 1,
                        rows_again + len({question.rows[o].tokens.tobytes() for o in outcome}),
                    )
                right = alone[number][0] > 0 if question.gold is None else best(alone[number]) == question.gold
                different += right != outcomes[number]
    return {
        "depth": model.shape.depth,
        "vocab_size": model.shape.vocab_size,
        "dtype": str(model.compute_dtype).removeprefix("torch."),
        "questions": questions,
        "nats": spread(moved["nats"]) | {"most_of_allowed": max(used["nats"])},
        "leads": spread(moved["leads"]) | {"most_of_allowed": max(used["leads"])},
        "asked_again": again / questions,
        "rows_asked_again": rows_again,
        "different_decisions": different,
    }


def best(scores: list[float]) -> int:
    """The index of the smallest value, the first of equals."""
    return scores.index(min(scores))


def spread(moved: list[float]) -> dict[str, float]:
    """How much scores changed."""
    return {
        "scores": len(moved),
        "median": float(np.median(moved)),
        "99.9 %": float(np.quantile(moved, 0.999)),
        "most": max(moved),
    }


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="name or path of a run, for its pretrained model and tokenizer")
    parser.add_argument(
        "--models", nargs="+", default=["4:4096", "4:65536", "8:4096", "8:65536"], help="depth:vocabulary"
    )
    parser.add_argument("--tokens", type=int, default=10_000, help="of each task, one at a time, for speed")
    parser.add_argument("--drift-tokens", type=int, default=20_000, help="of each task, one at a time, for drift")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    options = read_options()
    prepare_this_process()
    settle_allocator(options.device, print)
    torch.set_num_threads(options.threads)
    dtypes = [torch.bfloat16] if options.device == "cuda" else [torch.float32, torch.bfloat16]
    shapes = [tuple(map(int, model.split(":"))) for model in options.models]
    run = find_run(options.run) if options.run else None
    checkpoint = choose_checkpoint(run, "pretrain").path if run else None

    about: dict[str, Any] = {
        **provenance(options.device, ("nanosolo", "torch", "tiktoken")),
        "bundle": f"bench/core_bundle.py, at most {MOST} examples of a task, in tokens of a vocabulary of at most "
        f"{LARGEST:,}, whichever the model's",
        "work": [],
        "preparing": [],
        "speed": [],
        "drift": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(Path(folder) / "bundle", MOST)
        by_vocabulary = {}
        for vocab_size in sorted({vocab_size for _, vocab_size in shapes}):
            tokenizer = train_tokenizer(BuiltinCorpus(0.02), TokenizerConfig(vocab_size=min(vocab_size, LARGEST)))
            tasks = by_vocabulary[vocab_size] = asked(bundle, tokenizer)
            about["work"].append(work(tasks, (4, 8, 12, 20, 26), vocab_size))
            about["preparing"].append({"vocab_size": tokenizer.vocab_size} | preparing(tasks, tokenizer))
            print(f"V = {vocab_size}: {about['work'][-1]['all']}, {about['work'][-1]['fewer_flops']}")
        held = True
        for dtype in dtypes:
            if run is not None and checkpoint is not None:
                model = load_model(checkpoint, options.device)
                model = model.to(dtype) if dtype != model.compute_dtype else model
                tasks = asked(bundle, Tokenizer.load(run.tokenizer))
            else:
                depth, vocab_size = shapes[0]
                model = random_model(shape_at(depth, vocab_size), options.device, dtype, logits=3.0)
                tasks = by_vocabulary[vocab_size]
            few = options.drift_tokens // (8 if options.device == "cpu" and dtype == torch.bfloat16 else 1)
            about["drift"].append({"trained": checkpoint is not None} | drift(tasks, model, few))
            print(about["drift"][-1], flush=True)
            most = max(about["drift"][-1][figure]["most_of_allowed"] for figure in ("nats", "leads"))
            held = held and most <= 0.5 and about["drift"][-1]["different_decisions"] == 0
        for depth, vocab_size in shapes:
            print(f"depth {depth}, V = {vocab_size}")
            model = random_model(shape_at(depth, vocab_size), options.device)
            about["speed"].append(speed(by_vocabulary[vocab_size], model, options.tokens, options.rounds))
            print(about["speed"][-1]["times_faster"], about["speed"][-1]["kinds"], flush=True)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(about, indent=2) + "\n")
    sys.exit(not held)


if __name__ == "__main__":
    main()
