"""A bundle with the shots, lengths and numbers of CORE's 22 tasks, filled with text from the Python installation.

Shots, delimiters, options and numbers of examples are CORE's. Lengths are drawn log-normally through the 10 %, 50 % and
90 % quantiles of the tasks' own files; those of HellaSwag, SQuAD and CoQA are estimates from what was published.
"""

import csv
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from engine.data.core_bundle import TaskKind
from engine.data.corpora.builtin_corpus import BuiltinCorpus

Quantiles = tuple[int, int, int]  # characters at 10 %, 50 % and 90 % of the texts

LETTERS = ("A", "B", "C", "D")
ANSWER = "\nAnswer: "


class Shape(NamedTuple):
    """The figures of one task."""

    label: str
    kind: TaskKind
    shots: int
    delimiter: str
    baseline: float  # percent
    examples: int
    question: Quantiles
    answer: Quantiles = (1, 1, 1)
    options: int = 0
    fixed: tuple[str, ...] = ()  # options that are the same in every question
    style: str = "prose"  # or foreign, capitals, brackets: text that takes more tokens


MC: TaskKind = "multiple_choice"
LM: TaskKind = "language_modeling"
SHAPES = (
    Shape("hellaswag_zeroshot", MC, 0, " ", 25, 10042, (70, 200, 400), (40, 110, 250), 4),
    Shape("jeopardy", LM, 10, ANSWER, 0, 2117, (75, 100, 119), (5, 10, 18)),
    Shape("bigbench_qa_wikidata", LM, 10, " ", 0, 20321, (26, 37, 50), (5, 6, 9)),
    Shape("arc_easy", MC, 10, ANSWER, 25, 2376, (56, 102, 222), (6, 17, 46), 4),
    Shape("arc_challenge", MC, 10, ANSWER, 25, 1172, (60, 122, 247), (7, 27, 53), 4),
    Shape("copa", MC, 0, " ", 50, 100, (29, 44, 56), (17, 28, 41), 2),
    Shape("commonsense_qa", MC, 10, " ", 25, 1221, (116, 143, 186), fixed=LETTERS),
    Shape("piqa", MC, 10, ANSWER, 50, 1838, (21, 46, 70), (24, 65, 214), 2),
    Shape("openbook_qa", MC, 0, " ", 25, 500, (21, 45, 96), (5, 13, 34), 4),
    Shape("lambada_openai", LM, 0, " ", 0, 5153, (247, 306, 397), (4, 5, 8)),
    Shape("hellaswag", MC, 10, " ", 25, 10042, (70, 200, 400), (40, 110, 250), 4),
    Shape("winograd", "schema", 0, " ", 50, 273, (41, 64, 110), (5, 18, 35), 2),
    Shape("winogrande", "schema", 0, " ", 50, 1267, (60, 79, 107), (10, 22, 42), 2),
    Shape("bigbench_dyck_languages", LM, 10, " ", 0, 1000, (113, 135, 247), (1, 3, 5), style="brackets"),
    Shape("agi_eval_lsat_ar", MC, 3, " ", 25, 230, (692, 869, 1095), fixed=LETTERS),
    Shape("bigbench_cs_algorithms", LM, 10, " ", 0, 1320, (106, 138, 166), (1, 5, 7), style="capitals"),
    Shape("bigbench_operators", LM, 10, " ", 0, 210, (102, 126, 158), (1, 2, 3)),
    Shape("bigbench_repeat_copy_logic", LM, 10, " ", 0, 32, (73, 100, 134), (31, 74, 139)),
    Shape("squad", LM, 10, " ", 0, 10570, (500, 750, 1250), (5, 14, 40)),
    Shape("coqa", LM, 0, " ", 0, 7983, (1300, 1900, 2700), (3, 10, 30)),
    Shape("boolq", MC, 10, ANSWER, 62, 3270, (293, 560, 1007), fixed=("no", "yes")),
    Shape("bigbench_language_identification", MC, 10, " ", 25, 10000, (179, 273, 428), fixed=LETTERS, style="foreign"),
)


class Writer:
    """Draws texts of given lengths."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._words = " ".join(BuiltinCorpus(0.02).documents("train")).split()

    def text(self, lengths: Quantiles, style: str = "prose") -> str:
        """A text."""
        low, middle, high = lengths
        spread = math.log(max(high, low + 1) / low) / 2.563  # standard deviations between the quantiles
        characters = middle * math.exp(self.random.gauss(0, spread))
        place = self.random.randrange(len(self._words) - 4_000)
        words, length = [], 0
        while length < characters or not words:
            word = self._styled(self._words[place + len(words)], style)
            words.append(word)
            length += len(word) + 1
        return " ".join(words)

    def _styled(self, word: str, style: str) -> str:
        if style == "prose":
            return word
        if style == "brackets":
            return self.random.choice("()[]{}<>")
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if style == "capitals" else "aeiouáéíóúñçãwkzjhy"
        return "".join(self.random.choices(alphabet, k=12 if style == "capitals" else max(2, len(word))))


def examples(shape: Shape, count: int, writer: Writer) -> Iterator[dict[str, Any]]:
    """`count` examples of a task."""
    for _ in range(count):
        question = writer.text(shape.question, shape.style)
        if shape.kind == "language_modeling":
            yield {"context": question, "continuation": writer.text(shape.answer)}
        elif shape.kind == "schema":
            contexts = [f"{question} the {writer.text((4, 6, 9))}" for _ in range(shape.options)]
            yield {"context_options": contexts, "continuation": writer.text(shape.answer), "gold": 0}
        else:
            choices = list(shape.fixed) or [writer.text(shape.answer) for _ in range(shape.options)]
            yield {"query": question, "choices": choices, "gold": writer.random.randrange(len(choices))}


def write_bundle(folder: Path, most: int, seed: int = 0) -> Path:
    """The bundle as files, with at most `most` examples of a task."""
    writer = Writer(seed)
    (folder / "eval_data").mkdir(parents=True)
    tasks = []
    for shape in SHAPES:
        lines = [json.dumps(example) + "\n" for example in examples(shape, min(most, shape.examples), writer)]
        (folder / "eval_data" / f"{shape.label}.jsonl").write_text("".join(lines), encoding="utf-8")
        tasks.append(
            {
                "label": shape.label,
                "dataset_uri": f"{shape.label}.jsonl",
                "num_fewshot": [shape.shots],
                "icl_task_type": shape.kind,
                "continuation_delimiter": shape.delimiter,
            }
        )
    (folder / "core.yaml").write_text(yaml.safe_dump({"icl_tasks": tasks}), encoding="utf-8")
    with (folder / "eval_meta_data.csv").open("w", encoding="utf-8", newline="") as file:
        writer_of_csv = csv.writer(file)
        writer_of_csv.writerow(["Eval Task", "Random baseline"])
        writer_of_csv.writerows([shape.label, shape.baseline] for shape in SHAPES)
    return folder
