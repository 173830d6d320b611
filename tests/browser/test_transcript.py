"""What can be done with a transcript once it is there. One recording is captioned, and every test has its page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio
import srt
import webvtt

from tests.browser import NEEDS_PLAYWRIGHT
from tests.support.process import ServerProcess
from tests.support.recital import PAUSE_SEC, Recital

pytest.importorskip("playwright.async_api", reason=NEEDS_PLAYWRIGHT)

from playwright.async_api import expect

from bench.chromium import Chromium
from tests.browser.caption import WATCH, Caption, CaptionPage
from tests.support.browser import Visitor

LONGEST_SEC = 90.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def done(
    server: ServerProcess, chromium: Chromium, microphone: Path, recording: Recital
) -> AsyncIterator[CaptionPage]:
    """The page after a session."""
    visitor = Visitor(chromium, microphone)
    permissions = ["clipboard-read", "clipboard-write", "microphone"]
    page = CaptionPage(await visitor.open(server.url, script=WATCH, permissions=permissions))
    await page.captioning()
    await page.has_finals(len(recording.sentences))
    await page.stopped()
    yield page
    assert await visitor.close() == []


@pytest_asyncio.fixture(loop_scope="session")
async def shown(done: CaptionPage) -> list[Caption]:
    return await done.captions()


def said(captions: list[Caption]) -> list[str]:
    return " ".join(caption.text for caption in captions).split()


def assert_ordered(spans: list[tuple[float, float]]) -> None:
    """Times increase, and nothing overlaps."""
    assert spans
    assert all(0 <= start < end <= LONGEST_SEC for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


async def test_text(done: CaptionPage, shown: list[Caption], tmp_path: Path) -> None:
    file = await done.download("Text", tmp_path)
    assert file.suffix == ".txt"
    assert file.read_text(encoding="utf-8").split() == said(shown)


async def test_srt(done: CaptionPage, shown: list[Caption], tmp_path: Path) -> None:
    file = await done.download("SRT", tmp_path)
    assert file.suffix == ".srt"
    cues = list(srt.parse(file.read_text(encoding="utf-8")))
    assert [cue.index for cue in cues] == list(range(1, len(cues) + 1))
    assert " ".join(cue.content for cue in cues).split() == said(shown)
    assert_ordered([(cue.start.total_seconds(), cue.end.total_seconds()) for cue in cues])
    assert cues[0].start.total_seconds() == pytest.approx(shown[0].offset_ms / 1000, abs=0.5)


async def test_vtt(done: CaptionPage, shown: list[Caption], tmp_path: Path) -> None:
    file = await done.download("VTT", tmp_path)
    assert file.suffix == ".vtt"
    cues = webvtt.read(str(file)).captions
    assert " ".join(cue.text for cue in cues).split() == said(shown)
    assert_ordered([(cue.start_in_seconds, cue.end_in_seconds) for cue in cues])


async def test_json(done: CaptionPage, shown: list[Caption], tmp_path: Path) -> None:
    file = await done.download("JSON", tmp_path)
    assert file.suffix == ".json"
    document = json.loads(file.read_text(encoding="utf-8"))
    segments = document["segments"]
    assert [(segment["start"], segment["text"]) for segment in segments] == [
        (caption.offset_ms / 1000, caption.text) for caption in shown
    ]
    assert document["text"].split() == said(shown)
    assert document["language"] == "en"
    assert_ordered([(segment["start"], segment["end"]) for segment in segments])
    for segment in segments:
        assert " ".join(word["word"] for word in segment["words"]).split() == segment["text"].split()
        assert all(segment["start"] <= word["start"] <= word["end"] <= segment["end"] for word in segment["words"])


async def test_copy(done: CaptionPage, shown: list[Caption]) -> None:
    await done.page.get_by_role("button", name="Copy").click()
    await done.page.wait_for_function("() => navigator.clipboard.readText().then(text => text.trim() !== '')")
    assert (await done.page.evaluate("navigator.clipboard.readText()")).split() == said(shown)


async def test_search_leaves_what_was_asked_for(done: CaptionPage, shown: list[Caption]) -> None:
    visible = done.finals.filter(visible=True)
    await expect(visible).to_have_count(len(shown))
    await done.search.fill("WISDOM")
    await expect(visible).to_have_count(1)
    await expect(visible).to_contain_text("wisdom")
    await done.search.fill("")
    await expect(visible).to_have_count(len(shown))


async def test_a_click_on_the_time_plays_what_was_said_there(done: CaptionPage, recording: Recital) -> None:
    await done.finals.nth(1).locator(".time").click()
    await done.page.wait_for_function("() => watched.players.some(player => player.currentTime > 0 && !player.paused)")
    length = await done.page.evaluate("watched.players.at(-1).duration")
    assert length == pytest.approx(recording.starts[2] - recording.starts[1], abs=PAUSE_SEC + 0.5)
    await done.page.wait_for_function("() => watched.players.every(player => player.paused)")


async def test_the_keys_of_the_page(done: CaptionPage, shown: list[Caption]) -> None:
    keyboard = done.page.keyboard
    await done.page.locator("body").click(position={"x": 1, "y": 1})
    await keyboard.press("/")
    await expect(done.search).to_be_focused()
    await keyboard.type("s f")
    await expect(done.search).to_have_value("s f")
    await expect(done.start).to_be_visible()  # who types starts nothing
    await done.search.fill("")
    await done.search.blur()

    await keyboard.press("?")
    await expect(done.page.get_by_role("dialog")).to_contain_text("Search the transcript")
    await keyboard.press("Escape")
    await expect(done.page.get_by_role("dialog")).to_be_hidden()

    await done.page.evaluate("navigator.clipboard.writeText('')")
    await keyboard.press("c")
    await done.page.wait_for_function("() => navigator.clipboard.readText().then(text => text.trim() !== '')")
    assert (await done.page.evaluate("navigator.clipboard.readText()")).split() == said(shown)


async def test_everything_can_be_reached_by_tab(done: CaptionPage) -> None:
    await done.page.locator("body").click(position={"x": 1, "y": 1})
    reached = set()
    for _ in range(60):
        await done.page.keyboard.press("Tab")
        reached.add(
            await done.page.evaluate(
                "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText).trim()"
            )
        )
    assert {"Start captions", "Copy", "Full screen", "Settings"} <= reached


async def test_a_reload_keeps_the_text(done: CaptionPage, shown: list[Caption]) -> None:
    """It comes last: the audio is gone then."""
    await done.page.reload()
    await done.has_finals(len(shown))
    assert await done.captions() == shown
