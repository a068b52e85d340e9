"""Checkpoints on disk: whole or not there, damage is seen wherever it is, a full disk costs nothing that was there."""

import errno
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from engine.checkpoint.checkpoint import (
    MODEL_FILE,
    SavedCheckpoint,
    first_state,
    read_state,
    whole_checkpoint,
    write_checkpoint,
)
from engine.checkpoint.manifest import MANIFEST_FILE, Damaged, measure, verify
from engine.checkpoint.retention import expendable
from engine.checkpoint.tensor_file import write_tensors
from engine.config.schema import CheckpointConfig
from engine.core.atomic_io import DiskFull
from engine.core.errors import NanosoloError
from engine.events.history import read_history
from engine.run.checkpoints import checkpoint_path, list_checkpoints
from engine.run.directory import RunDirectory
from tests.helpers.tiny_run import Base, final_weights, losses, tiny_config, train

TENSORS = {
    MODEL_FILE: {
        "matrix": torch.arange(60_000, dtype=torch.float32).reshape(200, 300),
        "table": torch.arange(64, dtype=torch.bfloat16).reshape(8, 8),
    },
    "optimizer.safetensors": {"step": torch.tensor(3.0)},
}


def write(folder: Path, step: int, before: Callable[[], None] = lambda: None) -> SavedCheckpoint:
    state = msgspec.structs.replace(first_state(tiny_config(Path("corpus"))), step=step)
    return write_checkpoint(folder, TENSORS, state, before)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: a write beyond it fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def nobody(step: int, what: str) -> None:
    pytest.fail(f"step {step}: {what}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_safetensors_reads_what_is_written(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {
        "scalar": torch.tensor(1.5, dtype=dtype),
        "empty": torch.empty(0, 4, dtype=dtype),
        "matrix": torch.randn(7, 5).to(dtype),
        "turned": torch.randn(6, 3).to(dtype).T,
        "name with ümlaut": torch.ones(2, dtype=dtype),
    }
    entry = write_tensors(tmp_path / "file", tensors)
    found = load_file(tmp_path / "file")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert entry == measure(tmp_path / "file")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_and_any_cut_is_seen(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("damage")
    path = write(folder, 5).path
    verify(path)
    # the manifest first: a flipped letter of a name of a file must not let the file go unread
    name = data.draw(st.sampled_from(sorted(file.name for file in path.iterdir())))
    content = bytearray((path / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[at:]
    before = (path / name).read_bytes()
    (path / name).write_bytes(content)
    if name == MANIFEST_FILE and _same_meaning(before, bytes(content)):
        return  # white space
    with pytest.raises(Damaged, match=str(path)):
        verify(path)


def _same_meaning(one: bytes, other: bytes) -> bool:
    return one.split() == other.split()


def test_a_missing_file_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path, 5).path
    (path / MODEL_FILE).unlink()
    with pytest.raises(Damaged, match="No such file"):
        verify(path)


def test_damaged_ones_are_put_aside_and_told_of(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        write(tmp_path, step)
    (checkpoint_path(tmp_path, 15) / MODEL_FILE).write_bytes(b"")
    (checkpoint_path(tmp_path, 10) / MANIFEST_FILE).unlink()
    told: list[int] = []
    assert whole_checkpoint(tmp_path, lambda step, _what: told.append(step)) == checkpoint_path(tmp_path, 5)
    assert told == [15, 10]
    assert list(list_checkpoints(tmp_path)) == [5]
    assert whole_checkpoint(tmp_path, nobody) == checkpoint_path(tmp_path, 5)


def test_when_none_is_whole_nothing_is_touched(tmp_path: Path) -> None:
    for step in (5, 10):
        (write(tmp_path, step).path / MODEL_FILE).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(NanosoloError, match=r"step_000010.* has 0 bytes"):
            whole_checkpoint(tmp_path, nobody)
    assert list(list_checkpoints(tmp_path)) == [5, 10]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    first = write(tmp_path, 5)
    for size in (0, 1, 100, 100_000, 240_000):  # within each of the files and between them
        with largest_file(size), pytest.raises(DiskFull, match="Free some space"):
            write(tmp_path, 10)
        assert [path.name for path in tmp_path.iterdir()] == [first.path.name]
        verify(first.path)
    second = write(tmp_path, 10)
    assert whole_checkpoint(tmp_path, nobody) == second.path


def test_a_disk_without_room_is_not_filled_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=10_000))
    with pytest.raises(DiskFull, match="needs at least 240,132 bytes"):
        write(tmp_path, 5)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_leaves_nothing(tmp_path: Path) -> None:
    def refuse() -> None:
        raise DiskFull("events first")

    with pytest.raises(DiskFull, match="events first"):
        write(tmp_path, 5, refuse)
    assert list(tmp_path.iterdir()) == []


def test_the_same_step_again_replaces(tmp_path: Path) -> None:
    write(tmp_path, 5)
    (checkpoint_path(tmp_path, 5) / "stray").touch()
    path = write(tmp_path, 5).path
    assert not (path / "stray").exists()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert read_state(path).step == 5


@given(
    st.sets(st.integers(1, 60).map(lambda n: 5 * n), max_size=20),
    st.integers(1, 4),
    st.sampled_from([0, 20, 25]),
    st.booleans(),
    st.dictionaries(st.integers(1, 60).map(lambda n: 5 * n), st.floats(0.5, 3.0)),
)
def test_retention(steps: set[int], keep_last: int, every: int, best: bool, values: dict[int, float]) -> None:
    config = CheckpointConfig(keep_last=keep_last, keep_every_steps=every, keep_best=best)
    going = expendable(sorted(steps), config, values)
    stays = steps - set(going)
    assert set(sorted(steps)[-keep_last:]) <= stays
    assert {step for step in steps if every and step % every == 0} <= stays
    judged = [step for step in steps if step in values]
    if best and judged:
        assert min(values[step] for step in judged) in {values[step] for step in stays if step in values}
    assert len(stays) <= keep_last + (len(steps) if every else 0) + best
    assert going == sorted(going)


def test_best_and_permanent_checkpoints_of_a_run_stay(base: Base, tmp_path: Path) -> None:
    run = base.run(
        tmp_path / "run", checkpoint__keep_every_steps=15, checkpoint__keep_last=1, checkpoint__keep_best=True
    )
    assert train(run).returncode == 0
    values = {event.step: event.value for event in read_history(run.events_file).evaluations if event.step}
    best = min(values, key=lambda step: values[step])
    assert set(list_checkpoints(run.checkpoints("pretrain"))) == {15, 30, 40, best}


FULL_AT = (  # a disk that takes no large file from one step on, until another: a real limit, on this process
    "import resource\nfrom engine.train import saver as s\n"
    "s.RETRY_SECONDS, s.STOP_PATIENCE, s.PATIENCE, s.PAUSE = 1000.0, 0.3, {patience}, 0.1\n"
    "from engine.train.step import StepRunner\nreal = StepRunner.run\n"
    "def run(self, loader, step, *rest):\n"
    "    most = 100_000 if {first} <= step < {last} else resource.RLIM_INFINITY\n"
    "    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))\n"
    "    return real(self, loader, step, *rest)\n"
    "StepRunner.run = run\n"
)


def test_training_goes_on_without_room_and_saves_when_there_is(
    base: Base, undisturbed: RunDirectory, tmp_path: Path
) -> None:
    run = base.run(tmp_path / "run")
    done = train(run, FULL_AT.format(first=12, last=28, patience=1))
    assert done.returncode == 0, done.stderr
    failed = [event for event in read_history(run.events_file).warnings if event.code == "checkpoint_failed"]
    assert [event.step for event in failed] == [15, 20, 25]
    assert "newest checkpoint is of step 10" in failed[0].message
    assert "Removed 1 older" in failed[0].message
    assert losses(run) == losses(undisturbed)
    assert final_weights(run) == final_weights(undisturbed)


def test_a_disk_that_stays_full_is_said_and_the_older_checkpoint_stays(
    base: Base, undisturbed: RunDirectory, tmp_path: Path
) -> None:
    run = base.run(tmp_path / "run")
    done = train(run, FULL_AT.format(first=32, last=1000, patience=1))
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
    assert "the disk is full" in done.stderr
    assert "resume continues from step 30" in done.stderr
    assert list(list_checkpoints(run.checkpoints("pretrain"))) == [30]
    assert train(run).returncode == 0  # with room again
    assert losses(run) == losses(undisturbed)
    assert final_weights(run) == final_weights(undisturbed)


def test_the_limit_stands_for_a_full_disk(tmp_path: Path) -> None:
    with largest_file(10), (tmp_path / "file").open("wb", buffering=0) as file:
        assert file.write(b"x" * 20) == 10  # a short write first, then the error
        with pytest.raises(OSError, match=str(errno.EFBIG)):
            file.write(b"x")
