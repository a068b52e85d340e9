"""Checkpoints of nanochat, as its code of late 2025 lays them out, written and read."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from engine.checkpoint.checkpoint import (
    MODEL_FILE,
    OPTIMIZER_FILE,
    first_state,
    read_state,
    read_weights,
    write_checkpoint,
)
from engine.checkpoint.manifest import code_of
from engine.checkpoint.selection import Chosen
from engine.config.layers import from_dict
from engine.config.schema import heads_of, width_of
from engine.core.atomic_io import write_atomically
from engine.core.errors import NanosoloError, UsageError
from engine.data.tokenizer import Tokenizer
from engine.events.history import read_history
from engine.hardware.gpu_catalog import cpu
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.plan import make_plan
from engine.plan.shape import Shape
from engine.run.directory import RunDirectory, create_run

FOLDERS = {
    "pretrain": "base_checkpoints",
    "midtrain": "mid_checkpoints",
    "sft": "chatsft_checkpoints",
    "rl": "chatrl_checkpoints",
}
_OUTSIDE = {"embedding.weight": "transformer.wte.weight", "head.weight": "lm_head.weight"}
_IN_BLOCK = {
    "attention.query": "attn.c_q",
    "attention.key": "attn.c_k",
    "attention.value": "attn.c_v",
    "attention.output": "attn.c_proj",
    "mlp.expand": "mlp.c_fc",
    "mlp.contract": "mlp.c_proj",
}
_FILE = re.compile(r"model_(\d+)\.pt")

_TOKENIZER_NOTE = """\
nanochat keeps its tokenizer as a pickle, which nanosolo neither writes nor reads, as loading one can run any code.
tokenizer.json next to this file holds the same vocabulary. To use it in nanochat, make the pickle there yourself:

    import base64, json, pickle, tiktoken
    stored = json.load(open("tokenizer.json"))
    tokens = [base64.b64decode(token) for token in stored["tokens"]]
    encoding = tiktoken.Encoding(
        "rustbpe",
        pat_str=stored["pattern"],
        mergeable_ranks={token: i for i, token in enumerate(tokens)},
        special_tokens={name: len(tokens) + i for i, name in enumerate(stored["special_tokens"])},
    )
    pickle.dump(encoding, open("tokenizer.pkl", "wb"))

Not carried over: the optimizer's state, the position in the data, token_bytes.pt (nanochat's tok_train writes it).
"""


def key_in_nanochat(name: str) -> str:
    """`blocks.3.mlp.expand.weight` -> `transformer.h.3.mlp.c_fc.weight`."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    _, layer, module, matrix, _ = name.split(".")
    return f"transformer.h.{layer}.{_IN_BLOCK[f'{module}.{matrix}']}.weight"


def export_to_nanochat(run: RunDirectory, chosen: Chosen, folder: Path) -> list[Path]:
    """Write model, meta data and tokenizer below `folder`, a NANOCHAT_BASE_DIR; return the files. Weights keep their
    dtypes. Raises NanosoloError when one cannot be written."""
    weights = read_weights(chosen.path)
    tokenizer = Tokenizer.load(run.tokenizer)
    shape = read_state(chosen.path).shape
    bpb = read_history(run.events_file).latest("val_bpb")
    meta = {
        "step": chosen.step,
        "val_bpb": bpb.value if bpb else None,
        "model_config": {
            "sequence_len": shape.max_seq_len,
            "vocab_size": shape.vocab_size,
            "n_layer": shape.depth,
            "n_head": shape.heads,
            "n_kv_head": shape.heads,
            "n_embd": shape.width,
        },
        "user_config": {"run": run.name, "nanosolo": str(code_of(chosen.path) or "unknown")},
    }
    place = folder / FOLDERS[chosen.stage] / f"d{shape.depth}"
    model, about = place / f"model_{chosen.step:06d}.pt", place / f"meta_{chosen.step:06d}.json"
    try:
        place.mkdir(parents=True, exist_ok=True)
        torch.save({key_in_nanochat(name): weight for name, weight in weights.items()}, model)
    except (OSError, RuntimeError) as error:  # torch raises the latter for a full disk
        raise NanosoloError(f"cannot write {model}: {error}. Name a folder on a disk with room for it.") from None
    write_atomically(about, msgspec.json.format(msgspec.json.encode(meta), indent=2))
    vocabulary = tokenizer.save(folder / "tokenizer")
    note = folder / "tokenizer" / "README.txt"
    write_atomically(note, _TOKENIZER_NOTE.encode())
    return [model, about, vocabulary, note]


