"""What axe finds: pages that can be read, reached and understood by everybody, in every state that they have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.browser import NEEDS_PLAYWRIGHT
from tests.support.process import ServerProcess
from tests.support.recital import Recital

pytest.importorskip("playwright.async_api", reason=NEEDS_PLAYWRIGHT)
pytest.importorskip("axe_playwright_python", reason="axe is not installed: pip install axe-playwright-python")

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.browser.caption import CaptionPage
from tests.browser.scripted import ScriptedSessions
from tests.support.browser import Visitor

PHONE: Final = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", **PHONE},
    "dark phone": {"color_scheme": "dark", **PHONE},
}
looks = pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)


async def assert_accessible(page: Page) -> None:
    # What fades in has no contrast yet: axe looks at what there is when nothing moves any more.
    await page.evaluate(
        "Promise.all(document.getAnimations().filter(a => a.effect.getTiming().iterations < 1e3)"
        ".map(a => a.finished.catch(() => {})))"
    )
    found = (await Axe().run(page)).response["violations"]
    assert [
        f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]
    ] == []


async def assert_fits(page: Page) -> None:
    """Nobody has to scroll sideways."""
    assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@looks
async def test_from_the_empty_page_to_the_transcript(
    server: ServerProcess, visitor: Visitor, short_microphone: Path, look: dict[str, Any]
) -> None:
    page = await visitor.open(server.url, microphone=short_microphone, **look)
    captions = CaptionPage(page)
    await assert_accessible(page)
    await assert_fits(page)

    settings = page.get_by_role("button", name="Settings")
    await settings.click()
    await assert_accessible(page)
    await page.keyboard.press("Escape")

    await captions.captioning()
    await captions.hears()
    await assert_accessible(page)
    await captions.has_finals(1)
    await captions.stopped()
    await captions.open_downloads()
    await assert_accessible(page)
    await assert_fits(page)
    await page.keyboard.press("Escape")

    await page.get_by_role("button", name="Full screen").click()
    await assert_accessible(page)


@looks
async def test_when_speakers_are_told_apart(server: ServerProcess, visitor: Visitor, look: dict[str, Any]) -> None:
    page = await visitor.open(server.url, **look)
    captions, sessions = CaptionPage(page), ScriptedSessions()
    await sessions.serve(page)
    await captions.captioning()
    sessions.final(0, *((f"Speaker number {at + 1} of many.", f"SPEAKER_{at:02}") for at in range(8)))
    sessions.final(1, ("And again.", "SPEAKER_07"))
    await captions.has_finals(2)
    await assert_accessible(page)
    await page.get_by_role("button", name="Speaker 3, change the name").click()
    await expect(page.get_by_role("textbox", name="Name of Speaker 3")).to_be_visible()
    await assert_accessible(page)
    await page.keyboard.type("Somebody with a name that is as long as a name may be at most")
    await page.keyboard.press("Enter")
    sessions.revise({1: ["SPEAKER_02", "SPEAKER_01"]})
    await expect(page.locator("#finals .who")).to_have_count(10)
    await assert_accessible(page)
    await assert_fits(page)


@looks
async def test_when_something_is_missing(server: ServerProcess, visitor: Visitor, look: dict[str, Any]) -> None:
    page = await visitor.open(server.url, microphone=None, permissions=["microphone"], **look)
    await CaptionPage(page).start.click()
    await expect(page.locator("#notice")).to_be_visible()
    await assert_accessible(page)
    await assert_fits(page)


async def test_the_overlay(server: ServerProcess, visitor: Visitor, short_microphone: Path) -> None:
    page = await visitor.open(f"{server.url}/?overlay", microphone=short_microphone)
    await CaptionPage(page).hears()
    await assert_accessible(page)


@looks
async def test_the_jobs_page(
    server: ServerProcess, visitor: Visitor, short_recording: Recital, tmp_path: Path, look: dict[str, Any]
) -> None:
    page = await visitor.open(f"{server.url}/jobs", expected=(r"status of 400",), **look)
    await assert_accessible(page)
    await assert_fits(page)
    picture = tmp_path / "picture.wav"
    picture.write_bytes(b"this is no audio" * 100)
    talk = short_recording.write(tmp_path / "talk.wav")
    await page.locator("#files").set_input_files([talk, picture])
    job = page.get_by_role("list", name="Jobs").get_by_role("listitem")
    await expect(job.filter(has_text=picture.name)).to_have_attribute("data-state", re.compile("failed|refused"))
    await assert_accessible(page)
    await job.filter(has_text=talk.name).get_by_role("button", name="Open").click()
    await expect(page.get_by_role("region", name=talk.name)).to_contain_text("best of times")
    await assert_accessible(page)
    await assert_fits(page)


async def test_finals_are_read_out_and_partials_are_not(
    server: ServerProcess, visitor: Visitor, short_microphone: Path
) -> None:
    page = await visitor.open(server.url, microphone=short_microphone)
    captions = CaptionPage(page)
    await captions.captioning()
    await captions.hears()
    loud = await page.evaluate(
        "[...document.querySelectorAll('[aria-live]:not([aria-live=off]), [role=log], [role=status], output')]"
        ".filter(area => area.querySelector('.stable, .unstable')).map(area => area.outerHTML)"
    )
    assert loud == []
    finals = page.locator("#finals")
    await expect(finals).to_have_attribute("aria-live", "polite")
    await expect(finals).to_have_attribute("aria-relevant", "additions")
    await captions.has_finals(1)
