"""What is known of text, conversations, problems and CORE before they are read: how much there is, and how long.

Counts are those that the datasets state. Lengths are in tokens at a vocabulary of 65,536 and, but for the built-in
ones, estimates from their usual length in words.
"""

import math
import re
from typing import NamedTuple

from engine.config.chat_sections import ChatTask

# FineWeb-Edu as nanochat shards it.
CHARS_PER_TOKEN = 4.8  # English web text at a vocabulary of 65,536
CHARS_PER_SHARD = 250_000_000
SHARD_BYTES = 100_000_000  # compressed, on disk
TRAINING_SHARDS = 1_822  # of 1,823; the last is the pinned validation shard
BYTES_PER_TOKEN = 2  # uint16 token files

BUILTIN_CHARS = 3_000_000  # of the text that Python carries


class Conversations(NamedTuple):
    """One source of conversations."""

    train: int
    tokens: int  # mean of one
    validation: int


class Problems(NamedTuple):
    """Problems of one metric."""

    number: int
    prompt: int  # mean tokens
    longest_prompt: int
    answer: int  # mean tokens that a trained model writes; 0 where only a letter is chosen


CONVERSATIONS: dict[str, Conversations] = {
    "smoltalk": Conversations(460_341, 760, 24_229),
    "mmlu": Conversations(99_842, 300, 14_042),
    "gsm8k": Conversations(7_473, 190, 1_319),
    "arc-easy": Conversations(2_251, 80, 570),
    "arc-challenge": Conversations(1_119, 90, 299),
    "builtin": Conversations(2_379, 31, 233),  # counted
}

CHAT_PROBLEMS: dict[ChatTask, tuple[Problems, ...]] = {
    "builtin": (Problems(135, 14, 18, 18), Problems(57, 15, 18, 17)),  # sums and words, counted
    "arc-easy": (Problems(2_376, 80, 300, 0),),
    "arc-challenge": (Problems(1_172, 90, 300, 0),),
    "mmlu": (Problems(14_042, 150, 1_500, 0),),
    "gsm8k": (Problems(1_319, 80, 280, 150),),
    "humaneval": (Problems(164, 180, 500, 150),),
}

# (to learn from, held out)
RL_PROBLEMS: dict[str, tuple[Problems, Problems]] = {
    "gsm8k": (Problems(7_473, 80, 280, 150), Problems(1_319, 80, 280, 150)),
    "arithmetic": (Problems(1_177, 14, 18, 17), Problems(135, 14, 18, 18)),
}

# Questions of CORE's 22 tasks, in the order of its list (llm-foundry's EVAL_GAUNTLET.md and the datasets).
CORE_QUESTIONS = (
    *(10_042, 2_117, 20_321, 2_376, 1_172, 100, 1_221, 1_838, 500, 5_153, 10_042),
    *(273, 1_267, 1_000, 230, 1_320, 210, 32, 10_570, 7_983, 3_270, 10_000),
)
CORE_TOKENS = 740  # of one question, its examples once and each of its options: counted in bench/results/core.json
CORE_BYTES = 160_000_000  # of the archive


def shards_needed(tokens: int) -> int:
    """Training shards of FineWeb-Edu that hold this many tokens."""
    return math.ceil(tokens * CHARS_PER_TOKEN / CHARS_PER_SHARD)


class Amount(NamedTuple):
    """Conversations of several sources together."""

    tokens: int  # of one epoch
    validation: int


def conversations_in(sources: tuple[str, ...]) -> Amount | None:
    """What these sources hold, `name:most` limited; None where one of them says nothing before it is read."""
    tokens, validation = 0, {}
    for source in sources:
        limited = re.fullmatch(r"(.+):(\d+)", source)
        name = limited[1] if limited else source
        known = CONVERSATIONS.get(name)
        if known is None:
            return None
        tokens += known.tokens * (min(known.train, int(limited[2])) if limited else known.train)
        validation[name] = known.tokens * known.validation
    return Amount(tokens, sum(validation.values()))


def core_questions(most: int) -> int:
    """Questions of CORE with at most so many of a task (0: all)."""
    return sum(min(count, most) if most else count for count in CORE_QUESTIONS)


def is_remote(source: str) -> bool:
    """Whether a source of conversations is a dataset of the hub."""
    name = source.partition(":")[0]
    return name == "hf" or (name in CONVERSATIONS and name != "builtin")
