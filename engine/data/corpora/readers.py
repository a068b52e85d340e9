"""Reads documents from one .txt, .md, .jsonl or .parquet file as a stream."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from engine.core.atomic_io import NOT_JSON
from engine.core.errors import NanosoloError
from engine.data.corpora.corpus import MAX_DOCUMENT_BYTES
from engine.data.skip_counter import SkipCounter

SUFFIXES = (".txt", ".md", ".jsonl", ".parquet")

PIECE_BYTES = 4_000  # plain text is cut at the first blank line after this many bytes
MAX_PIECE_BYTES = 2**20  # and here if there is no blank line
SEPARATOR = b"<|endoftext|>"  # a line of its own that ends a document, as in TinyStories

_READ_ROWS = 256


class UnusableFile(NanosoloError):
    """A file from which no (further) document can be read."""

    def __init__(self, reason: str, where: str) -> None:
        super().__init__(f"{where}: one of the {reason}")
        self.reason = reason  # in the plural
        self.where = where


def read_documents(path: Path, column: str, tally: SkipCounter) -> Iterator[str]:
    """The documents of a file, by its suffix. Unusable documents are counted in `tally`. Raises NanosoloError if
    the file cannot be read at all."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            yield from read_parquet(path, column, tally)
        elif suffix == ".jsonl":
            yield from read_jsonl(path, column, tally)
        else:
            yield from read_text(path, tally)
    except UnusableFile as error:
        tally.skip(error.reason, error.where)
    except OSError as error:
        raise NanosoloError(
            f"cannot read {path}: {error.strerror or error}. Check its permissions, or remove it."
        ) from None


def read_text(path: Path, tally: SkipCounter) -> Iterator[str]:
    """The documents of a plain text.

    A line `<|endoftext|>` ends a document. Long texts are cut at blank lines into pieces of about 4,000 bytes, so
    that a book has enough pieces to use a few for validation.
    """
    for number, piece in enumerate(_pieces(path), 1):
        text = accept(piece, f"{path} (piece {number})", tally)
        if text is not None:
            yield text.replace("\r\n", "\n")


def read_jsonl(path: Path, column: str, tally: SkipCounter) -> Iterator[str]:
    """The values of key `column`, one JSON object per line."""
    for where, row in json_lines(path, tally):
        if not isinstance(row, dict) or column not in row:
            tally.skip(f'rows without "{column}" (data.text_column)', where)
            continue
        text = accept(row[column], where, tally)
        if text is not None:
            yield text


def json_lines(path: Path, tally: SkipCounter) -> Iterator[tuple[str, Any]]:
    """(file and line, value) of each line that is JSON. Raises OSError."""
    decoder = msgspec.json.Decoder()
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file, MAX_DOCUMENT_BYTES), 1):
            where = f"{path}:{number}"
            if line is None:
                tally.skip(f"rows over {MAX_DOCUMENT_BYTES // 2**20} MiB", where)
                continue
            if not line.strip():
                continue
            try:
                row = decoder.decode(line)
            except NOT_JSON:
                tally.skip("lines that are not JSON", where)
                continue
            yield where, row


def read_parquet(path: Path, column: str, tally: SkipCounter) -> Iterator[str]:
    """The values of a text column, a few hundred rows in memory at a time. Raises UnusableFile."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if column not in schema.names:
                names = ", ".join(schema.names[:8])
                raise UnusableFile(f'files without column "{column}" (data.text_column)', f"{path}, which has {names}")
            kind = schema.field(column).type
            plain = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not _is_text(plain):
                raise UnusableFile(f'files whose column "{column}" is not text', f"{path}, where it is {plain}")
            for batch in file.iter_batches(batch_size=_READ_ROWS, columns=[column]):
                # as bytes: a string column may hold anything, and one bad row must not cost the others
                for value in batch.column(0).cast(plain).cast(pa.large_binary()):
                    row += 1
                    text = accept(value.as_py(), f"{path}, row {row}", tally)
                    if text is not None:
                        yield text
    except (pa.ArrowException, OSError, ValueError) as error:  # names that are not text raise ValueError
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise UnusableFile("damaged parquet files", f"{path}, after row {row}") from None


def accept(value: Any, where: str, tally: SkipCounter) -> str | None:
    """A value as a document; None, counted in `tally`, if it is not one."""
    if value is None:
        tally.skip("rows with null text", where)
        return None
    if not isinstance(value, bytes | str):
        tally.skip("rows whose text is not a string", where)
        return None
    if len(value) > MAX_DOCUMENT_BYTES:
        tally.skip(f"rows over {MAX_DOCUMENT_BYTES // 2**20} MiB", where)
        return None
    try:
        if isinstance(value, bytes):
            text = value.decode("utf-8")
        else:
            value.encode("utf-8")  # refuses lone surrogates, which JSON can contain
            text = value
    except UnicodeError:
        tally.skip("documents that are not UTF-8", where)
        return None
    if not text.strip():
        tally.skip("empty documents", where)
        return None
    return text


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(check(kind) for check in checks)


def _pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a plain text, cut as `read_text` says."""
    held = bytearray()
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        while line := file.readline(MAX_PIECE_BYTES):
            ends = line.strip() == SEPARATOR
            if not ends:
                held += line
                ends = len(held) >= PIECE_BYTES and not line.strip()
            if ends:
                if held:
                    yield bytes(held)
                held.clear()
            elif len(held) >= MAX_PIECE_BYTES:
                cut = _whole_characters(held)
                yield bytes(held[:cut])
                del held[:cut]
    if held:
        yield bytes(held)


def _whole_characters(data: bytearray) -> int:
    """The number of bytes without an incomplete UTF-8 character at the end."""
    for back in range(1, 4):
        byte = data[-back]
        if byte >= 0xC0:  # the first byte of a character of 2 to 4 bytes
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if length > back else len(data)
        if byte < 0x80:
            break
    return len(data)


def _lines(file: BinaryIO, limit: int) -> Iterator[bytes | None]:
    """Lines; None for a line of more than `limit` bytes, which is never in memory as a whole."""
    while line := file.readline(limit + 1):
        if len(line) <= limit or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(limit)
        yield None
