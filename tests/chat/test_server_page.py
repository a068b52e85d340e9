"""The page to chat on, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine.serve
from engine.run.directory import RunDirectory
from tests.helpers.browser import CHROMIUM, browsing
from tests.helpers.chat_server import Server, serving

pytest.importorskip("aiohttp")
in_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}")
TOKEN = "a-token-that-nobody-guesses"
ANSWERED = "document.querySelectorAll('.facts').length === {} && !document.querySelector('.writing')"


@pytest.fixture(scope="module")
def server(trained: RunDirectory) -> Iterator[Server]:
    with serving(trained, "--max-tokens", "40") as server:
        yield server


def test_the_page_needs_nothing_from_elsewhere(server: Server) -> None:
    page = (Path(engine.serve.__file__).parent / "page.html").read_text()
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", page)
    status, served = server.ask("GET", "/")
    assert (status, served.decode()) == (200, page)


@in_chromium
async def test_a_conversation(server: Server, tmp_path: Path) -> None:
    async with browsing(server.address) as page:
        await page.until("document.title === 'tiny'")
        assert "sft, step 30" in await page.js("at('about').textContent")
        await page.js("at('text').focus()")
        assert await page.js("at('send').disabled")
        await page.type("<b>hello</b>")
        await page.press("Enter", 13)
        await page.until(ANSWERED.format(1))
        assert await page.js("document.querySelector('.user .said').textContent") == "<b>hello</b>"
        answer = await page.js("document.querySelector('.assistant .said').textContent")
        assert len(answer) > 10
        facts = await page.js("document.querySelector('.facts').textContent")
        assert re.search(r"^\d+ tokens\d+ tokens/sfirst after \d+\.\d\d scopy$", facts)
        assert await page.js("messages.map((m) => m.role).join()") == "user,assistant"
        assert await page.js("messages[1].content") == answer

        await page.type("more")
        await page.js("at('send').click()")
        await page.until(ANSWERED.format(2))
        assert await page.js("messages.length") == 4

        before = await page.js("getComputedStyle(document.body).backgroundColor")
        await page.js("at('theme').click()")
        assert await page.js("getComputedStyle(document.body).backgroundColor") != before
        await page.picture(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 10_000

        await page.js("at('new').click()")
        assert await page.js("document.querySelectorAll('.message').length") == 0
        assert page.faults == []


@in_chromium
async def test_settings_are_sent_and_an_error_is_shown(server: Server) -> None:
    async with browsing(server.address) as page:
        await page.until("document.title === 'tiny'")
        await page.js("at('settings').click()")
        await page.until("at('options').open")
        await page.js("at('temperature').value = 0, at('max_tokens').value = 5")
        await page.js("at('options').querySelector('button').click()")
        for number in (1, 2):
            await page.js("at('new').click()")
            await page.type("hello")
            await page.press("Enter", 13)
            await page.until(ANSWERED.format(1))
            assert "5 tokens" in await page.js("document.querySelector('.facts').textContent"), number
        await page.js("at('top_p').value = 7")
        await page.type("hello")
        await page.press("Enter", 13)
        await page.until("document.querySelector('.wrong')")
        assert "top_p 7" in await page.js("document.querySelector('.wrong').textContent")
        assert await page.js("messages.at(-1).role") == "assistant"


@in_chromium
async def test_an_answer_can_be_stopped(server: Server) -> None:
    async with browsing(server.address) as page:
        await page.until("document.title === 'tiny'")
        # the stop comes with the first piece of the answer
        await page.js(
            "new MutationObserver(() => { if (document.querySelector('.assistant span')) at('stop').click(); })"
            ".observe(at('column'), { subtree: true, childList: true }); at('text').focus()"
        )
        await page.type("hello")
        await page.press("Enter", 13)
        await page.until(ANSWERED.format(1))
        assert "stopped" in await page.js("document.querySelector('.facts').textContent")


@in_chromium
async def test_the_token_is_asked_for(trained: RunDirectory) -> None:
    with serving(trained, "--token", TOKEN, "--stage", "pretrain") as server:
        async with browsing(server.address) as page:
            await page.until("at('ask').open")
            await page.js(f"at('token').value = '{TOKEN}'; at('ask').querySelector('button').click()")
            await page.until("document.title === 'tiny'")
            assert "has not been trained to chat" in await page.js("at('note').innerText")
