"""The page holds the right figures in a sound structure, needs nothing from elsewhere, and no text becomes markup."""

import re
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.sanitize import document_text
from engine.events.history import History
from engine.events.kinds import CONVERSATION, Evaluation, Sample, Step, Warning
from engine.report.excerpts import MOST_CHARACTERS, parts_of, shortened
from engine.report.source import Source, read_source
from engine.run.directory import RunDirectory
from engine.stages.report import page, render, report_of
from tests.helpers.made_run import Story, config_of, plan_of, story_of, write_run
from tests.helpers.page_reader import PageReader
from tests.helpers.trained_run import nanosolo

SECTIONS = [
    "stages",
    "predicted",
    "curves",
    "evaluations",
    "samples",
    "incidents",
    "configuration",
    "versions",
    "repeat",
]


def page_of(run: RunDirectory) -> PageReader:
    render(run)
    return PageReader(run.page_file.read_text(encoding="utf-8"))


def whole_story(name: str = "good") -> Story:
    """Every stage, with something of each kind."""
    stages = ["data", "tokenizer", "tokenize", "pretrain", "evaluate", "sft", "chat_eval", "report"]
    changes = {"budget__steps": 60, "evaluate__every_steps": 20, "pipeline__stages": stages}
    story = story_of(name, time.time(), runtime__price_per_hour=1.5, **changes)
    story.sample().steps(60).checkpoint().sample().end_stage("pretrain", seconds=600.0).stage("evaluate")
    for task, value, guessing in (("core/copa", 0.61, 0.5), ("core/piqa", 0.45, 0.5)):
        story.add(
            Evaluation, stage="evaluate", step=60, metric=task, value=value, seconds=1, baseline=guessing, examples=100
        )
    story.add(Evaluation, stage="evaluate", step=60, metric="core", value=0.06, seconds=2, baseline=0.0, examples=200)
    story.end_stage("evaluate", seconds=30.0).stage("sft")
    for step in range(1, 9):
        fields = {"stage": "sft", "step": step, "steps": 8, "tokens": 512 * step, "loss": 2.0 / step, "grad_norm": 1.0}
        more = {"learning_rate_scale": 1.0, "step_seconds": 1.0, "data_seconds": 0.0, "tokens_per_second": 512.0}
        story.add(Step, 1.0, **fields, **more, mfu=None, peak_memory=None)
    story.add(Evaluation, stage="sft", step=8, metric="val_loss", value=0.5, seconds=1)
    story.end_stage("sft", seconds=8.0).stage("chat_eval")
    talk = {"stage": "chat_eval", "step": 8}
    said = "<|python_start|>6*7<|python_end|><|output_start|>42<|output_end|>It is 42"
    story.add(Sample, **talk, prompt="And now?", text="now this", task=CONVERSATION, before=("Who are you?", "a model"))
    story.add(Sample, **talk, prompt="6 by 7?", text=said, task="chat/gsm8k", right=True)
    story.add(Sample, **talk, prompt="7 by 8?", text="", task="chat/gsm8k", right=False)
    return story.end_stage("chat_eval", seconds=3.0).stage("report").end_stage("report", seconds=1.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return write_run(tmp_path_factory.mktemp("whole"), "good", whole_story().end())


def test_a_finished_run_is_told_whole(whole: RunDirectory) -> None:
    found = page_of(whole)
    wanted = [*SECTIONS[:5], "chat", *SECTIONS[5:]]
    assert [element.attributes["id"] for element in found.all("section")] == wanted
    (title,) = found.all("h1")
    assert title.text == "good finished"
    verdict = found.all("p", "verdict")[0].text
    assert "A chat model with 252M parameters" in verdict and "on one NVIDIA A100-SXM4-40GB" in verdict
    assert "It finished after 23 m 17 s, which cost 0.58." in verdict  # 12 m 35 s before pretraining
    assert "On CORE it scores 0.0600" in verdict
    assert "pretrain done 12 m 39 s 10 m 00 s 60 15.9M" in found.section("stages")
    assert re.search(r"validation loss 0\.5000, loss \d\.\d{4} \(mean of the last \d+ steps\)", found.section("stages"))
    assert re.search(r"\d at the last step, \d+\.\d{4} as mean of the last 20 steps\.", found.section("curves"))
    assert re.search(r"time per step, median 2\.8 s 2\.\d s 1\.0\d as above", found.section("predicted"))
    assert "cost of all" in found.section("predicted")
    results = found.section("evaluations")
    assert "core/copa 0.6100 0.5000 0.2200 100" in results
    assert "core/piqa 0.4500 0.5000 -0.1000 100" in results
    assert [element.attributes["style"] for element in found.all("span", "bar")] == [
        "width: 22.0%",
        "width: 10.0%",
        "width: 6.0%",
    ]
    samples = found.section("samples")
    assert "before training" in samples and "after step 60" in samples and "The capital of France is…" in samples
    assert "git checkout" not in found.section("repeat") and "--set budget.steps=60" in found.section("repeat")


def test_conversations_are_shown_turn_by_turn(whole: RunDirectory) -> None:
    found = page_of(whole)
    first, right, wrong = found.all("article", "talk")
    assert first.text == "conversation user Who are you? model a model user And now? model now this"
    assert right.text == "gsm8k correct user 6 by 7? model 6*7 → 42 It is 42"
    assert wrong.text == "gsm8k wrong user 7 by 8? model nothing"
    assert [element.text for element in found.all("code", "call")] == ["6*7 → 42"]


def test_pictures_have_titles_and_words_for_those_who_do_not_see_them(whole: RunDirectory) -> None:
    found = page_of(whole)
    images = [element for element in found.all("div") if element.attributes.get("role") == "img"]
    titles = [element.attributes["aria-label"].partition(".")[0] for element in images]
    assert titles == [
        "Training loss",
        "Validation",
        "Speed",
        "GPU memory",
        "Host memory",
        "Loss of sft",
        "Gradient norm",
        "Learning rate",
    ]
    assert len(found.all("svg")) == len(images)
    assert "39.4 GiB" in images[3].attributes["aria-label"]


def test_tables_have_heads_with_scopes_and_the_configuration_is_whole_on_paper(whole: RunDirectory) -> None:
    found = page_of(whole)
    assert all(element.attributes.get("scope") in ("col", "row") for element in found.all("th"))
    folded, on_paper = found.all("details"), found.all("div", "paper")
    assert len(folded) == len(on_paper) == 2
    for one, other in zip(folded, on_paper, strict=True):
        assert one.text == other.text
    assert "[batch]" in on_paper[1].text and "device_batch_size = 4" in on_paper[1].text


def test_ids_are_given_once_and_every_reference_is_to_one(whole: RunDirectory) -> None:
    found = page_of(whole)
    ids = Counter(element.attributes["id"] for element in found.elements if "id" in element.attributes)
    assert max(ids.values()) == 1
    html = whole.page_file.read_text()
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', html)
    assert references and {one or other for one, other in references} <= set(ids)


def require_self_contained(html: str) -> None:
    for element in PageReader(html).elements:
        for name, value in element.attributes.items():
            assert name != "src" and not name.startswith("on"), (element.tag, name)
            assert name not in ("href", "xlink:href") or value.startswith("#"), value
            assert not re.search(r"url\((?!#)", value), value
        assert element.tag not in (
            "script",
            "link",
            "img",
            "iframe",
            "object",
            "embed",
            "base",
            "form",
            "foreignobject",
        )
    assert not re.search(r"@import|url\((?!#)", html[html.index("<style>") : html.index("</style>")])


def test_it_needs_nothing_from_elsewhere(whole: RunDirectory) -> None:
    page_of(whole)
    html = whole.page_file.read_text()
    require_self_contained(html)
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) <= {"http://www.w3.org/2000/svg"}


