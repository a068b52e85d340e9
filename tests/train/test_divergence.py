"""Losses that are no numbers, and spikes: stopped before the update, rewound, warned of or left out, as configured."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.checkpoint.checkpoint import read_state
from engine.checkpoint.manifest import verify
from engine.data.loader import LoaderState
from engine.diagnostics.live import diagnose
from engine.events.history import History, read_history
from engine.events.kinds import Checkpoint, Diverged, Resumed, Step
from engine.events.log import read_events
from engine.events.spikes import FEWEST, SPIKE, WINDOW, find_spike, remember
from engine.run.checkpoints import checkpoint_path
from engine.train.rewind import MOST_REWINDS, Rewind, attempts_from, position_after, read_rewinds
from tests.helpers.tiny_run import SAVE_EVERY, STEPS, Base, events_of, losses, train

POISON = (  # the batch that begins at row 48 of epoch 0, which step 7 is about to take, has a token that is no token
    "import torch\nfrom engine.train import step as s\nreal = s.summed_loss\n"
    "take = s.StepBatches.take\n"
    "poisoned = [False]\n"
    "def taken(self):\n"
    "    batch = take(self)\n"
    "    poisoned[0] = batch.state.epoch == 0 and 48 < batch.state.row <= 56\n"
    "    return batch\n"
    "s.StepBatches.take = taken\n"
    "s.summed_loss = lambda *given: real(*given) * (float('nan') if poisoned[0] else 1.0)\n"
)


def test_rates_that_are_too_high_end_before_the_update(base: Base, tmp_path: Path) -> None:
    run = base.run(tmp_path / "run", optim__matrix_lr=1e38, optim__embedding_lr=1e38, checkpoint__every_steps=1)
    done = train(run)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "optim.matrix_lr" in done.stderr
    [diverged] = events_of(run, Diverged)
    assert (diverged.epoch, diverged.row) == (0, 8 * (diverged.step - 1))
    assert all(event.loss is not None for event in events_of(run, Step))
    # what is on the disk is finite
    for saved in events_of(run, Checkpoint):
        assert saved.step < diverged.step


def test_a_loss_that_is_no_number_leaves_the_weights_alone(base: Base, tmp_path: Path) -> None:
    run = base.run(tmp_path / "run", checkpoint__every_steps=6)
    done = train(run, POISON)
    assert done.returncode == 4
    [diverged] = events_of(run, Diverged)
    assert (diverged.step, diverged.epoch, diverged.row) == (7, 0, 48)
    assert "loss nan" in diverged.what
    verify(checkpoint_path(run.checkpoints("pretrain"), 6))
    assert len(losses(run)) == 6


def test_rewind_goes_on_behind_the_data_that_diverged(base: Base, tmp_path: Path) -> None:
    run = base.run(tmp_path / "run", runtime__on_divergence="rewind")
    done = train(run, POISON)
    assert done.returncode == 0, done.stderr
    [diverged] = events_of(run, Diverged)
    assert diverged.step == 7
    assert "rewinding to step 5" in diverged.action
    assert events_of(run, Resumed)[-1].step == SAVE_EVERY
    assert list(losses(run)) == list(range(1, STEPS + 1))
    # steps 6 and 7 of the first time were left out: two steps of eight rows
    last = read_state(checkpoint_path(run.checkpoints("pretrain"), STEPS))
    rows = read_history(run.events_file).columns("pretrain").tokens[-1] // 32
    assert rows == STEPS * 8
    first = read_rewinds(run.checkpoints("pretrain"))
    assert first == [Rewind(step=5, at_step=7, loader=LoaderState(0, 56))]
    assert (last.loader.epoch, last.loader.row) == (0, STEPS * 8 + 16)


def test_rewinds_end(base: Base, tmp_path: Path) -> None:
    run = base.run(tmp_path / "run", runtime__on_divergence="rewind")
    always = POISON.replace("and 48 < batch.state.row <= 56", "and 48 < batch.state.row")
    done = train(run, always)
    assert done.returncode == 4
    assert f"rewound to that checkpoint {MOST_REWINDS} times" in done.stderr
    assert len(events_of(run, Diverged)) == MOST_REWINDS + 1


def test_a_spike_is_told_of_and_its_update_left_out(base: Base, tmp_path: Path) -> None:
    spike = (
        "from engine.train import step as s\nreal = s.StepRunner.run\n"
        "def run(self, loader, step, scale, momentum, acceptable):\n"
        "    def told(step, loss): return acceptable(step, loss + 100 * (step == 70))\n"
        "    return real(self, loader, step, scale, momentum, told)\n"
        "s.StepRunner.run = run\n"
    )
    first, second = (
        base.run(tmp_path / name, runtime__on_spike=name, budget__steps=72, evaluate__every_steps=0)
        for name in ("warn", "skip")
    )
    for run in (first, second):
        assert train(run, spike).returncode == 0
        [warning] = read_history(run.events_file).warnings
        assert (warning.code, warning.step) == ("spike", 70)
    assert losses(first)[70] == losses(second)[70]
    assert losses(first)[71] != losses(second)[71]  # the update of step 70 is missing in one of them


SPIKES = (65, 100, 128)  # the first step that the rule covers, one within the first window, the last of it


def test_every_spike_that_the_trainer_reports_reaches_the_advice(base: Base, tmp_path: Path) -> None:
    raised = (
        "from engine.train import step as s\nreal = s.StepRunner.run\n"
        "def run(self, loader, step, scale, momentum, acceptable):\n"
        f"    more = 10.0 ** ({SPIKES}.index(step) + 2) if step in {SPIKES} else 0.0\n"
        "    result = real(self, loader, step, scale, momentum, lambda step, loss: acceptable(step, loss + more))\n"
        "    return result._replace(loss=result.loss + more)\n"
        "s.StepRunner.run = run\n"
    )
    run = base.run(tmp_path / "run", budget__steps=130, evaluate__every_steps=0, checkpoint__every_steps=0)
    assert train(run, raised).returncode == 0
    history, told, silent = History(), {}, []
    for event in read_events(run.events_file):
        history.apply(event)
        if isinstance(event, Step):
            advice = {found.code: found for found in diagnose(history, run.plan(), run.config(), event.t)}
            spike = advice.get("loss_spike")
            if spike is None:
                silent.append(event.step)
            elif event.step in SPIKES:
                told[event.step] = spike
    assert [warning.step for warning in history.warnings if warning.code == SPIKE] == list(SPIKES)
    assert silent == list(range(1, SPIKES[0]))
    for step, spike in told.items():
        assert spike.severity == "warning" and spike.message.startswith(f"loss spike at step {step}: loss 1")
        assert "sigma above the mean" in spike.message
    assert tuple(told) == SPIKES


losses_of_steps = st.lists(st.floats(0.5, 12.0), max_size=3 * WINDOW)


@given(losses_of_steps, st.floats(0.0, 30.0))
def test_the_spike_rule(seen: list[float], loss: float) -> None:
    window: tuple[float, ...] = ()
    for value in seen:
        window = remember(window, value)
    assert list(window) == seen[-WINDOW:]
    spike = find_spike(window, loss)
    if spike is None:
        return
    assert len(window) >= FEWEST
    assert loss > max(window) or loss > sum(window) / len(window)
    assert str(spike)


def test_a_level_that_stays_high_ends_in_being_usual() -> None:
    window = tuple(3.0 + 0.01 * (step % 7) for step in range(WINDOW))
    spikes = 0
    while find_spike(window, 5.0):
        window = remember(window, 5.0)
        spikes += 1
    assert 0 < spikes < 10


def test_a_rewind_counts_for_its_checkpoint_only() -> None:
    made = [Rewind(step=5, at_step=7, loader=LoaderState(0, 56)), Rewind(step=5, at_step=9, loader=LoaderState(0, 90))]
    assert position_after(made, 5, LoaderState(0, 40)) == LoaderState(0, 90)
    assert position_after(made, 5, LoaderState(1, 0)) == LoaderState(1, 0)  # written after the rewind
    assert position_after(made, 10, LoaderState(0, 80)) == LoaderState(0, 80)
    assert (attempts_from(made, 5), attempts_from(made, 10)) == (2, 0)
