"""--set KEY=none takes back what a preset set, where the setting may be left out; elsewhere it is a plain word."""

import pytest

from engine.config.layers import Layer, parse_override, resolve


@pytest.mark.parametrize("path", ["budget.steps", "budget.tokens", "runtime.threads", "runtime.price_per_hour"])
def test_none_takes_an_optional_value_back(path: str) -> None:
    section, key = path.split(".")
    resolved = resolve(Layer("preset", {section: {key: 7}}), Layer("flag", parse_override(f"{path} = none")))
    assert getattr(getattr(resolved.config, section), key) is None


def test_none_stays_a_word_where_it_is_a_choice() -> None:
    changed = parse_override("batch.activation_checkpointing=none")
    assert resolve(Layer("flag", changed)).config.batch.activation_checkpointing == "none"
