"""The tokenizer in the file format of the `tokenizers` library, with the same ids for every text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine.core.errors import UsageError
from engine.data.tokenizer import BYTES, SPECIAL_TOKENS, SPLIT_PATTERN, Tokenizer


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The contents of tokenizer.json: byte-level BPE with our split pattern and special tokens."""
    letters = byte_letters()
    vocabulary = {_spell(token, letters): i for i, token in enumerate(tokenizer.tokens)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for name, i in tokenizer.special_ids.items()
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": SPLIT_PATTERN}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,  # a piece that is a token is that token
            "vocab": vocabulary,
            "merges": [[_spell(left, letters), _spell(right, letters)] for left, right in merges(tokenizer.tokens)],
        },
    }


def merges(tokens: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    """Every pair of tokens that makes up a third, in the order of the third's id.

    tiktoken joins two neighbors whenever what they spell is a token, the lowest id first, however that token came
    about in training; so all ways to cut a token in two are listed, not only the one that was learned.
    """
    known = {token: i for i, token in enumerate(tokens)}
    for token in tokens[BYTES:]:
        cuts = [(token[:at], token[at:]) for at in range(1, len(token))]
        yield from sorted(
            (cut for cut in cuts if cut[0] in known and cut[1] in known), key=lambda cut: (known[cut[0]], known[cut[1]])
        )


def byte_letters() -> list[str]:
    """The visible letter by which byte-level vocabularies spell each byte: itself where that is printable Latin-1,
    else the next letter from U+0100 on (Radford et al. 2019, GPT-2)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(BYTES)]


def read_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer from our own tokenizer.json or one that `tokenizer_json` or `transformers` wrote for such a model.

    Raises UsageError where it is neither, or splits text in another way.
    """
    try:
        content = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"--tokenizer {path}: {error.strerror or error}. Give a tokenizer.json.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"--tokenizer {path}: not JSON ({error}). Give a tokenizer.json.") from None
    if isinstance(content, dict) and "pattern" in content:
        return Tokenizer.load(path.parent)
    try:
        tokens = _tokens_of(content)
        return Tokenizer(tokens)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise UsageError(
            f"--tokenizer {path}: not a byte-level vocabulary with nanochat's pattern and special tokens "
            f"({error!s:.80})."
        ) from None


def _tokens_of(content: Any) -> list[bytes]:
    """The byte strings by id. Raises an exception of Python's own where the contents are of another form."""
    patterns = [part["pattern"]["Regex"] for part in content["pre_tokenizer"]["pretokenizers"] if "pattern" in part]
    if patterns != [SPLIT_PATTERN]:
        raise ValueError("another split pattern")
    bytes_of = {letter: byte for byte, letter in enumerate(byte_letters())}
    special = {entry["content"]: entry["id"] for entry in content["added_tokens"]}
    vocabulary = {name: i for name, i in content["model"]["vocab"].items() if name not in special}
    size = len(vocabulary)
    if special != {name: size + i for i, name in enumerate(SPECIAL_TOKENS)}:
        raise ValueError("other special tokens")
    tokens = [b""] * size
    for name, i in vocabulary.items():
        tokens[i] = bytes(bytes_of[letter] for letter in name)
    return tokens


def _spell(token: bytes, letters: list[str]) -> str:
    return "".join(letters[byte] for byte in token)
