"""Visits to pages in real Chromium, and what the pages complain about. It knows no page of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import ConsoleMessage, Page

from bench.chromium import Chromium, microphone_flags

PATIENCE_MS: Final = 60_000
"""How long anything may take before a test has failed: tests may run on a machine that has much else to do."""
LOST_CONNECTION: Final = (r"WebSocket connection to .* failed", r"Failed to load resource: net::ERR_")
"""What Chromium itself writes to the console when a server cannot be reached: for tests that cut the connection."""


class Visitor:
    """Opens pages, and remembers what they complained about and whom they asked.

    Each page has a profile of its own (a browser context), unless it is opened beside another one.
    """

    def __init__(self, chromium: Chromium, microphone: Path | None) -> None:
        self._chromium = chromium
        self._microphone = microphone
        self._pages: list[Page] = []
        self._expected: list[str] = []
        self.complaints: list[str] = []
        """Errors on the console, exceptions that nothing caught, requests to anybody but the page's own server."""

    async def open(
        self,
        url: str,
        *,
        microphone: Path | str | None = "the usual one",
        asks: bool = False,
        flags: Sequence[str] = (),
        script: str = "",
        clock: bool = False,
        expected: Sequence[str] = (),
        **context: Any,
    ) -> Page:
        """A page in a fresh profile.

        ``microphone`` and ``asks`` as for `microphone_flags`; ``flags`` are more of Chromium's; ``script`` runs in the
        page before its own; with ``clock``, `Page.clock` can move its time; ``expected`` are patterns of complaints
        that are none; ``context`` is what ``Browser.new_context`` takes: ``viewport``, ``color_scheme``, ...
        """
        recording = self._microphone if isinstance(microphone, str) else microphone
        browser = await self._chromium.browser(*microphone_flags(recording, asks=asks), *flags)
        profile = await browser.new_context(**context)
        profile.set_default_timeout(PATIENCE_MS)
        if script:
            await profile.add_init_script(script)
        self._expected += expected
        page = await profile.new_page()
        if clock:
            await page.clock.install()
        return await self._load(page, url)

    async def beside(self, page: Page, url: str) -> Page:
        """Another page in the profile of this one."""
        return await self._load(await page.context.new_page(), url)

    async def _load(self, page: Page, url: str) -> Page:
        own = urlsplit(url).netloc
        self._pages.append(page)

        def asked(address: str) -> None:
            parts = urlsplit(address)
            if parts.scheme not in ("blob", "data") and parts.netloc != own:
                self.complaints.append(f"the page asked {address}")

        def said(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.complaints.append(f"{message.text} ({message.location.get('url', '')})")

        page.on("console", said)
        page.on("pageerror", lambda error: self.complaints.append(f"{error.name}: {error.message}"))
        page.on("request", lambda request: asked(request.url))
        page.on("websocket", lambda socket: asked(socket.url))
        await page.goto(url)
        return page

    async def close(self) -> list[str]:
        """Close every page; returns the complaints that nobody expected."""
        for context in {page.context for page in self._pages}:
            await context.close()
        return [text for text in self.complaints if not any(re.search(pattern, text) for pattern in self._expected)]
