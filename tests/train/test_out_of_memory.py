"""Memory that really runs out costs batch size, not the step, and says so; with nothing left to cut, it is refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.checkpoint.checkpoint import whole_checkpoint
from engine.core.errors import EXIT_OUT_OF_HOST_MEMORY
from engine.events.kinds import Evaluation, OutOfMemory, Sample
from engine.run.directory import RunDirectory
from tests.helpers.tiny_run import PATIENCE, Base, events_of, losses, train

ROWS, LENGTH, STEPS = 64, 128, 5
MIB = 2**20
# one micro-batch of these takes some 60 MiB of activations


def limit(method: str, room: int) -> str:
    """Python that leaves `room` bytes of address space beyond what is in use, from the third call of a method on."""
    module, name = method.rsplit(".", 1)
    file, kind = module.rsplit(".", 1)
    return (
        # large blocks come from the system and go back to it: none is kept from the steps before
        "import ctypes\nctypes.CDLL(None).mallopt(-3, 65536)\n"
        f"import psutil, resource\nfrom {file} import {kind} as kind\nreal = kind.{name}\ncalls = []\n"
        "def limited(*given):\n"
        "    calls.append(given)\n"
        "    if len(calls) == 3:\n"
        f"        most = psutil.Process().memory_info().vms + {room}\n"
        "        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))\n"
        "    return real(*given)\n"
        f"kind.{name} = limited\n"
    )


def run_of(base: Base, path: Path, **changes: Any) -> RunDirectory:
    shape = {
        "budget__steps": STEPS,
        "batch__device_batch_size": ROWS,
        "model__max_seq_len": LENGTH,
        "batch__total_batch_size": ROWS * LENGTH,
        "batch__loss": "full",
        "evaluate__every_steps": 1,
        "evaluate__tokens": ROWS * LENGTH,
    }
    return base.run(path, **(shape | changes))


@pytest.fixture(scope="module")
def undisturbed_losses(base: Base, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    run = run_of(base, tmp_path_factory.mktemp("memory") / "run")
    done = train(run)
    assert done.returncode == 0, done.stderr
    return losses(run)


def test_a_step_is_replayed_in_smaller_pieces(base: Base, tmp_path: Path, undisturbed_losses: dict[int, float]) -> None:
    run = run_of(base, tmp_path / "run", checkpoint__every_steps=0)
    done = train(run, limit("engine.train.step.StepRunner.run", 36 * MIB))
    assert done.returncode == 0, done.stderr
    told = [event for event in events_of(run, OutOfMemory) if event.phase != "evaluation"]
    assert told
    assert told[0].step == 3
    assert told[0].action.startswith(f"replaying the same batch with {ROWS // 2} sequences")
    assert losses(run) == pytest.approx(undisturbed_losses, rel=1e-5)


def test_one_sequence_that_does_not_fit_is_refused_with_advice(base: Base, tmp_path: Path) -> None:
    run = run_of(base, tmp_path / "run", checkpoint__every_steps=0)
    done = train(run, limit("engine.train.step.StepRunner.run", 0))
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "out of memory at step 3 with 1 sequences" in done.stderr
    assert "activation_checkpointing" in done.stderr
    assert events_of(run, OutOfMemory)[-1].action == "stopped"


def test_on_oom_stop_does_not_adapt(base: Base, tmp_path: Path) -> None:
    run = run_of(base, tmp_path / "run", runtime__on_oom="stop")
    done = train(run, limit("engine.train.step.StepRunner.run", 36 * MIB))
    assert done.returncode == 3
    [told] = events_of(run, OutOfMemory)
    assert (told.step, told.action) == (3, "stopped")


def test_evaluation_has_a_ladder_of_its_own(base: Base, tmp_path: Path, undisturbed_losses: dict[int, float]) -> None:
    run = run_of(base, tmp_path / "run", budget__steps=2, optim__warmdown_fraction=0.0)
    done = train(run, limit("engine.evaluate.evaluator.TextEvaluator._measure", 12 * MIB))
    assert done.returncode == 0, done.stderr
    told = events_of(run, OutOfMemory)
    assert {event.phase for event in told} == {"evaluation"}
    assert told[0].action == f"evaluating {ROWS // 2} sequences at a time"
    assert [event.step for event in events_of(run, Evaluation)] == [0, 1, 2]


def test_samples_for_which_there_is_no_memory_are_left_out(base: Base, tmp_path: Path) -> None:
    # the cache of so many tokens takes 100 MiB
    wishes = {"evaluate__prompts": ["a"], "evaluate__sample_tokens": 200_000, "checkpoint__every_steps": 0}
    run = base.run(tmp_path / "run", budget__steps=3, **wishes)
    done = train(run, limit("engine.train.step.StepRunner.run", 60 * MIB))
    assert done.returncode == 0, done.stderr
    assert [(event.phase, event.step) for event in events_of(run, OutOfMemory)] == [("sampling", 3)]
    assert not events_of(run, Sample)


def test_samples_of_no_tokens_are_no_samples(base: Base, tmp_path: Path) -> None:
    run = base.run(tmp_path / "run", budget__steps=2, evaluate__prompts=["a"], evaluate__sample_tokens=0)
    done = train(run)
    assert done.returncode == 0, done.stderr
    assert not events_of(run, Sample)


def test_a_batch_that_two_does_not_divide_is_cut_down_to_single_sequences(base: Base, tmp_path: Path) -> None:
    run = run_of(base, tmp_path / "run", batch__device_batch_size=3, batch__total_batch_size=3 * LENGTH)
    done = train(run, limit("engine.train.step.StepRunner.run", 0))
    assert "with 1 sequences at a time" in done.stderr
    actions = [event.action for event in events_of(run, OutOfMemory) if event.phase != "evaluation"]
    assert actions == [*(f"replaying the same batch with {rows} sequences at a time" for rows in (2, 1)), "stopped"]


WITHOUT_ROOM = f"""
import resource, sys
from pathlib import Path
import psutil
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.config.layers import from_dict
from engine.plan.shape import shape_of
from engine.checkpoint.checkpoint import first_state
from engine.checkpoint.async_writer import CheckpointWriter
config = from_dict({{"model": {{"depth": 6, "max_seq_len": 32}}, "tokenizer": {{"vocab_size": 300}}}})
model = GPT(shape_of(config))
model.init_weights(1)
optimizer = Optimizer(model, config.optim, model.shape.width)
# enough for a thread, and half of what a copy takes
most = psutil.Process().memory_info().vms + {40 * MIB}
resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
writer = CheckpointWriter(Path(sys.argv[1]), model, optimizer, lambda: None)
writer.start(first_state(config))
print(writer.wait().saved.bytes)
"""


def test_without_memory_for_a_copy_checkpoints_are_written_from_the_weights_themselves(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_ROOM, str(tmp_path / "checkpoints")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 80 * MIB
    assert whole_checkpoint(tmp_path / "checkpoints", lambda *damage: pytest.fail(str(damage))) is not None


def test_a_model_for_which_there_is_no_memory_ends_the_stage_as_out_of_memory(base: Base, tmp_path: Path) -> None:
    run = base.run(tmp_path / "run", model__depth=6)  # weights of 43 MB
    small = (
        "import psutil, resource\nfrom engine.train import training\nreal = training.GPT\n"
        "def small(*given):\n"
        f"    most = psutil.Process().memory_info().vms + {8 * MIB}\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))\n"
        "    return real(*given)\n"
        "training.GPT = small\n"
    )
    done = train(run, small)
    assert done.returncode == EXIT_OUT_OF_HOST_MEMORY, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: out of host memory: ")
