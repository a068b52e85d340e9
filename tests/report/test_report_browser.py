"""The page in a real browser: nothing flows over at any width, no rule is broken, everything is on paper."""

import time

import pytest

from engine.events.kinds import CONVERSATION, Advice, Evaluation, Sample
from engine.run.directory import RunDirectory
from engine.stages.report import render
from tests.helpers.browser import CHROMIUM, browsing
from tests.helpers.made_run import story_of, write_run

pytest.importorskip("aiohttp")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}")

# elements that reach beyond the page, but for those inside of a box that scrolls by itself
TOO_WIDE = """
[...document.querySelectorAll('body *')].filter(e => {
  const scrolls = e.closest('.scroll, pre, .timeline, svg');
  const box = e.getBoundingClientRect();
  return (!scrolls || e.matches('.scroll, pre, .timeline')) && box.width && box.right > innerWidth + 1;
}).map(e => e.tagName + '.' + e.className).join()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    story = story_of("wide", time.time(), budget__steps=60, evaluate__every_steps=20, runtime__price_per_hour=1.5)
    story.steps(60).sample().end_stage("pretrain").stage("evaluate")
    story.add(
        Evaluation, stage="evaluate", step=60, metric="core/" + "x" * 60, value=0.5, seconds=1, baseline=0.1, examples=9
    )
    story.end_stage("evaluate").stage("chat_eval")
    for text in ("w" * 3000, "a b " * 300, "שלום עולם " * 30, "\n".join("x" * 300 for _ in range(5))):
        story.add(Sample, stage="pretrain", step=60, prompt=text[:500], text=text)
        story.add(Sample, stage="chat_eval", step=60, prompt=text[:500], text=text, task=CONVERSATION)
    story.add(Advice, code="gpu_shared", message="m" * 1000, change={}, effect="")
    made = write_run(tmp_path_factory.mktemp("wide"), "n" * 100, story.end_stage("chat_eval").end())
    render(made)
    return made


async def test_nothing_flows_over(run: RunDirectory) -> None:
    async with browsing(run.page_file.as_uri()) as page:
        await page.until("document.querySelector('footer')")
        for width in (320, 400, 768, 1280):
            await page.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
            )
            assert await page.js("innerWidth") == width
            assert await page.js("document.documentElement.scrollWidth") <= width
            assert await page.js(TOO_WIDE) == ""
        assert page.faults == []


async def test_it_follows_the_scheme_and_opens_all_on_paper(run: RunDirectory) -> None:
    ink = "getComputedStyle(document.querySelector('figure text')).fill"
    colors = []
    async with browsing(run.page_file.as_uri()) as page:
        await page.until("document.querySelector('footer')")
        for media, scheme in (("", "light"), ("", "dark"), ("print", "dark")):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            await page.call("Emulation.setEmulatedMedia", media=media, features=features)
            colors.append(await page.js(f"getComputedStyle(document.body).backgroundColor + {ink}"))
            shown = await page.js("[...document.querySelectorAll('.paper')].every(e => e.offsetHeight > 50)")
            assert shown == (media == "print")
        light, dark, _ = colors
        assert light != dark
        assert (await page.js("getComputedStyle(document.body).backgroundColor")) == "rgb(255, 255, 255)"
        # A4 less its margins: what is wider would be cut off, and cannot be scrolled to
        await page.call("Emulation.setDeviceMetricsOverride", width=688, height=900, deviceScaleFactor=1, mobile=False)
        assert (
            await page.js("""[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 688)
            .map(e => e.tagName + '.' + e.className + e.textContent.slice(0, 20)).join()""")
            == ""
        )
