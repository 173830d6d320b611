"""Speakers told apart: named and coloured on the page, in the overlay and in files, and corrected without a stir."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from stream_server.engine.moonshine.asset import find_recording
from tests.browser import NEEDS_PLAYWRIGHT
from tests.support.process import ServerProcess

pytest.importorskip("playwright.async_api", reason=NEEDS_PLAYWRIGHT)

from playwright.async_api import Locator, Page, expect

from tests.browser.caption import CaptionPage
from tests.browser.scripted import ScriptedSessions
from tests.support.browser import Visitor

ONE, TWO = "SPEAKER_00", "SPEAKER_01"
DIALOGUE = "endgame_nagg_nell.wav"
"""Of two people."""


class Talk:
    """The caption page, and what is said in its sessions."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.captions = CaptionPage(page)
        self.sessions = ScriptedSessions()
        self.names = page.locator("#finals .who").filter(visible=True)

    async def choose(self, *, diarize: bool) -> None:
        await self.page.get_by_role("button", name="Settings").first.click()
        await self.page.get_by_label("Tell speakers apart").set_checked(diarize)
        await self.page.keyboard.press("Escape")

    async def begin(self) -> None:
        await self.choose(diarize=True)
        await self.captions.captioning()

    async def say(self, *finals: tuple[tuple[str, str], ...]) -> None:
        before = await self.captions.finals.count()
        for segment, parts in enumerate(finals, before):
            self.sessions.final(segment, *parts)
        await self.captions.has_finals(before + len(finals))

    async def rename(self, before: str, after: str, key: str = "Enter") -> None:
        await self.page.get_by_role("button", name=f"{before}, change the name").first.click()
        field = self.page.get_by_role("textbox", name=f"Name of {before}")
        await expect(field).to_be_focused()
        await field.fill(after)
        await field.press(key)
        await expect(field).to_have_count(0)


@pytest_asyncio.fixture(loop_scope="session")
async def talk(server: ServerProcess, visitor: Visitor) -> AsyncIterator[Talk]:
    talk = Talk(await visitor.open(server.url, permissions=["microphone", "clipboard-read", "clipboard-write"]))
    await talk.sessions.serve(talk.page)
    yield talk


async def colours(names: Locator) -> list[str]:
    seen: list[str] = await names.evaluate_all("names => names.map(name => getComputedStyle(name).color)")
    return seen


async def test_each_part_of_a_final_has_its_speaker(talk: Talk) -> None:
    await talk.begin()
    assert talk.sessions.inits[0]["diarize"] is True
    await talk.say((("Well, yes.", ONE), ("And you?", TWO)), (("Fine.", TWO),), (("Good.", ONE),))
    await expect(talk.page.locator("#finals .text")).to_have_text(["Well, yes.", "And you?", "Fine.", "Good."])
    await expect(talk.names).to_have_text(["Speaker 1", "Speaker 2", "Speaker 1"])
    one, two, again = await colours(talk.names)
    assert one == again != two
    shown = talk.captions.live.locator(".who").filter(visible=True)
    await expect(shown).to_have_text(["Speaker 1", "Speaker 2", "Speaker 1"])
    assert await colours(shown) == [one, two, one]


async def test_it_is_asked_for_only_where_somebody_wants_it(talk: Talk) -> None:
    await talk.captions.captioning()
    assert "diarize" not in talk.sessions.inits[0]
    await talk.captions.stopped()
    await talk.begin()
    await talk.page.reload()
    await expect(talk.page.locator("#diarize")).to_be_checked()  # remembered


async def test_other_speakers_are_told_everywhere(
    server: ServerProcess, visitor: Visitor, talk: Talk, tmp_path: Path
) -> None:
    overlay = await visitor.beside(talk.page, f"{server.url}/?overlay=mirror")
    await talk.page.bring_to_front()
    await talk.begin()
    await talk.say((("Good morning.", ONE),), (("Hello you.", ONE),))
    await expect(talk.names).to_have_text(["Speaker 1"])

    talk.sessions.revise({1: [TWO, ONE]})
    await expect(talk.names).to_have_text(["Speaker 1", "Speaker 2", "Speaker 1"])
    for live in (talk.captions.live, overlay.locator("#captions")):
        await expect(live.locator(".caption")).to_have_text(
            ["Speaker 1Good morning.", "Speaker 2Hello", "Speaker 1you."]
        )
    await talk.captions.stopped()
    text = (await talk.captions.download("Text", tmp_path)).read_text("utf-8")
    assert text == "Speaker 1: Good morning.\nSpeaker 2: Hello\nSpeaker 1: you.\n"
    vtt = (await talk.captions.download("VTT", tmp_path)).read_text("utf-8")
    assert "<v Speaker 2>Hello" in vtt

    await talk.page.reload()
    await expect(talk.names).to_have_text(["Speaker 1", "Speaker 2", "Speaker 1"])


