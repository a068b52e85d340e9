"""The data stages of a run: get the corpus, train the tokenizer, write the tokens. Each is done once and shared."""

from pathlib import Path

import msgspec

from engine.config.schema import RunConfig
from engine.config.stages import LINE
from engine.core.atomic_io import NOT_JSON, write_atomically
from engine.core.errors import NanosoloError, UsageError
from engine.core.paths import SHARED, data_home, require_writable, tokenizers_home
from engine.data.corpora.corpus import SPLITS, Corpus, short_hash
from engine.data.corpora.registry import open_corpus
from engine.data.shared import from_shared
from engine.data.tokenizer import Tokenizer, train_tokenizer
from engine.data.tokens import TokenSet, open_verified, tokenise
from engine.events.kinds import Warning
from engine.plan.batch import tokens_per_step
from engine.plan.dataset_facts import shards_needed
from engine.plan.plan import training_steps
from engine.plan.shape import shape_of
from engine.run.checkpoints import list_checkpoints
from engine.run.directory import RunDirectory
from engine.run.stage_context import StageContext
from engine.run.stage_status import read_standing


class TokensUsed(msgspec.Struct, frozen=True):
    """Which token files a run trains on."""

    directory: str
    corpus: str
    tokenizer: str


def fetch(context: StageContext) -> None:
    """Make the corpus available here and see that there is text in it; likewise what later stages will ask for, so
    that nothing is found missing after days of training."""
    corpus = _corpus(context.config)
    corpus.prepare(context.progress)
    print(f"corpus: {corpus.description()}")
    _report_skipped(corpus)
    _fetch_for_later(context)


def train_the_tokenizer(context: StageContext) -> None:
    """Train the tokenizer, or take the one that the same corpus and settings gave before; keep a copy in the run."""
    corpus = _corpus(context.config)
    key = short_hash(corpus.identity(), msgspec.to_builtins(context.config.tokenizer))
    place = tokenizers_home() / key
    tokenizer = from_shared(place, Tokenizer.load) or _load_if_there(place)
    if tokenizer is not None:
        print(f"tokenizer {key}: trained before")
    else:
        require_writable(tokenizers_home(), mode=0o777)  # others may share it, as they may the tokens
        tokenizer = train_tokenizer(corpus, context.config.tokenizer, context.progress)
        tokenizer.save(place)
        print(f"tokenizer {key}: {tokenizer.vocab_size:,} tokens")
        _report_skipped(corpus)
    if tokenizer.identity() != _identity_of(context.run.tokenizer, tokenizer):
        _refuse_after_training(context, "another tokenizer")
    tokenizer.save(context.run.tokenizer)


def write_tokens(context: StageContext) -> None:
    """Write the corpus as tokens, or take those that are there."""
    noted = _noted_tokens(context.run)
    if noted is not None and noted.corpus != _corpus(context.config).identity():
        _refuse_after_training(context, "other tokens")
    tokens = make_tokens(context)
    for split, index in tokens.index.splits.items():
        print(f"{split}: {index.tokens:,} tokens of {index.documents:,} documents")


def make_tokens(context: StageContext) -> TokenSet:
    """The token files of the run's corpus and tokenizer, written if need be, and noted in the run."""
    config = context.config
    corpus = _corpus(config)
    tokenizer = Tokenizer.load(context.run.tokenizer)
    # the whole corpus: a part of it would be its first files, and no other run could share it
    directory = _place_of(corpus.identity(), tokenizer.identity())
    tokens = tokenise(corpus, tokenizer, directory, context.progress)
    _note_tokens(context.run, tokens)
    return tokens


def tokens_of(context: StageContext) -> TokenSet:
    """The tokens that the run trains on: in the folder noted in the run, else the same ones in a shared cache or in the
    home, else written again. A warning says when they are not where they were.

    Raises NanosoloError when there are none and the corpus is no longer the one that training began with.
    """
    used = _noted_tokens(context.run)
    if used is None:
        return make_tokens(context)
    try:
        return open_verified(Path(used.directory), used.corpus, used.tokenizer)
    except NanosoloError as error:  # moved to another machine, cleaned up, a cache that is gone, or a bad disk
        why = str(error).partition(". ")[0]
    tokens = _same_tokens(used)
    if tokens is not None:
        _warn_of_tokens(context, f"{why}. Training uses the same tokens in {tokens.directory}.")
        _note_tokens(context.run, tokens)
        return tokens
    now = _corpus(context.config).identity()
    if now != used.corpus:
        raise NanosoloError(
            f"the tokens in {used.directory} are gone and the corpus has changed since (it is {now}, it was "
            f"{used.corpus}). Restore the folder (if it was in a shared cache: mount it, and name it in {SHARED}), "
            "bring the old text back, or start a new run."
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


def _warn_of_tokens(context: StageContext, message: str) -> None:
    print(message)
    context.emit(Warning(stage=context.stage, step=0, code="tokens_moved", message=message))


def _load_if_there(folder: Path) -> Tokenizer | None:
    """The tokenizer in a folder; None where it is missing or cannot be used."""
    try:
        return Tokenizer.load(folder)
    except NanosoloError:
        return None


def _noted_tokens(run: RunDirectory) -> TokensUsed | None:
    try:
        return msgspec.json.decode(run.tokens_file.read_bytes(), type=TokensUsed)
    except (OSError, *NOT_JSON):
        return None


def _identity_of(folder: Path, otherwise: Tokenizer) -> str:
    """Of the tokenizer that a run has; of the other where it has none, or a damaged one."""
    return (_load_if_there(folder) or otherwise).identity()


def _refuse_after_training(context: StageContext, what: str) -> None:
    """Weights are worth nothing with a tokenizer, and an order of data means nothing with a text, that they were not
    trained with. Raises NanosoloError where there are any."""
    if any(list_checkpoints(context.run.checkpoints(stage)) for stage in LINE):
        raise NanosoloError(
            f"the text has changed since run {context.run.name} trained on it and now gives {what}. Bring the old text "
            "back, or start a new run."
        )


def _corpus(config: RunConfig) -> Corpus:
    tokens = training_steps(config, shape_of(config)) * tokens_per_step(config)
    return open_corpus(config.data, data_home(), shards_needed(tokens))


def _fetch_for_later(context: StageContext) -> None:
    """The bundle of CORE, the conversations and the problems that the pipeline's stages want."""
    from engine.data.chat.sources import open_sources
    from engine.data.core_bundle import find_bundle
    from engine.evaluate.chat.problems import prepare_task, training_problems

    config, home = context.config, data_home()
    for stage in read_standing(context.run, config.pipeline.stages).line(config.pipeline.stages):
        if stage == "evaluate":
            try:
                find_bundle(config.evaluate.core, home, context.progress)
            except UsageError:
                raise
            except NanosoloError as error:  # the run can do without
                context.emit(Warning(stage=context.stage, step=0, code="core_left_out", message=str(error)))
        elif stage == "midtrain" or stage == "sft":
            settings = config.midtrain if stage == "midtrain" else config.sft
            open_sources(settings.sources, home, config.data.validation_fraction).prepare(context.progress)
        elif stage == "rl":
            for split in SPLITS:
                training_problems(config.rl.task, home, split, context.progress)
        elif stage == "chat_eval":
            for task in config.chat_eval.tasks:
                prepare_task(task, home, context.progress)


def _report_skipped(corpus: Corpus) -> None:
    for skipped in corpus.skipped():
        print(f"left out: {skipped.count:,} {skipped.reason} (first: {skipped.first})")
