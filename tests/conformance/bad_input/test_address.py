"""Addresses that lead inside, to a recording or to a callback."""

from __future__ import annotations

from typing import Final

import httpx2
import pytest

from tests.conformance.surface import SURFACES
from tests.support.site import Site

with_address = pytest.mark.parametrize("way", [way for way, surface in SURFACES.items() if surface.address])

INSIDE: Final = (
    "http://127.0.0.1:{port}/metadata",
    "http://127.1:{port}/metadata",
    "http://2130706433:{port}/metadata",
    "http://0x7f000001:{port}/metadata",
    "http://0177.0.0.1:{port}/metadata",
    "http://0:{port}/metadata",
    "http://[::1]:{port}/metadata",
    "http://[::ffff:127.0.0.1]:{port}/metadata",
    "http://[::ffff:7f00:1]:{port}/metadata",
    "http://127。0。0。1:{port}/metadata",
    "http://①②⑦.⓪.⓪.①:{port}/metadata",
    "http://localhost:{port}/metadata",
    "http://inside.test:{port}/metadata",
    "http://metadata.test/latest/meta-data",
    "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1/a.wav",
    "http://[fe80::1]/a.wav",
    "http://224.0.0.1/a.wav",
    "http://files.test@127.0.0.1:{port}/metadata",
    "http://files.test:80@127.0.0.1:{port}/metadata",
    "http://127.0.0.1:{port}\\@files.test/metadata",
    "http://files.test:{port}/inside",
    "http://files.test:{port}/number",
    "http://files.test:{port}/file",
    "file:///etc/passwd",
    "ftp://files.test/a.wav",
    "gopher://127.0.0.1:{port}/_GET%20/metadata",
    "s3://secret/a.wav",
    "javascript:alert(1)",
    "//127.0.0.1:{port}/metadata",
    "http://",
    "http://files.test:99999/a.wav",
    "http://files.test:{port}/a.wav\r\nHost: inside",
)


@pytest.mark.parametrize("url", INSIDE)
@with_address
def test_an_address_that_leads_inside(way: str, url: str, client: httpx2.Client, web: Site) -> None:
    surface = SURFACES[way]
    asked = len(web.asked)
    assert surface.outcome(client, surface.point(client, url.format(port=web.port))) == "URL_REFUSED"
    assert {path for path, _ in web.asked[asked:]} <= {"/inside", "/number", "/file"}


@pytest.mark.parametrize("url", INSIDE)
def test_a_probe_that_leads_inside(url: str, client: httpx2.Client, web: Site) -> None:
    asked = len(web.asked)
    answer = client.post("/v1/media/probe", json={"audio_url": url.format(port=web.port)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "URL_REFUSED")
    assert {path for path, _ in web.asked[asked:]} <= {"/inside", "/number", "/file"}


@with_address
def test_an_address_that_may_be_used(way: str, client: httpx2.Client, web: Site) -> None:
    surface = SURFACES[way]
    assert surface.outcome(client, surface.point(client, f"http://files.test:{web.port}/a.wav")) == "completed"


@pytest.mark.parametrize("url", ["http://127.0.0.1/x", "http://2130706433/x", "file:///x", "s3://b/x", "x" * 5000])
@pytest.mark.parametrize("way", [way for way, surface in SURFACES.items() if surface.takes_callback])
def test_a_callback_that_leads_inside(way: str, url: str, client: httpx2.Client, web: Site) -> None:
    surface = SURFACES[way]
    answer = surface.point(client, f"http://files.test:{web.port}/a.wav", callback_url=url)
    assert (answer.status_code, surface.code(answer)) == (400, "URL_REFUSED")
