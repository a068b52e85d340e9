"""The model card: what a model is and how it came about, filled from its run."""

import json
import platform
from importlib.metadata import version
from typing import Any

from engine.checkpoint.manifest import code_of
from engine.checkpoint.selection import Chosen
from engine.config.layers import to_toml
from engine.config.schema import RunConfig
from engine.core import formatting
from engine.events.history import read_history
from engine.hardware.versions import Code, this_code
from engine.plan.shape import Shape
from engine.report.measured import facts
from engine.run.directory import RunDirectory

_SOURCES = {
    "fineweb-edu": "FineWeb-Edu",
    "builtin": "the documentation and source text of Python's standard library",
    "local": "text files of its author",
}


def model_card(run: RunDirectory, chosen: Chosen, shape: Shape, folder: str) -> str:
    """README.md for a model hub: YAML header, use from `folder`, results, settings, versions."""
    config = run.config()
    history = read_history(run.events_file)
    known = facts(run, history)
    chats = chosen.chats
    rows = [
        ("stage", f"{chosen.stage}, step {chosen.step:,}"),
        *_shape_rows(shape),
        *_training_rows(config, known, code_of(chosen.path)),
    ]
    latest = {e.metric: e.value for e in history.evaluations}
    results = [(metric, f"{value:.4f}") for metric, value in sorted(latest.items())]
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "tags: [nanochat, nanosolo]",
            *(["datasets: [HuggingFaceFW/fineweb-edu]"] if config.data.source == "fineweb-edu" else []),
            "---",
            "",
            f"# {run.name}",
            "",
            _about(chats, config),
            "",
            "## Use",
            "",
            "```python",
            *_example(chats, folder),
            "```",
            "",
            "Text that spells a special token, such as `<|bos|>`, is read as that token. For text that you do not "
            "trust, call the tokenizer with `split_special_tokens=True`.",
            "",
            "## Results",
            "",
            *(_table(("metric", "value"), results) if results else ["This run was not evaluated."]),
            "",
            "`val_bpb` is bits per byte on held-out text of the training corpus.",
            "",
            "## Model and training",
            "",
            *_table(("", ""), rows),
            "",
            "<details><summary>Complete configuration</summary>",
            "",
            "```toml",
            to_toml(config).strip(),
            "```",
            "",
            "</details>",
            "",
            "## Limits",
            "",
            "A small model trained on little text: it makes up facts, repeats what was in its data, and was not tested "
            "for safety.",
            "",
        ]
    )


def _about(chats: bool, config: RunConfig) -> str:
    kind = "a chat model" if chats else "a base model: it continues text and was not trained to answer questions"
    return (
        f"A language model of the nanochat architecture (2025), trained by nanosolo on {_SOURCES[config.data.source]}. "
        f"It is {kind}."
    )


def _example(chats: bool, folder: str) -> list[str]:
    folder = json.dumps(folder)
    lines = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({folder})",
        f"model = AutoModelForCausalLM.from_pretrained({folder})",
    ]
    if chats:
        lines += [
            'messages = [{"role": "user", "content": "Who are you?"}]',
            "inputs = tokenizer.apply_chat_template(",
            '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
            ")",
        ]
    else:
        lines.append('inputs = tokenizer(tokenizer.bos_token + "The capital of France is", return_tensors="pt")')
    return [
        *lines,
        "output = model.generate(**inputs, max_new_tokens=64)",
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]


def _shape_rows(shape: Shape) -> list[tuple[str, str]]:
    return [
        ("parameters", f"{shape.params.total:,}"),
        ("layers, width, heads", f"{shape.depth}, {shape.width}, {shape.heads}"),
        ("context", f"{shape.max_seq_len:,} tokens"),
        ("vocabulary", f"{shape.vocab_size:,} tokens, byte-level BPE"),
    ]


def _training_rows(config: RunConfig, known: dict[str, Any], code: Code | None) -> list[tuple[str, str]]:
    rows = [
        ("pretraining", f"{known['tokens']:,} tokens in {known['steps']:,} steps"),
        ("data", _SOURCES[config.data.source]),
        ("preset", config.about.preset),
        ("optimizer", "Muon for the matrices, AdamW for embedding and head"),
        ("seed", str(config.runtime.seed)),
    ]
    seconds = sum(known["stage_seconds"].values())
    if seconds:
        rows.append(("time of all stages", formatting.duration(seconds)))
    versions = f"nanosolo {this_code()}, torch {version('torch')}, Python {platform.python_version()}"
    trained = f"nanosolo {code}" if code is not None else "an unknown version of nanosolo"
    return [*rows, ("weights written by", trained), ("exported by", versions)]


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
