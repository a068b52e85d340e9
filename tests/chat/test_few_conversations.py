"""Fine-tuning on a handful of conversations, which leave nothing to hold out and fewer rows than a batch has."""

import json
from pathlib import Path

from engine.events.kinds import Evaluation, Step, Warning
from tests.helpers.tiny_run import Base, events_of, run_stages


def test_a_single_conversation_is_trained_on_with_a_warning(tmp_path: Path) -> None:
    base = Base(tmp_path / "base")
    file = tmp_path / "talks.jsonl"
    file.write_text(json.dumps([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]))
    run = base.run(
        tmp_path / "run",
        budget__steps=1,
        pipeline__stages=["pretrain", "sft"],
        sft__sources=[str(file)],
        sft__steps=2,
        sft__total_batch_size=256,
    )
    run_stages(base, run, ("pretrain", "sft"))
    [said] = events_of(run, Warning)
    assert (said.stage, said.code) == ("sft", "no_validation")
    assert "the validation split has no conversation" in said.message
    assert [e.step for e in events_of(run, Step) if e.stage == "sft"] == [1, 2]
    assert not [e for e in events_of(run, Evaluation) if e.stage == "sft"]
