"""The byte-pair encoding: trained by rustbpe, applied by tiktoken, stored as one JSON file."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from engine.config.schema import MAX_VOCAB_SIZE, TokenizerConfig
from engine.core.atomic_io import NOT_JSON, write_atomically
from engine.core.errors import NanosoloError, UsageError
from engine.core.progress import Progress, Reporter, silent
from engine.data.corpora.corpus import Corpus, short_hash
from engine.run.cpu_threads import worker_threads

BYTES = 256  # the first tokens: every byte by itself, so that any text can be encoded

SPECIAL_TOKENS = (
    "<|bos|>",  # before every document
    "<|user_start|>",
    "<|user_end|>",
    "<|assistant_start|>",
    "<|assistant_end|>",
    "<|python_start|>",  # the assistant calls a tool ...
    "<|python_end|>",
    "<|output_start|>",  # ... and reads its output
    "<|output_end|>",
)

# GPT-4's, but with numbers split into groups of at most 2 digits: a small vocabulary has no room for 1,110 numbers.
SPLIT_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)

FILE_NAME = "tokenizer.json"
_FORMAT = 1
_SAFE_CHARS = 100_000  # the regular expression overflows its stack on a million blanks, so long texts are cut


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    """The file's contents. `tokens` are base64, in the order of their ids; the special tokens follow them."""

    format: int
    pattern: str
    special_tokens: list[str]
    tokens: list[bytes]


