"""A run's model as a folder that `transformers` loads: NanoChatForCausalLM with its tokenizer and chat template."""

from pathlib import Path
from typing import Any

import msgspec
from safetensors.torch import save_file

from engine import __version__
from engine.checkpoint.checkpoint import load_model
from engine.checkpoint.selection import Chosen
from engine.core.atomic_io import write_atomically
from engine.core.errors import NanosoloError
from engine.data.tokenizer import Tokenizer
from engine.export.card import model_card
from engine.export.chat_template import CHAT_TEMPLATE
from engine.export.tokenizer_json import tokenizer_json
from engine.model.hf_weights import to_transformers_state_dict, transformers_config
from engine.run.directory import RunDirectory


def export_to_transformers(run: RunDirectory, chosen: Chosen, folder: Path) -> list[Path]:
    """Write the folder's files (float32 weights) and return them. Raises NanosoloError when one cannot be written."""
    tokenizer = Tokenizer.load(run.tokenizer)
    model = load_model(chosen.path, "cpu")
    chats = chosen.chats
    special = tokenizer.special_ids
    bos, end = "<|bos|>", "<|assistant_end|>" if chats else "<|bos|>"
    ids = {"bos_token_id": special[bos], "eos_token_id": special[end], "pad_token_id": special[end]}
    config = transformers_config(model.shape) | {
        "architectures": ["NanoChatForCausalLM"],
        "model_type": "nanochat",
        "dtype": "float32",
        **ids,
    }
    # a model that chats may also end by beginning another conversation
    stops = [special[end], special[bos]] if chats else special[end]
    generation = {**ids, "eos_token_id": stops, "do_sample": True, "temperature": 0.7, "top_k": 50}
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": end,
        "pad_token": end,
        "model_max_length": model.shape.max_seq_len,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    texts: dict[str, Any] = {
        "config.json": config,
        "generation_config.json": generation,
        "tokenizer.json": tokenizer_json(tokenizer),
        "tokenizer_config.json": settings,
    }
    contents = {name: msgspec.json.format(msgspec.json.encode(text), indent=2) for name, text in texts.items()}
    if chats:
        contents["chat_template.jinja"] = CHAT_TEMPLATE.encode()
    contents["README.md"] = model_card(run, chosen, model.shape, folder.resolve().name).encode()
    weights = folder / "model.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.float().contiguous() for name, tensor in to_transformers_state_dict(model).items()}
        save_file(tensors, weights, metadata={"format": "pt", "nanosolo": __version__})
    except Exception as error:  # safetensors wraps the system's errors in its own
        raise NanosoloError(f"cannot write {weights}: {error}. Name a folder on a disk with room for it.") from None
    for name, content in contents.items():
        write_atomically(folder / name, content)
    weights.chmod((folder / "config.json").stat().st_mode)  # safetensors lets nobody else read what it writes
    return [weights, *(folder / name for name in contents)]
