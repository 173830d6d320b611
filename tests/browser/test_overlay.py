"""The overlay, `/?overlay`: captions over a picture that another program makes. Nobody can press a button there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import NEEDS_PLAYWRIGHT
from tests.support.process import ServerProcess

pytest.importorskip("playwright.async_api", reason=NEEDS_PLAYWRIGHT)

from playwright.async_api import Page, expect

from tests.browser.caption import CaptionPage
from tests.support.browser import Visitor


async def assert_nothing_but_captions(page: Page) -> None:
    for element in ("html", "body"):
        colour = await page.evaluate("name => getComputedStyle(document.querySelector(name)).backgroundColor", element)
        assert colour == "rgba(0, 0, 0, 0)", element
    for role in ("button", "combobox", "searchbox"):
        await expect(page.get_by_role(role).filter(visible=True)).to_have_count(0)  # type: ignore[arg-type]
    assert await page.evaluate("document.documentElement.scrollHeight <= innerHeight"), "no scroll bar in the picture"


async def test_it_starts_by_itself_and_lets_the_picture_through(
    server: ServerProcess, visitor: Visitor, short_microphone: Path
) -> None:
    page = await visitor.open(f"{server.url}/?overlay", microphone=short_microphone)
    captions = CaptionPage(page)
    await captions.hears()
    await assert_nothing_but_captions(page)
    await expect(captions.live).to_contain_text("best of times", ignore_case=True)


async def test_size_and_lines_are_chosen_in_the_address(
    server: ServerProcess, visitor: Visitor, short_microphone: Path
) -> None:
    page = await visitor.open(f"{server.url}/?overlay&size=80&lines=1", microphone=short_microphone)
    await CaptionPage(page).hears()
    words = page.locator("#captions .stable, #captions .unstable").first
    assert await words.evaluate("element => getComputedStyle(element).fontSize") == "80px"


async def test_it_mirrors_the_captions_of_another_page(
    server: ServerProcess, visitor: Visitor, short_microphone: Path
) -> None:
    """It asks for no microphone and no session of its own."""
    page = await visitor.open(server.url, microphone=short_microphone)
    overlay = await visitor.beside(page, f"{server.url}/?overlay=mirror")
    sockets: list[str] = []
    overlay.on("websocket", lambda socket: sockets.append(socket.url))
    await page.bring_to_front()
    await CaptionPage(page).captioning()
    await CaptionPage(overlay).hears()
    await assert_nothing_but_captions(overlay)
    assert sockets == []
