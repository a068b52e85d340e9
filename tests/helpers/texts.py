"""A corpus for tests: real files in a folder, read by the normal reader."""

import json
import random
from pathlib import Path

from engine.data.corpora.local import LocalCorpus

WORDS = (
    "the model reads a token and guesses the next one while every layer adds what it has learned from text that people "
    "wrote about rivers, mountains, numbers and old machines; sometimes it is right, often it is not yet"
)


def sentences(count: int, seed: int = 0) -> list[str]:
    """Distinct documents of 5 to 60 words."""
    source = random.Random(seed)
    return [f"{i}: " + " ".join(source.choices(WORDS.split(), k=source.randint(5, 60))) + "." for i in range(count)]


def corpus_of(folder: Path, texts: list[str], validation_fraction: float = 0.1) -> LocalCorpus:
    """The texts as one .jsonl file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return LocalCorpus([str(path)], "text", validation_fraction)
