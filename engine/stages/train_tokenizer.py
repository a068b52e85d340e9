"""The stage tokenizer: trains the tokenizer on the corpus, or reuses the one that the same corpus and settings gave.

The run keeps a copy of its own, so that its directory is complete.
"""

from pathlib import Path

import msgspec

from engine.core.errors import NanosoloError
from engine.core.paths import require_writable, tokenizers_home
from engine.data.corpora.corpus import short_hash
from engine.data.shared import from_shared
from engine.data.tokenizer import Tokenizer, train_tokenizer
from engine.run.stage_context import StageContext
from engine.stages.data import corpus_of, print_skipped, refuse_after_training


def make_tokenizer(context: StageContext) -> None:
    """Find the tokenizer in a shared cache or in the home, else train it; then copy it into the run."""
    corpus = corpus_of(context.config)
    key = short_hash(corpus.identity(), msgspec.to_builtins(context.config.tokenizer))
    folder = tokenizers_home() / key
    tokenizer = from_shared(folder, Tokenizer.load) or _load_or_none(folder)
    if tokenizer is not None:
        print(f"tokenizer {key}: trained before")
    else:
        require_writable(tokenizers_home(), mode=0o777)  # others may share it, as they may the tokens
        tokenizer = train_tokenizer(corpus, context.config.tokenizer, context.progress)
        tokenizer.save(folder)
        print(f"tokenizer {key}: {tokenizer.vocab_size:,} tokens")
        print_skipped(corpus)
    before = _load_or_none(context.run.tokenizer)  # of an earlier start of this run; a damaged one is replaced
    if before is not None and before.identity() != tokenizer.identity():
        refuse_after_training(context, "another tokenizer")
    tokenizer.save(context.run.tokenizer)


def _load_or_none(folder: Path) -> Tokenizer | None:
    """The tokenizer in a folder; None where it is missing or damaged."""
    try:
        return Tokenizer.load(folder)
    except NanosoloError:
        return None