class Tokenizer:
    """Text to token ids and back. Ids 0 to V - 10 are byte strings in merge order, the last nine are special."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        """`tokens`: the byte strings by id, without the special tokens. Raises ValueError if they are not a BPE."""
        import tiktoken

        fault = _fault(tokens)
        if fault:
            raise ValueError(fault)
        self._tokens = tuple(tokens)
        self.special_ids = {name: len(tokens) + i for i, name in enumerate(SPECIAL_TOKENS)}
        self.vocab_size = len(tokens) + len(SPECIAL_TOKENS)
        self.bos_id = self.special_ids["<|bos|>"]
        self._encoding = tiktoken.Encoding(
            "nanosolo",
            pat_str=SPLIT_PATTERN,
            mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
            special_tokens=self.special_ids,
            explicit_n_vocab=self.vocab_size,
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Text that spells a special token gives no special id."""
        return [int(token) for token in self._encode(text)]

    def encode_batch(self, texts: Sequence[str], threads: int | None = None) -> list[np.ndarray]:
        """The ids of many texts as uint16 arrays, encoded on `threads` threads (default: all that this process
        may use)."""
        if threads is None:
            threads = worker_threads()
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self._encode, texts))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, special tokens spelled out; bytes that are not UTF-8 become U+FFFD. Raises ValueError for
        an id outside the vocabulary."""
        ids = [int(i) for i in ids]
        wrong = next((i for i in ids if not 0 <= i < self.vocab_size), None)
        if wrong is not None:
            raise ValueError(f"token {wrong} is outside the vocabulary of {self.vocab_size}")
        return self._encoding.decode(ids, errors="replace")

    @property
    def tokens(self) -> tuple[bytes, ...]:
        """The byte strings by id, without the special tokens."""
        return self._tokens

    def token_bytes(self) -> np.ndarray:
        """How many bytes of text each token encodes: int32 (V,), 0 for the special ones. For bits per byte."""
        return np.array([len(token) for token in self._tokens] + [0] * len(SPECIAL_TOKENS), dtype=np.int32)

    def identity(self) -> str:
        """A short hash of everything that determines the ids of a text."""
        return self._identity

    def save(self, directory: Path) -> Path:
        """Write `tokenizer.json` into a folder, all or nothing. Raises NanosoloError if the write fails."""
        stored = _Stored(_FORMAT, SPLIT_PATTERN, list(SPECIAL_TOKENS), list(self._tokens))
        path = directory / FILE_NAME
        write_atomically(path, msgspec.json.encode(stored) + b"\n")
        return path

    @classmethod
    def load(cls, directory: Path) -> "Tokenizer":
        """Read what `save` wrote. Raises NanosoloError, which names the fault."""
        path = directory / FILE_NAME
        again = "Run the tokenizer stage again."
        try:
            stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
        except OSError as error:
            raise NanosoloError(f"no tokenizer at {path}: {error.strerror or error}. {again}") from None
        except NOT_JSON as error:
            raise NanosoloError(f"{path} is not a tokenizer: {error}. {again}") from None
        if stored.format != _FORMAT:
            raise NanosoloError(f"{path} has format {stored.format}, this version reads {_FORMAT}. {again}")
        if tuple(stored.special_tokens) != SPECIAL_TOKENS:
            raise NanosoloError(f"{path} has other special tokens than {', '.join(SPECIAL_TOKENS)}. {again}")
        if stored.pattern != SPLIT_PATTERN:  # another one could never end, or crash the process
            raise NanosoloError(f"{path} splits text with a pattern that this version does not know. {again}")
        try:
            return cls(stored.tokens)
        except ValueError as error:
            raise NanosoloError(f"{path} is damaged: {error}. {again}") from None

    @cached_property
    def _identity(self) -> str:
        tokens = [base64.b64encode(token).decode() for token in self._tokens]
        return short_hash("tokenizer", SPLIT_PATTERN, SPECIAL_TOKENS, tokens)

    def _encode(self, text: str) -> np.ndarray:
        try:
            return self._ids(text)
        except ValueError:  # the stack overflow that _SAFE_CHARS describes
            pieces = [text[i : i + _SAFE_CHARS] for i in range(0, len(text), _SAFE_CHARS)]
            return np.concatenate([self._ids(piece) for piece in pieces])

    def _ids(self, text: str) -> np.ndarray:
        ids = self._encoding.encode_to_numpy(text, allowed_special=set(), disallowed_special=())
        return ids.astype(np.uint16)


def train_tokenizer(corpus: Corpus, config: TokenizerConfig, progress: Progress = silent) -> Tokenizer:
    """Learn a vocabulary of `config.vocab_size` tokens, special ones included, from the training split.

    Uses at most `train_chars` characters, and at most `max_chars_per_document` of each document.
    Raises UsageError if the text has too few different words for that many tokens.
    """
    import rustbpe

    reporter = Reporter(progress, config.train_chars, "characters")
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(
        _training_texts(corpus, config, reporter),
        config.vocab_size - len(SPECIAL_TOKENS),
        pattern=SPLIT_PATTERN,
    )
    reporter.finish()
    ranks = sorted((rank, bytes(token)) for token, rank in trainer.get_mergeable_ranks())
    largest = len(ranks) + len(SPECIAL_TOKENS)
    if largest < config.vocab_size:
        raise UsageError(
            f"tokenizer.vocab_size = {config.vocab_size}: {reporter.done:,} characters of text give at most {largest}. "
            f"Set tokenizer.vocab_size to {largest} or less, or add more text."
        )
    return Tokenizer([token for _, token in ranks])


def _training_texts(corpus: Corpus, config: TokenizerConfig, reporter: Reporter) -> Iterator[str]:
    left = config.train_chars
    for document in corpus.documents("train"):
        text = document[: min(left, config.max_chars_per_document)]
        left -= len(text)
        for start in range(0, len(text), _SAFE_CHARS):
            yield text[start : start + _SAFE_CHARS]
        reporter.advance(len(text))
        if left <= 0:
            return


def _fault(tokens: Sequence[bytes]) -> str | None:
    """Why byte strings are not a vocabulary; None if they are."""
    if not BYTES < len(tokens) <= MAX_VOCAB_SIZE - len(SPECIAL_TOKENS):
        return f"{len(tokens)} tokens, expected {BYTES + 1} to {MAX_VOCAB_SIZE - len(SPECIAL_TOKENS)}"
    if {bytes([i]) for i in range(BYTES)} != set(tokens[:BYTES]):
        return "the first 256 tokens are not the 256 bytes"
    if len(set(tokens)) != len(tokens) or not all(tokens):
        return "a token is empty or occurs twice"
    return None