@pytest.mark.parametrize("anchoring", ["auto", "none"])  # browsers that keep the place by themselves, and others
async def test_a_correction_moves_nobody_and_is_not_read_out(talk: Talk, anchoring: str) -> None:
    await talk.begin()
    await talk.say(*[(("one two three", ONE),)] * 60)
    await talk.page.locator("#scroller").evaluate(
        """(scroller, anchoring) => {
          scroller.style.overflowAnchor = anchoring;
          scroller.scrollTop = scroller.scrollHeight / 2;
        }""",
        anchoring,
    )
    await expect(talk.page.get_by_role("button", name="Newest")).to_be_visible()
    segment, before = await talk.page.evaluate(
        """() => {
          const top = element => element.getBoundingClientRect().top;
          const seen = item => top(item) >= top(document.querySelector("#scroller"));
          const first = [...document.querySelectorAll("#finals > li")].find(seen);
          return [Number(first.dataset.segmentId), top(first)];
        }"""
    )

    talk.sessions.revise({at: [TWO, ONE, TWO] for at in range(segment)})
    await expect(talk.page.locator("#finals .who")).to_have_count(60 + 2 * segment)
    item = talk.page.locator(f"#finals > li[data-segment-id='{segment}']")
    assert await item.evaluate("item => item.getBoundingClientRect().top") == pytest.approx(before, abs=1)
    assert await talk.page.locator("#finals > li[aria-live=off]").count() == segment
    await talk.say((("four", ONE),))
    assert await talk.captions.finals.last.get_attribute("aria-live") is None, "what is new is read out"


async def test_a_speaker_gets_another_name(talk: Talk, tmp_path: Path) -> None:
    await talk.begin()
    await talk.say((("Good morning.", ONE),), (("Hello.", TWO),), (("How are you?", ONE),))
    await talk.rename("Speaker 1", "Nobody", "Escape")
    await expect(talk.names).to_have_text(["Speaker 1", "Speaker 2", "Speaker 1"])
    await talk.rename("Speaker 1", "Anna")
    await expect(talk.names).to_have_text(["Anna", "Speaker 2", "Anna"])
    await expect(talk.page.get_by_role("button", name="Anna, change the name").first).to_be_focused()
    await expect(talk.captions.live.locator(".who").filter(visible=True)).to_have_text(["Anna", "Speaker 2", "Anna"])
    await talk.say((("Very well.", TWO),), (("Good.", ONE),))
    await expect(talk.names.last).to_have_text("Anna")

    await talk.captions.stopped()
    srt = (await talk.captions.download("SRT", tmp_path)).read_text("utf-8")
    assert "\nAnna: How are you?\n" in srt
    await talk.page.get_by_role("button", name="Copy").click()
    await expect(talk.page.locator("#toast")).to_have_text("Copied.")
    assert (await talk.page.evaluate("navigator.clipboard.readText()")).startswith(
        "Anna: Good morning.\nSpeaker 2: Hello."
    )
    await talk.page.reload()
    await expect(talk.names.first).to_have_text("Anna")
    await talk.rename("Anna", "")
    await expect(talk.names.first).to_have_text("Speaker 1")


async def test_speakers_of_a_second_start_are_others(talk: Talk) -> None:
    await talk.begin()
    await talk.say((("Good morning.", ONE),))
    await talk.captions.stopped()
    await talk.captions.captioning()
    talk.sessions.final(0, ("Hello.", ONE))
    await expect(talk.names).to_have_text(["Speaker 1", "Speaker 2"])


async def test_a_search_finds_what_several_say(talk: Talk) -> None:
    await talk.begin()
    await talk.say((("one two", ONE), ("two one", TWO)), (("two", TWO),))
    await talk.captions.search.fill("two two")
    await expect(talk.page.locator("#found")).to_have_text("1 match")
    await expect(talk.page.locator("mark")).to_have_text(["two", "two"])
    await expect(talk.captions.finals.filter(visible=True)).to_have_count(1)
    talk.sessions.revise({0: [TWO, ONE, ONE, ONE]})
    await expect(talk.page.locator("mark")).to_have_text(["two two"])
    await talk.captions.search.fill("")
    await expect(talk.page.locator("mark")).to_have_count(0)
    await expect(talk.page.locator("#finals .text")).to_have_text(["one", "two two one", "two"])


async def test_a_server_that_cannot_says_what_to_do(talk: Talk) -> None:
    reason = "diarization is switched off on this server (diarizer=off)"
    talk.sessions.refusal = {"code": "INVALID_INIT", "message": f"field 'diarize': {reason}"}
    await talk.choose(diarize=True)
    await talk.captions.start.click()
    await talk.captions.in_state("failed")
    await expect(talk.captions.notice).to_contain_text("does not tell speakers apart")
    await expect(talk.captions.notice).to_contain_text("diarizer=off")
    await expect(talk.captions.notice.get_by_role("button", name="Settings")).to_be_visible()
    await talk.choose(diarize=False)
    await talk.captions.captioning()
    assert "diarize" not in talk.sessions.inits[-1]


async def test_an_overlay_of_its_own_asks_in_its_address(server: ServerProcess, visitor: Visitor) -> None:
    page, sessions = await visitor.open(server.url), ScriptedSessions()
    await sessions.serve(page.context)
    overlay = await visitor.beside(page, f"{server.url}/?overlay&diarize")
    async with asyncio.timeout(60):
        await sessions.begun.wait()
    assert sessions.inits[0]["diarize"] is True
    sessions.final(0, ("Hello.", ONE), ("And you?", TWO))
    captions = overlay.locator("#captions .caption")
    await expect(captions).to_have_text(["Speaker 1Hello.", "Speaker 2And you?"])


async def test_two_people_live(server: ServerProcess, visitor: Visitor) -> None:
    """With the models: nothing here is said by the test."""
    talk = Talk(await visitor.open(server.url))
    await talk.choose(diarize=True)
    await talk.captions.play_file(find_recording(DIALOGUE))
    await talk.captions.in_state("ended")
    names = await talk.names.all_inner_texts()
    assert names[:4] == ["Speaker 1", "Speaker 2"] * 2
    assert set(names) == set(names[:2])
    await expect(talk.page.locator("#finals .text").nth(1)).to_have_text("Yes.")
