"""The fuzzer's targets: each reader of files, with the real files from which its inputs are made."""

import io
import json
import random
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

SEED = 20261123


class Target(NamedTuple):
    """One reader: its share of inputs, the real files from which they are made, and the function that reads one."""

    inputs: int
    seeds: list[bytes]
    read: Callable[[bytes], object]  # raises only what `run` allows


def config_target() -> Target:
    """A configuration file, and each of its lines as --set."""
    from engine.config.layers import from_dict, from_toml, parse_override, to_toml
    from engine.plan.presets import load_preset, preset_names

    seeds = [(files("presets") / f"{name}.toml").read_bytes() for name in preset_names()]
    seeds.append(to_toml(from_dict(load_preset("quickstart"))).encode())

    def read(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        line = text[: text.find("\n")]
        for step in (lambda: to_toml(from_dict(from_toml(text))), lambda: parse_override(f"model.{line}")):
            _allow(step)

    return Target(60_000, seeds, read)


def plan_target() -> Target:
    """A plan of any configuration that passes validation."""
    from engine.config.layers import from_dict
    from engine.config.schema import fields, to_dict
    from engine.hardware.gpu_catalog import CATALOGUE
    from engine.plan.plan import make_plan
    from engine.plan.presets import load_preset

    seeds = [
        json.dumps(to_dict(from_dict(load_preset(name)))).encode() for name in ("quickstart", "balanced", "reference")
    ]
    numbers = (
        0,
        1,
        2,
        3,
        7,
        16,
        128,
        1023,
        4096,
        65_536,
        10**6,
        10**12,
        2**62,
        10**30,
        0.0,
        1e-9,
        0.5,
        1.0,
        1e9,
        1e300,
    )
    paths = [path for path, _ in fields()]

    def read(data: bytes) -> None:
        draw = random.Random(data)
        table = json.loads(draw.choice(seeds))
        for path in draw.sample(paths, 3):
            section, key = path.split(".")
            table[section][key] = draw.choice(numbers)
        _allow(lambda: make_plan(from_dict(table), draw.choice(CATALOGUE)))

    return Target(30_000, seeds, read)


def _story() -> list[bytes]:
    from tests.helpers.made_run import story_of

    story = story_of("red", 1.8e9, budget__steps=40, evaluate__every_steps=10).steps(40).checkpoint().sample()
    return list(story.resume_at(20).steps(5).out_of_memory().lines())


def events_target() -> Target:
    """Lines of events.jsonl."""
    from engine.events.kinds import decode, encode

    lines = _story()

    def read(data: bytes) -> None:
        for line in data.split(b"\n"):
            event = decode(line)
            if event is not None and decode(encode(event)) is None:
                raise AssertionError("an event that was read cannot be read again")

    return Target(700_000, lines, read)


def history_target(folder: Path) -> Target:
    """Damaged runs, read by runs, attach, the report and the advice."""
    from engine.config.layers import to_toml
    from engine.diagnostics.live import diagnose
    from engine.events.history import read_history
    from engine.report.measured import facts
    from engine.run.directory import RunDirectory
    from engine.run.state import state_of
    from engine.run.status import run_status
    from tests.helpers.made_run import config_of, plan_of
    from tui.cli.follow import event_lines

    config = config_of("balanced")
    plan = plan_of(config)
    run = RunDirectory(folder)
    run.config_file.write_text(to_toml(config))
    lines = _story()
    draw = random.Random(SEED)
    seeds = [b"".join(draw.sample(lines, 12)) for _ in range(60)] + [b"".join(lines[:20])]

    def read(data: bytes) -> None:
        run.events_file.write_bytes(data)
        history = read_history(run.events_file)
        for now in (1.8e9, 1.8e9 + 1e6):
            state = state_of(run, history, now)
            run_status("red", state, history, now, config)
            diagnose(history, plan, config, now)
        facts(run, history)
        for kind in (history.evaluations, history.samples, history.checkpoints, history.advice):
            for event in kind:
                event_lines(event, history)

    return Target(25_000, seeds, read)


def tokenizer_target(folder: Path) -> Target:
    """tokenizer.json."""
    from engine.data.tokenizer import FILE_NAME, Tokenizer

    Tokenizer([*(bytes([i]) for i in range(256)), b"th", b"the", b"in"]).save(folder)
    seeds = [(folder / FILE_NAME).read_bytes()]

    def read(data: bytes) -> None:
        (folder / FILE_NAME).write_bytes(data)
        _allow(lambda: Tokenizer.load(folder).encode("the end"))

    return Target(60_000, seeds, read)


def tokens_target(folder: Path) -> Target:
    """index.json of a set of tokens."""
    import numpy as np

    from engine.data import tokens as module
    from engine.data.corpora.corpus import Skipped
    from engine.data.token_writer import TokenWriter
    from engine.data.tokens import INDEX_NAME, TokenIndex, open_tokens

    splits = {}
    for split in ("train", "validation"):
        with TokenWriter(folder, split, 100, None) as writer:
            writer.write(np.arange(250, dtype=np.uint16))
            files = writer.finish()
        left_out = (Skipped("empty documents", 1, "a.txt"),)
        splits[split] = module.SplitIndex(files, 250, 3, 900, True, left_out)
    index = TokenIndex(module._FORMAT, "t" * 16, "c" * 16, "words", 300, splits)
    import msgspec

    seeds = [msgspec.json.encode(index)]

    def read(data: bytes) -> None:
        (folder / INDEX_NAME).write_bytes(data)

        def use() -> None:
            found = open_tokens(folder)
            for split in ("train", "validation"):
                found.read(split, 0, min(10, found.tokens(split)))

        _allow(use)

    return Target(60_000, seeds, read)


def text_target(folder: Path, suffix: str, inputs: int) -> Target:
    """Files of text: .jsonl, .txt or .parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from engine.data.corpora.readers import read_documents
    from engine.data.skip_counter import SkipCounter

    texts = ["the quick brown fox", "", None, "é\u2028\U0001f600", "x" * 3000, "\x00", "last"]
    if suffix == ".parquet":
        seeds = []
        for compression in ("zstd", "snappy", "none"):
            for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
                buffer = io.BytesIO()
                table = pa.table({"id": pa.array(range(len(texts))), "text": pa.array(texts).cast(kind)})
                pq.write_table(table, buffer, compression=compression, row_group_size=3)
                seeds.append(buffer.getvalue())
    elif suffix == ".jsonl":
        seeds = [b"".join(json.dumps({"text": text, "id": i}).encode() + b"\n" for i, text in enumerate(texts))]
    else:
        seeds = [("\n\n".join(t for t in texts if t) + "\n<|endoftext|>\n" + "word " * 2000).encode()]
    path = folder / f"a{suffix}"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        _allow(lambda: [text.encode() for text in read_documents(path, "text", SkipCounter())])

    return Target(inputs, seeds, read)


def checkpoint_target(folder: Path) -> Target:
    """manifest.json and state.json of a checkpoint."""
    import torch

    from engine.checkpoint import checkpoint, manifest
    from engine.model.gpt import GPT
    from tests.helpers.made_run import config_of

    config = config_of("quickstart", model__depth=2, tokenizer__vocab_size=300, model__max_seq_len=16)
    model = GPT(checkpoint.shape_of(config))
    state = checkpoint.first_state(config)
    tensors = {checkpoint.MODEL_FILE: {"a": torch.zeros(4)}}
    path = checkpoint.write_checkpoint(folder, tensors, state, lambda: None).path
    names = (manifest.MANIFEST_FILE, checkpoint.STATE_FILE)
    whole = {name: (path / name).read_bytes() for name in names}
    del model

    def read(data: bytes) -> None:
        name = names[b"files" not in data]
        (path / name).write_bytes(data)
        _allow(lambda: manifest.verify(path))
        _allow(lambda: checkpoint.read_state(path))
        (path / name).write_bytes(whole[name])

    return Target(100_000, list(whole.values()), read)


def weights_target(folder: Path) -> Target:
    """model.safetensors, as it is loaded after its checksum was verified."""
    import torch
    from safetensors.torch import save

    from engine.checkpoint import checkpoint
    from engine.model.gpt import GPT
    from tests.helpers.made_run import config_of

    config = config_of("quickstart", model__depth=1, tokenizer__vocab_size=300, model__max_seq_len=16)
    model = GPT(checkpoint.shape_of(config))
    few = {name: tensor[:1] for name, tensor in model.state_dict().items()}
    seeds = [save({"a": torch.zeros(3), "b": torch.ones(2, 2, dtype=torch.bfloat16)}), save(few)]

    def read(data: bytes) -> None:
        (folder / checkpoint.MODEL_FILE).write_bytes(data)
        _allow(lambda: checkpoint.load_weights(folder, model))

    return Target(20_000, seeds, read)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "config": lambda _: config_target(),
    "plan": lambda _: plan_target(),
    "events": lambda _: events_target(),
    "history": history_target,
    "tokenizer": tokenizer_target,
    "tokens": tokens_target,
    "jsonl": lambda folder: text_target(folder, ".jsonl", 150_000),
    "text": lambda folder: text_target(folder, ".txt", 60_000),
    "parquet": lambda folder: text_target(folder, ".parquet", 60_000),
    "checkpoint": checkpoint_target,
    "weights": weights_target,
}


def _allow(step: Callable[[], object]) -> None:
    """Run the reader; the errors that it documents are valid results."""
    from engine.core.errors import NanosoloError

    try:
        step()
    except NanosoloError as error:
        if "\n" in str(error):
            raise AssertionError(f"an error of several lines: {str(error)!r}") from None
