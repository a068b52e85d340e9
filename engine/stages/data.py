"""The stage data: makes the text of the corpus available here, and everything that later stages download.

What later stages need is fetched now, so that nothing is found missing after days of training.
"""

from engine.config.schema import RunConfig
from engine.config.stages import MODEL_STAGES
from engine.core.errors import NanosoloError, UsageError
from engine.core.paths import data_home
from engine.data.chat.sources import open_sources
from engine.data.core_bundle import find_bundle
from engine.data.corpora.corpus import SPLITS, Corpus
from engine.data.corpora.registry import open_corpus
from engine.evaluate.chat.problems import prepare_task, training_problems
from engine.events.kinds import Warning
from engine.plan.batch import tokens_per_step
from engine.plan.dataset_facts import shards_needed
from engine.plan.plan import training_steps
from engine.plan.shape import shape_of
from engine.run.checkpoints import list_checkpoints
from engine.run.stage_context import StageContext
from engine.run.stage_status import read_stage_status


def fetch(context: StageContext) -> None:
    """Make the corpus available and check that it holds text; then the same for what later stages need."""
    corpus = corpus_of(context.config)
    corpus.prepare(context.progress)
    print(f"corpus: {corpus.description()}")
    print_skipped(corpus)
    _fetch_for_later_stages(context)


def corpus_of(config: RunConfig) -> Corpus:
    """The run's corpus, with as much of it as training needs."""
    tokens = training_steps(config, shape_of(config)) * tokens_per_step(config)
    return open_corpus(config.data, data_home(), shards_needed(tokens))


def print_skipped(corpus: Corpus) -> None:
    """Print what was left out of the corpus, and why."""
    for skipped in corpus.skipped():
        print(f"left out: {skipped.count:,} {skipped.reason} (first: {skipped.first})")


def refuse_after_training(context: StageContext, what: str) -> None:
    """Refuse a text that changed after training began: weights are useless with another tokenizer, and the order of
    the data means nothing in another text. Raises NanosoloError where the run has checkpoints."""
    if any(list_checkpoints(context.run.checkpoints(stage)) for stage in MODEL_STAGES):
        raise NanosoloError(
            f"the text has changed since run {context.run.name} trained on it and now gives {what}. Restore the old "
            "text, or start a new run."
        )


def _fetch_for_later_stages(context: StageContext) -> None:
    """The CORE bundle, the conversations and the problems that the stages of the pipeline need."""
    config, home = context.config, data_home()
    for stage in read_stage_status(context.run, config.pipeline.stages).all_stages(config.pipeline.stages):
        if stage == "evaluate":
            try:
                find_bundle(config.evaluate.core, home, context.progress)
            except UsageError:
                raise
            except NanosoloError as error:  # the run works without CORE
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
