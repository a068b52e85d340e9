"""`nanosolo fit`: real probes in processes of their own, under real limits of memory."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from engine.autotune import fitting
from engine.autotune.fitting import Finding, Trial
from engine.config.layers import from_dict, with_changes
from engine.config.schema import RunConfig
from engine.core.errors import NanosoloError, UsageError
from engine.hardware.detect import detect_cpu, detect_gpu
from engine.hardware.gpu_catalog import by_id, cpu
from engine.plan import budget_search
from engine.run.calibration_store import read_calibration
from tui.cli.commands.fit import adopt, parse_size

MIB = 2**20
LIMIT = 500 * MIB  # a tiny model's batch of 8 stays far below, one of 512 far above


@pytest.fixture
def tiny() -> RunConfig:
    return from_dict(
        {
            "model": {"depth": 1, "max_seq_len": 128},
            "batch": {"device_batch_size": 8, "total_batch_size": 512 * 128, "loss_chunk_tokens": 128},
            "tokenizer": {"vocab_size": 512},
            "runtime": {"gpu": "cpu", "device": "cpu", "threads": 1},
        }
    )


def test_a_probe_measures_speed_and_memory(tiny: RunConfig) -> None:
    found = fitting.run_probe(tiny, 1, LIMIT)
    assert found.outcome == "done" and found.device == "cpu"
    assert found.tokens_per_second is not None and found.tokens_per_second > 0
    assert found.step_seconds == pytest.approx(512 * 128 / found.tokens_per_second)  # of the whole step
    assert found.peak_memory is not None and 100 * MIB < found.peak_memory < 2 * LIMIT


def test_memory_really_runs_out_below_a_limit(tiny: RunConfig) -> None:
    large = with_changes(tiny, {"batch.device_batch_size": 512})
    assert fitting.run_probe(large, 1, LIMIT).outcome == "out_of_memory"


def test_climbing_ends_where_memory_runs_out(tiny: RunConfig) -> None:
    gpu = msgspec.structs.replace(detect_cpu(1), capacity=900 * MIB)
    config = with_changes(tiny, {"batch.device_batch_size": 256})
    tries = (with_changes(config, {"batch.device_batch_size": size}) for size in (4, 512, 8))
    trials = list(fitting.until_it_fails(tries, gpu, "none", 1, LIMIT))
    assert [(trial.size, trial.finding.outcome) for trial in trials] == [(4, "done"), (512, "out_of_memory")]
    best = fitting.best_of(trials, gpu.capacity)
    assert best is not None and best.size == 4
    kept = fitting.measurement(best, gpu)
    assert kept.tokens_per_second == best.finding.tokens_per_second and kept.peak_memory == best.peak


def test_a_probe_that_takes_too_long_is_given_up(tiny: RunConfig) -> None:
    assert fitting.run_probe(tiny, 1, LIMIT, patience=0.05).outcome == "too_slow"


def test_another_failure_is_one_line(tiny: RunConfig) -> None:
    if detect_gpu() is not None:
        pytest.skip("needs a machine without a GPU")
    on_cuda = with_changes(tiny, {"runtime.device": "cuda"})
    with pytest.raises(NanosoloError) as caught:
        fitting.run_probe(on_cuda, 1)
    assert "\n" not in str(caught.value) and "probe of depth 1" in str(caught.value)


def test_the_ladder_is_the_documents() -> None:
    rungs = fitting.ladder(from_dict({"model": {"depth": 20}}))
    seen = [(r.model.depth, r.batch.device_batch_size, r.model.max_seq_len) for r in rungs]
    assert seen[:3] == [(8, 2, 512), (14, 2, 1024), (20, 2, 2048)]
    assert seen[3:6] == [(20, 4, 2048), (20, 8, 2048), (20, 16, 2048)]
    small = fitting.ladder(from_dict({"model": {"depth": 4, "max_seq_len": 256}}))
    assert {r.model.depth for r in small} == {4}


def test_the_best_of_what_was_measured_leaves_room() -> None:
    config = from_dict({"model": {"depth": 20}})
    gpu = by_id("a100-40gb")

    def trial(size: int, peak: float, rate: float) -> Trial:
        cut = with_changes(config, {"batch.device_batch_size": size})
        finding = Finding(outcome="done", tokens_per_second=rate, peak_memory=int(peak * gpu.capacity))
        return Trial(cut, "none", finding, finding.peak_memory, budget_search.predict_fit(cut, gpu, "none", size))

    trials = [trial(4, 0.5, 40e3), trial(8, 0.7, 43e3), trial(16, 0.94, 44e3), trial(32, 0.98, 45e3)]
    best = fitting.best_of(trials, gpu.capacity)
    assert best is not None and best.size == 16
    assert fitting.best_of([], gpu.capacity) is None


def test_a_probe_on_the_cpu_never_takes_all_memory() -> None:
    limit = fitting.memory_limit_for(cpu(2, 2**36), None)
    assert limit is not None and 0 < limit < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert fitting.memory_limit_for(cpu(2, 2**36), 7) == 7
    assert fitting.memory_limit_for(by_id("a100-40gb"), None) is None


@pytest.mark.parametrize(
    ("text", "size"), [("2GiB", 2**31), ("800M", 800 * MIB), ("1.5g", 3 * 2**29), ("4096", 4096), ("512 MiB", 2**29)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1G", "0", "2 GiB 3", "1e9"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--limit"):
        parse_size(text)


def test_adopting_keeps_the_step() -> None:
    config = from_dict({"model": {"depth": 20}, "batch": {"device_batch_size": 3, "total_batch_size": 524_288}})
    fit = budget_search.predict_fit(config, by_id("a100-40gb"), "block", 1)
    adopted = adopt(config, fit)
    assert budget_search.tokens_per_step(adopted) == budget_search.tokens_per_step(config)
    assert adopted.batch.activation_checkpointing == "block"


def run_fit(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from tui.cli.main import main; sys.exit(main(sys.argv[1:]))"
    # numpy's own threads, one for each core, would count against the limit with their stacks
    environment = {**os.environ, "NANOSOLO_HOME": str(home), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        (sys.executable, "-c", code, "fit", *words), capture_output=True, text=True, env=environment, check=False
    )


def test_fit_by_the_command_line_measures_writes_and_teaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {
        "model.depth": 1,
        "model.max_seq_len": 128,
        "batch.device_batch_size": 2,
        "batch.total_batch_size": 256,
        "tokenizer.vocab_size": 512,
        "runtime.threads": 1,
    }
    settings = [word for path, value in changes.items() for word in ("--set", f"{path}={value}")]
    written = tmp_path / "best.toml"
    done = run_fit(
        tmp_path, "--gpu", "cpu", "--limit", "900MiB", "--iterations", "1", *settings, "--write", str(written), "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["not_tried"] is None
    assert [trial["outcome"] for trial in found["trials"]] == ["done"] * len(found["trials"]) and found["trials"]
    batch = tomllib.loads(written.read_text())["batch"]
    assert batch["device_batch_size"] == found["sweet_spot"]["device_batch_size"]
    assert batch["total_batch_size"] == 256
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path))
    assert len(read_calibration(detect_cpu(1)).measured) == len(found["trials"])


def test_fit_for_a_card_that_is_not_here_predicts_only(tmp_path: Path) -> None:
    done = run_fit(tmp_path, "--preset", "reference", "--gpu", "b200", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert "no NVIDIA GPU; this is for b200" in found["not_tried"] and found["trials"] == []
    assert found["sweet_spot"]["device_batch_size"] >= 16


@pytest.mark.parametrize("preset", ["balanced", "quickstart"])
def test_fit_says_why_batches_end_and_what_would_allow_a_larger_one(tmp_path: Path, preset: str) -> None:
    words = ("--preset", preset, "--gpu", "a100-40gb", "--predict")
    [why] = [line for line in run_fit(tmp_path, *words).stdout.splitlines() if line.startswith("batches end at ")]
    larger, total = re.findall(r"for (\d+) set (batch\.total_batch_size = \d+)", why)[0]
    after = run_fit(tmp_path, *words, "--set", total.replace(" ", "")).stdout.splitlines()
    assert any(line.split()[:2] == [larger, "none"] for line in after)


def test_fit_says_nothing_of_batches_that_memory_ends(tmp_path: Path) -> None:
    assert "batches end" not in run_fit(tmp_path, "--preset", "maximum", "--gpu", "a100-80gb", "--predict").stdout
