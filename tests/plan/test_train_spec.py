"""One spec per training stage: what it takes from the stage's own settings, and what from the rest."""

import pytest

from engine.config.schema import RunConfig, fields, get
from engine.config.train_spec import effective_config, stage_config, train_spec
from tests.helpers.made_run import config_of


@pytest.fixture
def config() -> RunConfig:
    return config_of(
        "quickstart",
        midtrain__steps=7,
        sft__learning_rate_fraction=0.5,
        sft__evaluate_every_steps=3,
        rl__problems_per_step=4,
        runtime__on_spike="skip",
        checkpoint__every_steps=9,
    )


def test_pretraining_trains_as_configured(config: RunConfig) -> None:
    assert effective_config(config, train_spec(config, "pretrain")) == config


def test_each_stage_has_its_own_settings(config: RunConfig) -> None:
    midtrain, sft, rl = (train_spec(config, stage) for stage in ("midtrain", "sft", "rl"))
    assert (midtrain.stage, midtrain.steps, sft.steps) == ("midtrain", 7, None)
    assert sft.optim.matrix_lr == 0.5 * config.optim.matrix_lr
    assert sft.optim.weight_decay == config.optim.weight_decay
    assert (sft.optim.warmup_steps, sft.optim.final_lr_fraction, rl.optim.warmdown_fraction) == (0, 0.0, 1.0)
    assert sft.evaluate.every_steps == 3 and sft.evaluate.sample_every_steps == 0
    assert rl.batch.device_batch_size == 4
    assert (sft.on_spike, rl.on_spike) == ("skip", "warn")
    assert {spec.checkpoint.every_steps for spec in (midtrain, sft, rl)} == {9}
    assert {(spec.shuffle, spec.on_exhausted) for spec in (midtrain, sft, rl)} == {(True, "epoch")}


@pytest.mark.parametrize("stage", ["midtrain", "sft", "rl"])
def test_a_stage_changes_no_other_setting(config: RunConfig, stage: str) -> None:
    used = stage_config(config, stage)
    changed = {path for path, _ in fields() if get(used, path) != get(config, path)}
    own = ("batch.", "optim.", "evaluate.", "data.shuffle", "data.on_exhausted", "runtime.on_spike")
    assert changed and all(path.startswith(own) for path in changed)