def test_it_is_the_same_every_time_but_for_the_time_of_writing(whole: RunDirectory) -> None:
    source = read_source(whole)
    assert page(report_of(source)) == page(report_of(read_source(whole)._replace(now=source.now)))
    later = page(report_of(source._replace(now=source.now + 86_400)))
    now = page(report_of(source))
    assert later != now
    assert re.sub(r"Written .*? by", "", later) == re.sub(r"Written .*? by", "", now)


def test_the_stage_that_writes_it_calls_the_run_finished(tmp_path: Path) -> None:
    story = whole_story()
    story.events.pop()  # the report's end
    found = page_of(write_run(tmp_path, "good", story))
    assert found.all("h1")[0].text == "good finished"
    assert "report writing this" in found.section("stages")


@pytest.mark.parametrize("outcome", ["stopped", "diverged", "out_of_memory", "killed", "crashed", "refused"])
def test_an_end_before_the_end_is_told(tmp_path: Path, outcome: str) -> None:
    story = story_of("red", time.time(), budget__steps=60).steps(8).end_stage("pretrain", outcome).end(outcome)
    found = page_of(write_run(tmp_path, "red", story))
    assert "finished" not in found.all("h1")[0].text
    assert "at step 8 of 60 (13 %)" in found.all("p", "verdict")[0].text
    assert "not reached" in found.section("stages") and "not measured" in found.section("predicted")


def test_before_its_first_step_there_is_a_page(tmp_path: Path) -> None:
    config = config_of("quickstart")
    found = page_of(write_run(tmp_path, "new", Story(plan_of(config), config, time.time()).start("new")))
    sections = [element.attributes["id"] for element in found.all("section")]
    assert sections == ["stages", "predicted", "incidents", "configuration", "versions", "repeat"]


