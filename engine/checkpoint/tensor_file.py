"""Writes tensors as a safetensors file, piece by piece, and fingerprints the bytes that were meant on their way."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from engine.checkpoint.manifest import FileEntry
from engine.core.atomic_io import flush_to_disk
from engine.core.checksum import PIECE, fingerprint

_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16"}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> FileEntry:
    """Write tensors to `path` and flush them to the disk. Raises OSError.

    The format: 8 bytes little-endian length of the header, the header in JSON, padded with spaces to a multiple of 8,
    then each tensor's bytes in order (github.com/huggingface/safetensors). The fingerprint is of the bytes in memory:
    what a disk or a page cache spoils later does not match it.
    """
    header = _header(tensors)
    digest = fingerprint()
    written = 0
    with path.open("wb", buffering=0) as file:
        beginning = memoryview(len(header).to_bytes(8, "little") + header)
        for content in (beginning, *map(_bytes_of, tensors.values())):
            for start in range(0, len(content), PIECE):
                part = content[start : start + PIECE]
                digest.update(part)
                while part:  # a write may take less than it was given
                    taken = file.write(part)
                    written += taken
                    part = part[taken:]
        flush_to_disk(file.fileno())
    return FileEntry(bytes=written, hash=digest.hexdigest())


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    entries = {}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries).encode()
    return text + b" " * (-len(text) % 8)


def _bytes_of(tensor: Tensor) -> memoryview:
    """The tensor's bytes, without a copy where it is contiguous and on the CPU."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
