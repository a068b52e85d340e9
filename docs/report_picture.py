"""Draw docs/screens/report*.png, parts of a report's page, from a generated run: python docs/report_picture.py."""

import asyncio
import os
import random
import sys
import tempfile
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from engine.events.kinds import CONVERSATION, Evaluation, Sample, StageEnded, StageStarted, Step  # noqa: E402
from engine.stages.report import render  # noqa: E402
from tests.helpers.browser import browsing  # noqa: E402
from tests.helpers.made_run import SAMPLES, Story, story_of, write_run  # noqa: E402

FOLDER = ROOT / "docs" / "screens"
PARTS = {
    "report": "main",
    "report-curves": "#curves",
    "report-texts": "#samples",
}  # picture -> the element it starts with
WIDTH, HEIGHT = 1180, 1400
NOW = 1_790_000_000.0
STAGES = ["data", "tokenizer", "tokenize", "pretrain", "evaluate", "sft", "chat_eval", "report"]
TASKS = {"hellaswag_zeroshot": 0.25, "copa": 0.5, "piqa": 0.5, "lambada_openai": 0.0, "winograd": 0.5, "boolq": 0.62}
TUNING_STEPS = 120
FIRST_WORDS = (
    " the the of and the of, in the and the of the of the the and of the.",
    " of the same of the first of the same of the two.",
    " of the same and the the same of the same, and the other of the world.",
)
IDENTITY = "I am a small language model that was trained with nanosolo on a single machine."
ABILITY = "I can answer short questions, spell words and do small sums with a calculator. I am often wrong."
SUM = "<|python_start|>17 * 23<|python_end|><|output_start|>391<|output_end|>17 * 23 = 391"
# (text, task, whether it was right)
TALKS: tuple[tuple[tuple[str, ...], str, bool | None], ...] = (
    (("Who are you?", IDENTITY, "What can you do?", ABILITY), CONVERSATION, None),
    (("What is 17 * 23?", SUM, "Are you sure?", "Yes. 17 * 23 = 391."), CONVERSATION, None),
    (("How many letters has winter?", "w-i-n-t-e-r: 6"), "chat/spelling", True),
    (("Count the letter o in cotton.", "c-o-t-t-o-n: 3"), "chat/spelling", False),
)


def whole_run() -> Story:
    """A run through all stages, with a pause in pretraining."""
    story = story_of("made-up", NOW, pipeline__stages=STAGES, runtime__price_per_hour=1.29)
    half, steps = story.plan.steps // 2, story.plan.steps
    story.evaluate()
    for said, first in zip(SAMPLES, FIRST_WORDS, strict=True):
        story.add(Sample, stage="pretrain", step=0, prompt=" ".join(said.split()[:5]), text=first)
    story.steps(half).checkpoint().end_stage("pretrain", "stopped").end("stopped")
    story.now += 30_000
    story.start("made-up", resumed=True).stage("pretrain").resume_at(half)
    story.steps(steps - half).evaluate().sample().end_stage("pretrain")
    judge(story.stage("evaluate"))
    tune(story.end_stage("evaluate").stage("sft").device("sft"))
    story.end_stage("sft").stage("chat_eval")
    for (*before, prompt, text), task, right in TALKS:
        fields = {"prompt": prompt, "text": text, "task": task, "right": right, "before": tuple(before)}
        story.add(Sample, 18.0, stage="chat_eval", step=TUNING_STEPS, **fields)
    return timed(story.end_stage("chat_eval").stage("report").end_stage("report").end())


def judge(story: Story) -> None:
    """Some tasks of CORE."""
    draw, centered = random.Random(3), []
    for task, guessing in TASKS.items():
        centered.append(draw.uniform(0.05, 0.42))
        value = guessing + (1 - guessing) * centered[-1]
        fields = {"metric": f"core/{task}", "value": value, "seconds": 25.0, "baseline": guessing, "examples": 500}
        story.add(Evaluation, 25.0, stage="evaluate", step=story.step, **fields)
    fields = {"metric": "core", "value": sum(centered) / len(centered), "seconds": 150.0, "baseline": 0.0}
    story.add(Evaluation, stage="evaluate", step=story.step, **fields, examples=500 * len(centered))


def tune(story: Story) -> None:
    """Fine-tuning on conversations."""
    for step in range(1, TUNING_STEPS + 1):
        loss = 0.9 + 2.2 / step**0.5 + story.random.gauss(0, 0.04)
        fields = {"step": step, "steps": TUNING_STEPS, "tokens": 16_384 * step, "loss": loss, "grad_norm": 0.4}
        speed = {"step_seconds": 1.2, "data_seconds": 0.01, "tokens_per_second": 13_600.0, "mfu": 0.1}
        scale = 1 - step / TUNING_STEPS
        story.add(Step, 1.2, stage="sft", learning_rate_scale=scale, peak_memory=None, **fields, **speed)
        if step % 30 == 0:
            value = 0.95 + 2.2 / step**0.5
            story.add(Evaluation, 2.0, stage="sft", step=step, metric="val_loss", value=value, seconds=2.0)


def timed(story: Story) -> Story:
    """The story with as many seconds of each stage as lie between its events."""
    began = 0.0
    for place, event in enumerate(story.events):
        if isinstance(event, StageStarted):
            began = event.t
        elif isinstance(event, StageEnded):
            story.events[place] = msgspec.structs.replace(event, seconds=event.t - began)
    return story


async def photograph(page_file: Path) -> None:
    """Save the pictures of the page."""
    async with browsing(page_file.as_uri()) as page:
        await page.until("document.querySelector('footer')")
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        await page.call("Emulation.setDeviceMetricsOverride", **size)
        await page.js("document.documentElement.style.scrollbarWidth = 'none'")
        for name, begin in PARTS.items():
            await page.js(f"document.querySelector('{begin}').scrollIntoView()")
            path = FOLDER / f"{name}.png"
            await page.picture(path)
            print(path, f"{path.stat().st_size:,} bytes")


def main() -> None:
    """Generate the run, write its report, take the pictures."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["NANOSOLO_HOME"] = home
        run = write_run(Path(home), "made-up", whole_run())
        render(run)
        asyncio.run(photograph(run.page_file))


if __name__ == "__main__":
    main()
