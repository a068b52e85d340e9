"""nanochat's checkpoint layout: written, read back with nothing lost, refused where it is something else."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.checkpoint.checkpoint import MODEL_FILE, load_model, read_state, write_checkpoint
from engine.checkpoint.selection import Chosen, choose_checkpoint
from engine.core.errors import UsageError
from engine.data.tokenizer import Tokenizer
from engine.export.nanochat import export_to_nanochat, import_from_nanochat
from engine.export.tokenizer_json import read_tokenizer
from engine.model.gpt import GPT
from engine.run.directory import RunDirectory
from tests.helpers.trained_run import STEPS, nanosolo


@pytest.fixture(scope="module")
def base_dir(run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "nanochat"
    done = nanosolo(run, "export", "tiny", "--stage", "pretrain", "--to", "nanochat", str(folder))
    assert done.returncode == 0, done.stderr
    assert "not carried over: tokenizer.pkl" in done.stderr
    return folder


def test_names_keys_and_meta_data_are_nanochats(run: RunDirectory, base_dir: Path) -> None:
    place = base_dir / "base_checkpoints" / "d2"
    stored = torch.load(place / f"model_{STEPS:06d}.pt", weights_only=True)
    assert set(stored) == {
        "transformer.wte.weight",
        "lm_head.weight",
        *(
            f"transformer.h.{layer}.{name}.weight"
            for layer in range(2)
            for name in ("attn.c_q", "attn.c_k", "attn.c_v", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        ),
    }
    assert stored["transformer.h.0.mlp.c_fc.weight"].shape == (512, 128)
    meta = json.loads((place / f"meta_{STEPS:06d}.json").read_text())
    expected = {"sequence_len": 128, "vocab_size": 300, "n_layer": 2, "n_head": 1, "n_kv_head": 1, "n_embd": 128}
    assert meta["model_config"] == expected
    assert meta["step"] == STEPS


def test_an_export_comes_back_as_a_run(run: RunDirectory, base_dir: Path) -> None:
    folder, vocabulary = base_dir / "base_checkpoints" / "d2", base_dir / "tokenizer" / "tokenizer.json"
    done = nanosolo(run, "import", str(folder), "--name", "back", "--tokenizer", str(vocabulary), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stage"] == "pretrain"
    back = RunDirectory(run.path.parent / "back")
    chosen = choose_checkpoint(back)
    ours, theirs = (load_model(choose_checkpoint(r, "pretrain").path, "cpu").state_dict() for r in (run, back))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert read_state(chosen.path).step == chosen.step == STEPS
    assert Tokenizer.load(back.tokenizer).identity() == Tokenizer.load(run.tokenizer).identity()
    asked = ("--prompt", "abc", "--temperature", "0", "--max-tokens", "12")
    assert (
        nanosolo(run, "chat", "back", *asked).stdout
        == nanosolo(run, "chat", "tiny", "--stage", "pretrain", *asked).stdout
    )


def test_weights_keep_their_dtypes(run: RunDirectory, tmp_path: Path) -> None:
    """As on a GPU, where the embedding is bfloat16."""
    chosen = choose_checkpoint(run, "pretrain")
    state = read_state(chosen.path)
    model = GPT(state.shape, compute_dtype=torch.bfloat16)
    model.init_weights(1)
    saved = write_checkpoint(tmp_path / "pretrain", {MODEL_FILE: model.state_dict()}, state, lambda: None)
    written, *_ = export_to_nanochat(run, Chosen("pretrain", state.step, saved.path), tmp_path / "out")
    stored = torch.load(written, weights_only=True)
    halves = {key for key, weight in stored.items() if weight.dtype == torch.bfloat16}
    assert halves == {"transformer.wte.weight"}
    assert stored["transformer.wte.weight"].equal(model.embedding.weight)


@pytest.fixture
def refused(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], str]:
    """Tries to import, and gives what it says against it."""
    monkeypatch.setenv("NANOSOLO_HOME", str(run.path.parents[1]))

    def attempt(folder: Path, vocabulary: Path) -> str:
        with pytest.raises(UsageError) as error:
            import_from_nanochat(folder, None, "refused", read_tokenizer(vocabulary))
        assert not (run.path.parent / "refused").exists()
        assert "\n" not in str(error.value)
        return str(error.value)

    return attempt


def test_a_pickle_with_code_is_not_run(refused: Callable[[Path, Path], str], base_dir: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "trapped"),)  # type: ignore[return-value]

    place = tmp_path / "d2"
    shutil.copytree(base_dir / "base_checkpoints" / "d2", place)
    model = place / f"model_{STEPS:06d}.pt"
    torch.save({"lm_head.weight": Trap()}, model)
    vocabulary = base_dir / "tokenizer" / "tokenizer.json"
    assert "loaded safely" in refused(place, vocabulary)
    model.write_bytes(pickle.dumps(Trap()))
    assert "loaded safely" in refused(place, vocabulary)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("meta", "is not the meta data"),
        ("width", "only nanochat's own proportions"),
        ("key", "value_embeds.0.weight is unknown"),
        ("shape", "lm_head.weight is (3, 3), expected (300, 128)"),
        ("none", "no model_<step>.pt"),
        ("tokenizer", "not a byte-level vocabulary"),
    ],
)
def test_what_is_something_else_is_refused(
    refused: Callable[[Path, Path], str], base_dir: Path, tmp_path: Path, what: str, message: str
) -> None:
    place, vocabulary = tmp_path / "d2", base_dir / "tokenizer" / "tokenizer.json"
    shutil.copytree(base_dir / "base_checkpoints" / "d2", place)
    model, meta = place / f"model_{STEPS:06d}.pt", place / f"meta_{STEPS:06d}.json"
    stored = torch.load(model, weights_only=True)
    match what:
        case "meta":
            meta.write_text("[1]")
        case "width":
            meta.write_text(meta.read_text().replace('"n_embd": 128', '"n_embd": 96'))
        case "key":
            torch.save(stored | {"value_embeds.0.weight": torch.zeros(1)}, model)
        case "shape":
            torch.save(stored | {"lm_head.weight": torch.zeros(3, 3)}, model)
        case "none":
            model.unlink()
        case "tokenizer":
            vocabulary = tmp_path / "tokenizer.json"
            vocabulary.write_text('{"model": {"vocab": {}}}')
    assert message in refused(place, vocabulary)


def test_an_export_overwrites_nothing(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("mine")
    done = nanosolo(run, "export", "tiny", "--to", "hf", str(tmp_path))
    assert done.returncode == 2 and "there is something already" in done.stderr
    done = nanosolo(run, "export", "tiny", "--to", "gguf", str(tmp_path / "new"))
    assert done.returncode == 2 and "expected hf or nanochat" in done.stderr
