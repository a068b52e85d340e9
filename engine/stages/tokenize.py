"""The stage tokenize: writes the whole corpus as tokens, or reuses token files that exist.

Token files are shared between runs of one corpus and tokenizer. The run notes in tokens.json which ones it trains on;
`tokens_of` finds them again for the stages that train and evaluate, also after they moved.
"""

from pathlib import Path

import msgspec

from engine.core.atomic_io import NOT_JSON, write_atomically
from engine.core.errors import NanosoloError
from engine.core.paths import SHARED, data_home
from engine.data.shared import from_shared
from engine.data.tokenizer import Tokenizer
from engine.data.tokens import TokenSet, open_verified, tokenize
from engine.events.kinds import Warning
from engine.run.directory import RunDirectory
from engine.run.stage_context import StageContext
from engine.stages.data import corpus_of, refuse_after_training


def write_tokens(context: StageContext) -> None:
    """Write the tokens of the corpus, or find those that exist, and print how many there are."""
    noted = _noted_tokens(context.run)
    if noted is not None and noted.corpus != corpus_of(context.config).identity():
        refuse_after_training(context, "other tokens")
    tokens = make_tokens(context)
    for split, index in tokens.index.splits.items():
        print(f"{split}: {index.tokens:,} tokens of {index.documents:,} documents")


class TokensUsed(msgspec.Struct, frozen=True):
    """Which token files a run trains on, as tokens.json holds it."""

    directory: str
    corpus: str
    tokenizer: str


def make_tokens(context: StageContext) -> TokenSet:
    """The token files of the run's corpus and tokenizer, written where they are missing, and noted in the run."""
    config = context.config
    corpus = corpus_of(config)
    tokenizer = Tokenizer.load(context.run.tokenizer)
    # the whole corpus: part of it would be its first files only, and no other run could share it
    directory = _place_of(corpus.identity(), tokenizer.identity())
    tokens = tokenize(corpus, tokenizer, directory, context.progress)
    _note_tokens(context.run, tokens)
    return tokens


def tokens_of(context: StageContext) -> TokenSet:
    """The tokens that the run trains on: from the folder noted in the run, else the same ones from a shared cache or
    the home, else written again. A warning event says when they moved.

    Raises NanosoloError when there are none and the corpus is no longer the one that training began with.
    """
    used = _noted_tokens(context.run)
    if used is None:
        return make_tokens(context)
    try:
        return open_verified(Path(used.directory), used.corpus, used.tokenizer)
    except NanosoloError as error:  # moved to another machine, deleted, a cache that is gone, or a bad disk
        why = str(error).partition(". ")[0]
    tokens = _same_tokens(used)
    if tokens is not None:
        _warn_of_tokens(context, f"{why}. Training uses the same tokens in {tokens.directory}.")
        _note_tokens(context.run, tokens)
        return tokens
    now = corpus_of(context.config).identity()
    if now != used.corpus:
        raise NanosoloError(
            f"the tokens in {used.directory} are gone and the corpus has changed since (it is {now}, it was "
            f"{used.corpus}). Restore the folder (if it was in a shared cache: mount it, and name it in {SHARED}), "
            "restore the old text, or start a new run."
        )
    _warn_of_tokens(context, f"{why}. The tokens are written again to {data_home()}.")
    return make_tokens(context)


def _place_of(corpus: str, tokenizer: str) -> Path:
    """Where the home keeps the tokens of a corpus and a tokenizer, by their identities."""
    return data_home() / "tokens" / f"{corpus}-{tokenizer}"


def _same_tokens(used: TokensUsed) -> TokenSet | None:
    """The run's tokens from a shared cache or the home; None where they are in neither."""
    place = _place_of(used.corpus, used.tokenizer)
    found = from_shared(place, lambda copy: open_verified(copy, used.corpus, used.tokenizer))
    if found is not None:
        return found
    try:
        return open_verified(place, used.corpus, used.tokenizer)
    except NanosoloError:
        return None


def _note_tokens(run: RunDirectory, tokens: TokenSet) -> None:
    used = TokensUsed(str(tokens.directory), tokens.index.corpus, tokens.index.tokenizer)
    write_atomically(run.tokens_file, msgspec.json.encode(used))


def _noted_tokens(run: RunDirectory) -> TokensUsed | None:
    try:
        return msgspec.json.decode(run.tokens_file.read_bytes(), type=TokensUsed)
    except (OSError, *NOT_JSON):
        return None


def _warn_of_tokens(context: StageContext, message: str) -> None:
    print(message)
    context.emit(Warning(stage=context.stage, step=0, code="tokens_moved", message=message))
