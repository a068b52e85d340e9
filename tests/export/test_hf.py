"""The exported folder in the `transformers` library: the same logits, ids and conversations, of a trained model."""

import json
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.checkpoint.checkpoint import load_model
from engine.checkpoint.selection import choose_checkpoint
from engine.config.schema import TokenizerConfig
from engine.data.chat.conversation import conversation_of, prompt_of, render
from engine.data.corpora.builtin_corpus import BuiltinCorpus
from engine.data.tokenizer import SPECIAL_TOKENS, Tokenizer, train_tokenizer
from engine.export.tokenizer_json import read_tokenizer, tokenizer_json
from engine.inference.decoder import generate
from engine.inference.sampling_params import Sampling
from engine.run.directory import RunDirectory
from tests.helpers.byte_tokenizer import byte_tokenizer
from tests.helpers.trained_run import STEPS, home_of, nanosolo


@pytest.fixture(scope="module")
def folder(run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by the command line."""
    folder = tmp_path_factory.mktemp("exported") / "hf"
    done = nanosolo(run, "export", "tiny", "--to", "hf", str(folder))
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in done.stdout
    return folder


def test_same_logits_and_the_same_text(run: RunDirectory, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = load_model(choose_checkpoint(run).path, "cpu")
    theirs, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert type(theirs).__name__ == "NanoChatForCausalLM"
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokens = torch.randint(model.shape.vocab_size, (3, 128), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, actual = theirs(tokens).logits, model(tokens)
    assert float(expected.std()) > 0.5
    assert float((actual - expected).abs().max()) < 1e-4
    prompt = tokens[0, :20].tolist()
    greedy = theirs.generate(torch.tensor([prompt]), max_new_tokens=40, do_sample=False, eos_token_id=None)
    assert greedy[0, 20:].tolist() == list(generate(model, prompt, 40, Sampling(temperature=0)))


def test_whoever_may_read_the_configuration_may_read_the_weights(folder: Path) -> None:
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_conversations_have_exactly_our_ids(run: RunDirectory, folder: Path) -> None:
    from transformers import AutoTokenizer

    ours, theirs = Tokenizer.load(run.tokenizer), AutoTokenizer.from_pretrained(folder)
    user, answer = {"role": "user", "content": " Wie geht's?\n"}, {"role": "assistant", "content": "\n\nGut, danke. "}
    tool = [
        {"type": "text", "text": "That is "},
        {"type": "python", "text": "12 * 3"},
        {"type": "python_output", "text": "36"},
        {"type": "text", "text": " in all."},
    ]
    for messages in (
        [user, answer],
        [{"role": "system", "content": "Be brief.\n"}, user, answer, user, answer],
        [user, {"role": "assistant", "content": tool}, user, answer],
    ):
        conversation = conversation_of(messages)
        ids = theirs.apply_chat_template(messages, return_dict=True)["input_ids"]
        assert ids == render(conversation, ours).ids.tolist()
        prompt = theirs.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
        assert prompt == prompt_of(conversation[:-1], ours)
    with pytest.raises(Exception, match="take turns"):
        theirs.apply_chat_template([user, user])


def test_special_tokens_and_how_a_text_ends(run: RunDirectory, folder: Path) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    ours, theirs = Tokenizer.load(run.tokenizer), AutoTokenizer.from_pretrained(folder)
    assert {name: theirs.convert_tokens_to_ids(name) for name in SPECIAL_TOKENS} == ours.special_ids
    assert (theirs.bos_token, theirs.eos_token, len(theirs)) == ("<|bos|>", "<|assistant_end|>", ours.vocab_size)
    generation = GenerationConfig.from_pretrained(folder)
    assert set(generation.eos_token_id) == {ours.bos_id, ours.special_ids["<|assistant_end|>"]}
    text = "a <|bos|> b"
    assert theirs(text, split_special_tokens=True)["input_ids"] == ours.encode(text)
    assert theirs.decode(theirs(text)["input_ids"]) == text


def test_the_card_tells_what_the_run_knows(run: RunDirectory, folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    for fact in (
        "# tiny",
        f"sft, step {STEPS}",
        "depth = 2",
        f"{STEPS * 512:,} tokens in {STEPS} steps",
        "val_bpb",
        "torch 2.",
    ):
        assert fact in card
    example = card.partition("```python\n")[2].partition("```")[0]
    assert 'AutoTokenizer.from_pretrained("hf")' in example  # the folder's name, whatever the run's is
    beside = {"env": home_of(run), "cwd": folder.parent}
    done = subprocess.run([sys.executable, "-c", example], **beside, capture_output=True, text=True)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr


def test_a_base_model_ends_with_the_next_document_and_has_no_chat_template(run: RunDirectory, tmp_path: Path) -> None:
    from engine.export.hf import export_to_transformers

    files = export_to_transformers(run, choose_checkpoint(run, "pretrain"), tmp_path)
    assert "chat_template.jinja" not in {file.name for file in files}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["eos_token_id"] == config["bos_token_id"] == Tokenizer.load(run.tokenizer).bos_id
    assert "was not trained to answer" in (tmp_path / "README.md").read_text()


@pytest.fixture(scope="module")
def corpus() -> BuiltinCorpus:
    return BuiltinCorpus(0.05)


@pytest.fixture(scope="module")
def documents(corpus: BuiltinCorpus) -> list[str]:
    """10,000 real ones, of very different lengths."""
    draw = random.Random(5)
    pieces: list[str] = []
    for text in islice(corpus.documents("train"), 4000):
        start = 0
        while start < len(text):
            size = int(draw.paretovariate(0.7) * 20)
            pieces.append(text[start : start + size])
            start += size
    assert len(pieces) >= 10_000
    return draw.sample(pieces, 10_000)


@pytest.fixture(scope="module")
def learned(corpus: BuiltinCorpus) -> tuple[Tokenizer, "object"]:
    """A vocabulary learned from real text, here and in `tokenizers`."""
    from tokenizers import Tokenizer as Theirs

    ours = train_tokenizer(corpus, TokenizerConfig(vocab_size=2048, train_chars=1_000_000))
    return ours, Theirs.from_str(json.dumps(tokenizer_json(ours)))


def test_ids_of_ten_thousand_documents(learned: tuple, documents: list[str]) -> None:
    ours, theirs = learned
    expected = [ids.tolist() for ids in ours.encode_batch(documents, 1)]
    found = [encoding.ids for encoding in theirs.encode_batch(documents, add_special_tokens=False)]
    assert found == expected


# blanks of all kinds, letters that fold to ASCII, numbers that are no digits, marks, joiners
ODD = " \t\r\n\u00a0\u2028\u200b\x85\x1c'sStTlLvVeErRdDmM\u017f\u212a0Ⅷ½٣ǅªº-_=#…👍🏽\u200d\ufe0fé\u0301한"
HOSTILE = st.one_of(
    st.text(max_size=60),
    st.text(st.sampled_from(ODD), max_size=80),
    st.builds(lambda unit, times: unit * times, st.text(min_size=1, max_size=4), st.integers(1, 60)),
)


@settings(max_examples=600)
@given(HOSTILE)
def test_ids_of_hostile_text(learned: tuple, text: str) -> None:
    ours, theirs = learned
    assert theirs.encode(text, add_special_tokens=False).ids == ours.encode(text)
    assert theirs.decode(theirs.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_ids_where_a_token_has_many_ways_to_come_about() -> None:
    from tokenizers import Tokenizer as Theirs

    ours = byte_tokenizer("aaaaaaaa", "abab", "babab", "aab", "baa", "--------", "        ")
    theirs = Theirs.from_str(json.dumps(tokenizer_json(ours)))
    draw = random.Random(1)
    for _ in range(3000):
        text = "".join(draw.choices("aaab- ", k=draw.randint(1, 40)))
        assert theirs.encode(text, add_special_tokens=False).ids == ours.encode(text), text


def test_the_vocabulary_comes_back(learned: tuple, tmp_path: Path) -> None:
    ours, theirs = learned
    theirs.save(str(tmp_path / "tokenizer.json"))
    assert read_tokenizer(tmp_path / "tokenizer.json").identity() == ours.identity()
    ours.save(tmp_path / "own")
    assert read_tokenizer(tmp_path / "own" / "tokenizer.json").identity() == ours.identity()
