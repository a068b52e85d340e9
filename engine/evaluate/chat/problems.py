"""Problems with known answers: their prompts, and how an answer is graded."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.chat_sections import ChatTask
from engine.core.errors import NanosoloError
from engine.core.progress import Progress, silent
from engine.data.chat import builtin_conversations
from engine.data.chat.conversation import Conversation, Malformed, Message
from engine.data.chat.formats import Choice, arc_choice, from_gsm8k, gsm8k_answer, mmlu_choice
from engine.data.corpora.corpus import Split
from engine.data.hub import chat_datasets
from engine.data.order import permutation
from engine.evaluate.chat.sandbox import passes

_ORDER_SEED = 42  # of the shuffle that a limit takes the beginning of


class Problem(NamedTuple):
    """One question: multiple choice, where it has `choices`; else `is_right` grades the generated text."""

    prompt: Conversation  # the last message is the user's
    choices: tuple[str, ...] = ()  # letters
    answer: str = ""  # the right choice
    is_right: Callable[[str], bool] | None = None


class ChatProblems(NamedTuple):
    """The problems of one metric."""

    metric: str
    baseline: float  # accuracy of guessing
    problems: list[Problem]


# (dataset, files) of the hub
_FILES: dict[str, tuple[str, str]] = {
    "arc-easy": ("allenai/ai2_arc", "ARC-Easy/test-*.parquet"),
    "arc-challenge": ("allenai/ai2_arc", "ARC-Challenge/test-*.parquet"),
    "mmlu": ("cais/mmlu", "all/test-*.parquet"),
    "gsm8k": ("openai/gsm8k", "main/test-*.parquet"),
    "humaneval": ("openai/openai_humaneval", "openai_humaneval/test-*.parquet"),
}


def prepare_task(task: ChatTask, data_home: Path, progress: Progress = silent) -> None:
    """Make the task's problems available here. Raises NanosoloError."""
    if task in _FILES:
        chat_datasets.fetch(*_FILES[task], data_home, progress)


def load_problems(task: ChatTask, data_home: Path, limit: int) -> list[ChatProblems]:
    """The task's held-out problems by metric, at most `limit` of each (0: all) from a fixed shuffle."""
    if task == "builtin":
        return [
            ChatProblems(f"chat/{kind}", 0.0, _some(list(builtin_problems(kind, "validation")), limit))
            for kind in ("arithmetic", "spelling")
        ]
    convert: Callable[[Mapping[str, Any]], Problem] = {
        "arc-easy": lambda row: _of_choice(arc_choice(row)),
        "arc-challenge": lambda row: _of_choice(arc_choice(row)),
        "mmlu": lambda row: _of_choice(mmlu_choice(row)),
        "gsm8k": gsm8k_problem,
        "humaneval": _humaneval_problem,
    }[task]
    found = []
    for row in chat_datasets.read_rows(chat_datasets.fetch(*_FILES[task], data_home)):
        try:
            found.append(convert(row))
        except Malformed:
            continue  # a row without an answer cannot be graded
    if not found:
        raise NanosoloError(
            f"{_FILES[task][0]} holds no problems that can be read. Leave {task} out of chat_eval.tasks."
        )
    baseline = 0.25 if found[0].choices else 0.0
    return [ChatProblems(f"chat/{task}", baseline, _some(found, limit))]


def training_problems(task: str, data_home: Path, split: Split, progress: Progress = silent) -> list[Problem]:
    """The problems to learn from by reward, or to measure that on. Raises NanosoloError."""
    if task == "arithmetic":
        return list(builtin_problems("arithmetic", split))
    name = {"train": "train", "validation": "test"}[split]
    found = []
    for row in chat_datasets.read_rows(
        chat_datasets.fetch("openai/gsm8k", f"main/{name}-*.parquet", data_home, progress)
    ):
        try:
            found.append(gsm8k_problem(row))
        except Malformed:
            continue  # without an answer there is no reward
    return found


def builtin_problems(kind: builtin_conversations.Kind, split: Split) -> Iterator[Problem]:
    """The built-in problems of a kind: an answer is right when its last word is."""
    for example in builtin_conversations.examples(split):
        if example.kind == kind:
            yield Problem(example.conversation[:1], is_right=_ends_with(example.answer))


def gsm8k_problem(row: Mapping[str, Any]) -> Problem:
    """A problem of GSM8K: the number after #### must be the same."""
    wanted = gsm8k_answer(str(row.get("answer")))
    if wanted is None:
        raise Malformed("the answer has no ####")
    return Problem(from_gsm8k(row)[:1], is_right=lambda text: gsm8k_answer(text) == wanted)


def _ends_with(answer: str) -> Callable[[str], bool]:
    return lambda text: text.split()[-1:] == [answer]


def _of_choice(choice: Choice) -> Problem:
    return Problem((Message("user", choice.question),), choice.letters, choice.answer)


def _humaneval_problem(row: Mapping[str, Any]) -> Problem:
    """A function to complete: the program of the answer must pass the problem's tests."""
    prompt, test, name = (str(row.get(key, "")) for key in ("prompt", "test", "entry_point"))
    if not (prompt and test and name):
        raise Malformed("prompt, test or entry_point is missing")
    imports = "\n".join(line for line in prompt.splitlines() if line.startswith(("import ", "from ")))
    return Problem(
        (Message("user", prompt),),
        is_right=lambda text: passes(f"{imports}\n\n{program_of(text)}\n\n{test}\n\ncheck({name})\n"),
    )


def program_of(text: str) -> str:
    """The program in an answer: its first fenced block, else all of it."""
    before, fence, rest = text.partition("```")
    if not fence:
        return before
    language, newline, body = rest.partition("\n")
    return (body if newline and language.strip() in ("", "py", "python", "python3") else rest).partition("```")[0]


def _some(problems: list[Problem], limit: int) -> list[Problem]:
    if not limit or limit >= len(problems):
        return problems
    return [problems[i] for i in permutation(len(problems), _ORDER_SEED, 0)[:limit]]
