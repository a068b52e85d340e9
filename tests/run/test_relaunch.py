"""Going on with changed settings keeps what was there, and says in the events what changed."""

import errno
import os
from pathlib import Path

import pytest

from engine.config.layers import from_toml
from engine.core.errors import UsageError
from engine.events.history import read_history
from engine.events.kinds import Advice
from engine.launch.relaunch import fits_checkpoint, relaunch, rewrite
from engine.run.directory import RunDirectory, RunLock
from tests.helpers.made_run import config_of, plan_of, story_of, write_run

NOW = 1_800_000_000.0


@pytest.fixture
def failed(tmp_path: Path) -> RunDirectory:
    return write_run(tmp_path, "red", story_of("red", NOW).steps(20).checkpoint().out_of_memory())


def test_a_rewritten_run_keeps_the_old_settings_and_tells(failed: RunDirectory) -> None:
    old = failed.config_file.read_text()
    before = failed.config()
    after = config_of("balanced", batch__device_batch_size=2)
    rewrite(failed, before, after, plan_of(after), "half the memory")
    assert failed.config() == after
    assert (failed.path / "run.before-1.toml").read_text() == old
    plan = failed.plan()
    assert plan is not None and plan.device_batch_size == 2
    advice = read_history(failed.events_file).advice[-1]
    assert isinstance(advice, Advice)
    assert advice.change == {"batch.device_batch_size": 2}
    assert "batch.device_batch_size 4 -> 2" in advice.message
    assert advice.effect == "half the memory"
    rewrite(failed, after, before, plan_of(before))
    assert (failed.path / "run.before-2.toml").exists()
    assert from_toml(failed.config_file.read_text()) == from_toml(old)


def test_it_needs_no_links_which_network_disks_lack(failed: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    old = failed.config_file.read_bytes()
    after = config_of("balanced", batch__device_batch_size=2)
    rewrite(failed, failed.config(), after, plan_of(after))
    assert (failed.path / "run.before-1.toml").read_bytes() == old


def test_nothing_changes_when_it_cannot_be(failed: RunDirectory) -> None:
    names = sorted(path.name for path in failed.path.iterdir())
    was = failed.config_file.read_bytes()
    with pytest.raises(UsageError, match="device_batch_size"):
        relaunch(failed, {"batch.device_batch_size": 0})
    with pytest.raises(UsageError, match="no NVIDIA GPU"):
        relaunch(failed, {"batch.device_batch_size": 2})  # it asks for an A100, which is not here
    with RunLock(failed), pytest.raises(UsageError, match="is running"):
        relaunch(failed, {"batch.device_batch_size": 2})
    names_after = sorted(path.name for path in failed.path.iterdir())
    assert [name for name in names_after if name != "runner.lock"] == names
    assert failed.config_file.read_bytes() == was


def test_another_model_needs_another_run() -> None:
    assert fits_checkpoint({"batch.device_batch_size": 2, "batch.activation_checkpointing": "block"})
    assert not fits_checkpoint({"model.depth": 10})
    assert not fits_checkpoint({"model.max_seq_len": 1024})


def test_the_plan_of_a_changed_batch_is_the_one_that_is_written(failed: RunDirectory) -> None:
    after = config_of("balanced", batch__activation_checkpointing="block")
    rewrite(failed, failed.config(), after, plan_of(after))
    plan = failed.plan()
    assert plan is not None
    assert plan.memory.total == plan_of(after).memory.total
