"""Real Chromium, a real server with the embedded model, and a network between them that can be cut.

The asynchronous tests of this folder share one event loop, in which the browser is driven and the proxy runs. Where
Playwright or Chromium is missing they are skipped, and say so. A test of a page begins like this::

    playwright = pytest.importorskip("playwright.async_api", reason=NEEDS_PLAYWRIGHT)

    async def test_it(server: ServerProcess, visitor: Visitor) -> None:
        page = await visitor.open(server.url)

and fails by itself when the page writes an error to its console, leaves an exception uncaught, or asks anybody but the
server for anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from bench.proxy import Proxy
from tests.support.process import ServerProcess
from tests.support.recital import SILENCE_SEC, Recital, recital

if TYPE_CHECKING:
    from bench.chromium import Chromium
    from tests.support.browser import Visitor


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for all tests that are asynchronous: a browser lives in the loop that started it."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the real model, jobs included, in a process of its own; ``url`` is where its pages are."""
    # With `fixed` nobody is refused because the machine that the tests run on is busy.
    process = ServerProcess(tmp_path_factory.mktemp("server"), admission="fixed", job_worker="inline")
    yield process
    process.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def network(server: ServerProcess) -> AsyncIterator[Proxy]:
    """A way to the server that can be cut: open ``http://{network.address}/`` in place of the server's own address."""
    async with Proxy(f"127.0.0.1:{server.port}") as proxy:
        yield proxy


@pytest.fixture(scope="session")
def recording() -> Recital:
    """Three sentences, sixteen seconds: what the usual microphone hears. ``write`` makes a file of it."""
    return recital(3)


@pytest.fixture(scope="session")
def microphone(recording: Recital, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording as a file for `Visitor.open`, with silence behind it."""
    return recording.write(tmp_path_factory.mktemp("microphone") / "recital.wav", silence=SILENCE_SEC)


@pytest.fixture(scope="session")
def short_recording() -> Recital:
    """One sentence, six seconds."""
    return recital(1)


@pytest.fixture(scope="session")
def short_microphone(short_recording: Recital, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_recording.write(tmp_path_factory.mktemp("short-microphone") / "recital.wav", silence=SILENCE_SEC)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Chromium]:
    """Browsers, each started when a test first wants its flags."""
    from bench.chromium import ChromiumError, find_chromium, running_chromium

    try:
        find_chromium()
    except ChromiumError as error:
        pytest.skip(str(error))
    async with running_chromium() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(chromium: Chromium, microphone: Path) -> AsyncIterator[Visitor]:
    """Opens pages; closes them after the test, which fails if one of them has complained about anything."""
    from tests.support.browser import Visitor

    visitor = Visitor(chromium, microphone)
    yield visitor
    assert await visitor.close() == []
