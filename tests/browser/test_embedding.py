"""The page of `docs/browser.md` as it stands there, on another origin than the server, and what it says is needed."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from stream_protocol import Event
from tests.browser import NEEDS_PLAYWRIGHT
from tests.support.hosting import hosted_server
from tests.support.site import Site, content, running_site
from tests.support.speech import moonshine

pytest.importorskip("playwright.async_api", reason=NEEDS_PLAYWRIGHT)

from playwright.async_api import Page, expect

from tests.support.browser import PATIENCE_MS, Visitor

DOCUMENT = (Path(__file__).resolve().parent.parent.parent / "docs" / "browser.md").read_text(encoding="utf-8")
(PAGE,) = re.findall(r"^```html\n(.+?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
SERVER = "http://127.0.0.1:8000"
"""The server's address in the document, over HTTP."""
POLICY = re.search(r"`(script-src (https://\S+); connect-src [^`]+)`", DOCUMENT)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as site:
        yield site


async def captions(page: Page) -> None:
    """Start, and wait for a final; then the page is left before the server is."""
    await page.get_by_role("button", name="Start").click()
    finals = page.locator("p").first
    await expect(finals).to_contain_text("best of times", ignore_case=True, timeout=PATIENCE_MS)
    await page.close()


def test_it_is_ten_lines_of_what_there_is() -> None:
    script = PAGE.partition('<script type="module">\n')[2].partition("</script>")[0]
    assert len(script.splitlines()) <= 11  # the brace at the end is none
    known = {event.type: {field.name for field in fields(event)} for event in typing.get_args(Event)}
    heard = re.findall(r'addEventListener\("(\w+)", (.+)\);$', script, re.MULTILINE)
    assert {name for name, _ in heard} >= {"partial", "final_segment"}
    for name, reader in heard:
        assert set(re.findall(r"detail\.(\w+)", reader)) <= known[name]


async def test_it_shows_captions(site: Site, visitor: Visitor, short_microphone: Path) -> None:
    with hosted_server(moonshine(), allowed_origins=(site.url(""),)) as server:
        site.pages["/captions"] = content(PAGE.replace(SERVER, server.http_url).encode(), "text/html; charset=utf-8")
        foreign = rf"the page asked (http|ws)://127\.0\.0\.1:{server.port}/(browser/client/[\w.-]+|ws)$"
        page = await visitor.open(site.url("/captions"), microphone=short_microphone, expected=(foreign, "favicon"))
        await captions(page)


async def test_the_rules_it_may_have(site: Site, visitor: Visitor, short_microphone: Path) -> None:
    """The policy of the document is enough, and so it is for a page that has isolated itself."""
    assert POLICY is not None
    with hosted_server(moonshine(), allowed_origins=(site.url(""),)) as server:
        policy = POLICY[1].replace("https://captions.example", server.http_url)
        policy = policy.replace("wss://captions.example", server.ws_url.removesuffix("/ws"))
        policy = policy.replace("script-src", "script-src 'unsafe-inline'")  # its own script stands in the page
        assert "example" not in policy
        site.pages["/strict"] = content(
            PAGE.replace(SERVER, server.http_url).encode(),
            "text/html; charset=utf-8",
            Content_Security_Policy=f"default-src 'none'; {policy}",
            Cross_Origin_Embedder_Policy="require-corp",
        )
        page = await visitor.open(
            site.url("/strict"), microphone=short_microphone, expected=("the page asked", "favicon")
        )
        await captions(page)


async def test_a_server_that_does_not_allow_it_is_named(site: Site, visitor: Visitor, short_microphone: Path) -> None:
    with hosted_server(moonshine()) as server:
        site.pages["/refused"] = content(PAGE.replace(SERVER, server.http_url).encode(), "text/html; charset=utf-8")
        page = await visitor.open(site.url("/refused"), microphone=short_microphone, expected=(".",))
        async with page.expect_event("pageerror", timeout=PATIENCE_MS) as refused:
            await page.get_by_role("button", name="Start").click()
        assert "allowed_origins" in (await refused.value).message
