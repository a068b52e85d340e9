"""A tokenizer for tests that needs no training."""

from engine.data.tokenizer import BYTES, Tokenizer


def byte_tokenizer(*words: str) -> Tokenizer:
    """A tokenizer with every byte, and a few words that are merged letter by letter."""
    merges = dict.fromkeys(word[:end].encode() for word in (*words, " the", "ing") for end in range(2, len(word) + 1))
    return Tokenizer([bytes([i]) for i in range(BYTES)] + list(merges))
