"""A small bundle in the format of CORE, with one task of each kind."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import yaml

THINGS = ("river", "stone", "engine", "bird", "window", "garden", "letter", "bridge", "lamp", "winter", "table")


def examples(count: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    draw = random.Random(seed)

    def sentence(words: int) -> str:
        return " ".join(draw.choices(THINGS, k=words))

    return {
        "choices": [
            {
                "query": f"Question {i}: what is the {sentence(draw.randint(1, 9))}?\nAnswer:",
                "choices": [sentence(draw.randint(1, 4)) for _ in range(draw.randint(2, 4))],
                "gold": draw.randrange(2),
            }
            for i in range(count)
        ],
        "letters": [
            {"query": f"Pick {sentence(3)}. Answer:", "choices": ["A", "B", "C", "D"], "gold": draw.randrange(4)}
            for i in range(count)
        ],
        "schemas": [
            {
                "context_options": [
                    f"The {thing} was near the {sentence(2)} so the {thing}" for thing in sentence(2).split()
                ],
                "continuation": "was left alone.",
                "gold": draw.randrange(2),
            }
            for i in range(count)
        ],
        "words": [
            {"context": f" {sentence(draw.randint(2, 12))} ", "continuation": draw.choice(THINGS)} for i in range(count)
        ],
    }


def write_bundle(folder: Path, count: int = 12, seed: int = 0) -> Path:
    """The bundle as files: core.yaml, eval_meta_data.csv and eval_data."""
    kinds = {
        "choices": ("multiple_choice", 3, "\n", 30.0),
        "letters": ("multiple_choice", 1, " ", 25.0),
        "schemas": ("schema", 0, " ", 50.0),
        "words": ("language_modeling", 2, " ", 0.0),
    }
    (folder / "eval_data").mkdir(parents=True)
    tasks = []
    for label, (kind, shots, delimiter, _) in kinds.items():
        entry: dict[str, Any] = {"label": label, "dataset_uri": f"{label}.jsonl", "num_fewshot": [shots]}
        entry["icl_task_type"] = kind
        if delimiter != " ":
            entry["continuation_delimiter"] = delimiter
        tasks.append(entry)
    for label, rows in examples(count, seed).items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "eval_data" / f"{label}.jsonl").write_text(lines, encoding="utf-8")
    (folder / "core.yaml").write_text(yaml.safe_dump({"icl_tasks": tasks}), encoding="utf-8")
    with (folder / "eval_meta_data.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Eval Task", "Task Category", "Random baseline"])
        writer.writerows([label, "test", kind[3]] for label, kind in kinds.items())
    return folder
