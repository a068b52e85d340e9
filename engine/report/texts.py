"""Texts of the model: continuations of prompts, and conversations."""

from collections.abc import Sequence

from engine.core import formatting
from engine.events.kinds import CONVERSATION, Sample
from engine.report.document import Block, Continuation, Paragraph, Section, Talk
from engine.report.excerpts import Part, excerpt, parts_of, shortened
from engine.report.source import PRETRAIN, TUNING, Source

CHAT = "chat_eval"
MOST_PROMPTS = 12
MOST_TALKS = 16


def samples_section(source: Source) -> Section | None:
    """Each prompt with its first and last continuation. None if there are no samples."""
    own = [s for s in source.history.samples if s.stage in (PRETRAIN, "evaluate")]
    if not own:
        return None
    prompts = list(dict.fromkeys(s.prompt for s in own))
    blocks: list[Block] = [
        Continuation(shortened(prompt), _early_and_late(source, [s for s in own if s.prompt == prompt]))
        for prompt in prompts[:MOST_PROMPTS]
    ]
    if len(prompts) > MOST_PROMPTS:
        blocks.append(Paragraph(f"{len(prompts) - MOST_PROMPTS:,} more prompts are in events.jsonl."))
    return Section("samples", "Samples", (Paragraph("Prompts and how the base model continues them."), *blocks))


def talks_section(source: Source) -> Section | None:
    """Conversations of the chat evaluation; for an older or unfinished run, the last answers of earlier stages."""
    found, stage = _last_answers(source)
    if not found:
        return None
    # conversations first, then graded answers in the order of the tasks
    ordered = sorted(found, key=lambda s: s.task != CONVERSATION)
    blocks: list[Block] = [_talk(sample) for sample in ordered[:MOST_TALKS]]
    if len(ordered) > MOST_TALKS:
        blocks.append(Paragraph(f"{len(ordered) - MOST_TALKS:,} more answers are in events.jsonl."))
    intro = f"Asked at the end of {stage}. The model always takes the most likely token, so the answers are repeatable."
    return Section("chat", "Conversations", (Paragraph(intro), *blocks))


def _early_and_late(source: Source, own: Sequence[Sample]) -> tuple[tuple[str, str], ...]:
    first = min(own, key=lambda s: s.step)
    last = max(reversed(own), key=lambda s: s.step)
    shown = [last] if first.step == last.step else [first, last]
    return tuple((_when(source, sample.step), shortened(sample.text)) for sample in shown)


def _when(source: Source, step: int) -> str:
    columns = source.history.columns(PRETRAIN)
    if step and step in columns.step:
        tokens = columns.tokens[columns.step.index(step)]
        return f"after step {step:,}, {formatting.count(tokens)} tokens"
    return f"after step {step:,}" if step else "before training"


def _last_answers(source: Source) -> tuple[list[Sample], str]:
    samples = source.history.samples
    for stage in (CHAT, *reversed(TUNING)):
        own = [s for s in samples if s.stage == stage]
        if own:
            last = max(s.step for s in own)
            newest = {(s.task, s.before, s.prompt): s for s in own if s.step == last}
            return list(newest.values()), stage
    return [], ""


def _talk(sample: Sample) -> Talk:
    said = (*sample.before, sample.prompt, sample.text)
    about = {CONVERSATION: "conversation", "": "question"}.get(sample.task, sample.task.removeprefix("chat/"))
    # the user's text is plain text, even where it spells special tokens
    spoken = (parts_of(shortened(t)) if place % 2 else [Part(shortened(t))] for place, t in enumerate(said))
    return Talk(excerpt(about, 60), sample.right, tuple(map(tuple, spoken)))