def test_answers_of_runs_that_held_no_conversations_are_shown(tmp_path: Path) -> None:
    story = story_of("old", time.time()).steps(3).end_stage("pretrain").stage("sft")
    for step, text in ((1, "early"), (2, "late")):
        story.add(Sample, stage="sft", step=step, prompt="Who are you?", text=text)
    (talk,) = page_of(write_run(tmp_path, "old", story.end_stage("sft").end())).all("article", "talk")
    assert talk.text == "question user Who are you? model late"


def test_a_run_that_was_really_trained_has_a_page_without_torch(trained: RunDirectory) -> None:
    done = nanosolo(trained, "report", "tiny")
    assert done.returncode == 0, done.stderr
    assert str(trained.page_file) in done.stderr
    found = PageReader(trained.page_file.read_text(encoding="utf-8"))
    assert "30 30" not in found.section("stages") and " 30 " in found.section("stages")
    assert "parameters" in found.all("p", "verdict")[0].text
    code = (
        "import sys; from engine.stages.report import render; from engine.run.directory import RunDirectory; "
        f"from pathlib import Path; render(RunDirectory(Path({str(trained.path)!r}))); print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


HOSTILE = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.sampled_from(
        [
            "</p><script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "{{ 7 * 7 }}{% raw %}",
            "\"' onmouseover='x",
            "&lt;b&gt; &amp; &#0;",
            "</code></pre></style><!--",
            "]]><![CDATA[",
            "javascript:alert(1) [x](javascript:y) ![i](http://x/y)",
            "\x00\x1b[31m\x07\x9b2J",
            "a\u202eb\u2066c\u200f\ufeff",
            "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L͠ͅG̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘",
            "x" * 9000,
            "<|python_start|>" * 3 + "1+1<|python_end|>",
            "\r\n\v\f\x85\u2028",
        ]
    ),
)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_no_text_becomes_markup(prompt: str, text: str, message: str) -> None:
    story = story_of("red", 1.8e9, budget__steps=2, about__description=text, evaluate__prompts=[prompt])
    story.add(Sample, stage="pretrain", step=0, prompt=prompt, text=text)
    story.add(Sample, stage="chat_eval", step=0, prompt=prompt, text=text, task=message, before=(text, prompt))
    story.add(Warning, stage=message, step=0, code=prompt, message=text).stage(message)
    story.add(Evaluation, stage=text, step=0, metric=prompt, value=0.5, seconds=1, baseline=0.5, examples=1)
    story.end_stage("pretrain", message, message=text).end("crashed", message)
    history = History()
    history.apply_all(story.events)  # type: ignore[arg-type]
    source = Source(message, f"/runs/{message}/run.toml", story.config, story.plan, history, "failed", 1.8e9)
    html = page(report_of(source))
    require_self_contained(html)
    tags = {element.tag for element in PageReader(html).elements}
    assert tags <= {
        *("html", "head", "meta", "title", "style", "body", "main", "header", "footer", "section", "nav", "article"),
        *("p", "h1", "h2", "h3", "span", "div", "dl", "dt", "dd", "a", "ol", "li", "b", "strong", "code", "pre"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption"),
        *("svg", "g", "path", "use", "defs", "text", "clippath", "rect", "tspan"),
    }
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    html.encode("utf-8")
    assert len(html) < 400_000


@given(HOSTILE)
def test_plain_text_shows_what_hides_and_keeps_the_rest(text: str) -> None:
    shown = document_text(text)
    assert document_text(shown) == shown
    assert all(unicodedata.category(each) not in ("Cc", "Cs") or each in "\n\t" for each in shown)
    rest = iter(shown)
    assert all(each in rest for each in text if each.isascii() and each.isprintable())  # all of it, in its order


def test_what_hides_is_named() -> None:
    assert document_text("a\x00b\x1bc\x7f\x9b\u202ed\u200f") == "a␀b␛c␡⟨U+009B⟩⟨U+202E⟩d⟨U+200F⟩"
    assert document_text("a\r\nb\rc\u2028d\te") == "a\nb\nc\nd\te"
    assert document_text("👩‍🚀 naïve עברית") == "👩‍🚀 naïve עברית"
    assert shortened("x" * (MOST_CHARACTERS + 1234)).endswith("x… (1,234 more characters)")


def test_calls_of_the_calculator_are_told_from_words() -> None:
    call = "<|python_start|>1+1<|python_end|>"
    assert [tuple(part) for part in parts_of(f"so {call}<|output_start|>2<|output_end|> two{call}")] == [
        ("so ", False),
        ("1+1 → 2", True),
        (" two", False),
        ("1+1", True),
    ]
    assert parts_of("") == []
    assert "".join(part.text for part in parts_of("<|python_start|>1+1")) == "<|python_start|>1+1"