def import_from_nanochat(
    folder: Path, step: int | None, name: str, tokenizer: Tokenizer
) -> tuple[RunDirectory, Chosen]:
    """Make a run from a nanochat checkpoint. Later stages continue from its weights with a new optimizer.

    The parent folder's name (base_checkpoints, ...) says which stage it is of; any other name means pretraining.
    Raises UsageError for what is not a checkpoint of the 2025 architecture.
    """
    step = _newest(folder) if step is None else step
    shape = _read_shape(folder / f"meta_{step:06d}.json")
    if tokenizer.vocab_size != shape.vocab_size:
        raise UsageError(
            f"--tokenizer: {tokenizer.vocab_size:,} tokens, the model has {shape.vocab_size:,}. Give the model's own."
        )
    config = from_dict(
        {
            "about": {"preset": "imported", "description": f"from a nanochat checkpoint, {folder.name} step {step}"},
            "model": {"depth": shape.depth, "max_seq_len": shape.max_seq_len},
            "tokenizer": {"vocab_size": shape.vocab_size},
        }
    )
    tensors = _read_tensors(folder / f"model_{step:06d}.pt", shape)
    stage = next((stage for stage, known in FOLDERS.items() if known == folder.absolute().parent.name), "pretrain")
    model = GPT(shape)
    model.load_state_dict(tensors)
    optimizer = Optimizer(model, config.optim, shape.width)
    run = create_run(name, config, make_plan(config, cpu(1, 2**33)))
    tokenizer.save(run.tokenizer)
    state = msgspec.structs.replace(first_state(config), step=step)
    groups: dict[str, Mapping[str, Tensor]] = {
        MODEL_FILE: model.state_dict(),
        OPTIMIZER_FILE: optimizer.state_tensors(),
    }
    saved = write_checkpoint(run.checkpoints(stage), groups, state, lambda: None)
    return run, Chosen(stage, step, saved.path)


def _newest(folder: Path) -> int:
    steps = [int(match[1]) for path in folder.glob("model_*.pt") if (match := _FILE.fullmatch(path.name))]
    if not steps:
        raise UsageError(
            f"no model_<step>.pt in {folder}. Name the folder that holds it, for example base_checkpoints/d20."
        )
    return max(steps)


def _read_shape(path: Path) -> Shape:
    try:
        known: dict[str, Any] = msgspec.json.decode(path.read_bytes())["model_config"]
        shape = Shape(
            depth=_whole(known["n_layer"]),
            width=_whole(known["n_embd"]),
            heads=_whole(known["n_head"]),
            vocab_size=_whole(known["vocab_size"]),
            max_seq_len=_whole(known["sequence_len"]),
        )
        same = known.get("n_kv_head", shape.heads) == shape.heads
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror or error}. It must be in the folder of the model."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not the meta data of a nanochat checkpoint: {error!s:.80}.") from None
    if not same or shape.width != width_of(shape.depth) or shape.heads != heads_of(shape.depth):
        raise UsageError(
            f"{path}: width {shape.width}, {shape.heads} heads at depth {shape.depth}; only nanochat's own proportions "
            f"({width_of(shape.depth)} wide, {heads_of(shape.depth)} heads, as many for keys) can be imported."
        )
    return shape


def _read_tensors(path: Path, shape: Shape) -> dict[str, Tensor]:
    """The weights under our names, float32. Loads tensors only: the file cannot run code."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch, pickle and zipfile raise their own kinds
        first = str(error).strip().partition("\n")[0]
        raise UsageError(f"{path} is not a file of tensors that can be loaded safely: {first:.120}") from None
    if not isinstance(stored, dict) or not all(isinstance(tensor, Tensor) for tensor in stored.values()):
        raise UsageError(f"{path} holds something else than named tensors.")
    stored = {str(key).removeprefix("_orig_mod."): tensor for key, tensor in stored.items()}
    with torch.device("meta"):
        wanted = {name: weight.shape for name, weight in GPT(shape, device="meta").named_parameters()}
    keys = {key_in_nanochat(name): name for name in wanted}
    strange = sorted(stored.keys() ^ keys.keys())
    if strange:
        what = "unknown" if strange[0] in stored else "missing"
        raise UsageError(
            f"{path}: {strange[0]} is {what} ({len(strange)} such keys). "
            "Only nanochat's architecture of 2025 can be imported."
        )
    for key, name in keys.items():
        if stored[key].shape != wanted[name]:
            raise UsageError(f"{path}: {key} is {tuple(stored[key].shape)}, expected {tuple(wanted[name])}.")
    return {name: stored[key].float() for key, name in keys.items()}


def _whole(value: Any) -> int:
    if not isinstance(value, int) or not 0 < value < 10**7:
        raise ValueError(f"{value!r:.20} is not a size")
    return value
