"""A server as it comes, with its limits of 500 MB and 4 hours, and nothing that may be left behind by what it is sent.

Whatever that is: the documented error in the shape of the dialect. What a single part makes of such input is in the
tests of that part.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx2
import pytest
import sqlalchemy as sa

from stream_server.jobs.database import DATABASE_NAME, open_database
from stream_server.jobs.table import objects
from tests.conformance.surface import PAUSE_SEC
from tests.support.clip import clip
from tests.support.fake import FakeRecognizer
from tests.support.hosting import client_of, hosted_server
from tests.support.running import Running
from tests.support.site import Site, content, redirect, running_site

KEY, OTHER = "sk-one", "sk-two"
PATIENCE_SEC: Final = 20.0
STALL_SEC: Final = 2.0


@pytest.fixture(scope="package")
def web() -> Iterator[Site]:
    """A web server that only callers may reach, and a name under which it may be reached."""
    with running_site() as site:
        site.pages = {"/a.wav": content(clip()), "/metadata": content(b"secret")}
        site.pages["/inside"] = redirect(site.url("/metadata"))
        site.pages["/number"] = redirect(f"http://2130706433:{site.port}/metadata")
        site.pages["/file"] = redirect("file:///etc/passwd")
        yield site


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, web: Site) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("bad")
    real = socket.getaddrinfo
    names = {"files.test": "127.0.0.1", "inside.test": "127.0.0.1", "metadata.test": "169.254.169.254"}

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        return real(names.get(host, host), *args, **options)

    settings: dict[str, Any] = {"job_worker": "inline", "api_keys": (KEY, OTHER), "allowed_hosts": ("files.test",)}
    with (
        pytest.MonkeyPatch.context() as patch,
        hosted_server(FakeRecognizer(), data_dir=folder, upload_timeout=STALL_SEC, **settings) as running,
    ):
        patch.setattr(socket, "getaddrinfo", resolve)
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[httpx2.Client]:
    with client_of(server, KEY) as client:
        yield client


def left(server: Running) -> list[str]:
    """Objects in the store, and rows of objects of which something has come."""
    folder = server.service.settings.data_dir
    database = open_database(server.service.settings)
    try:
        with database.connect() as connection:
            rows = connection.scalars(sa.select(objects.c.name).where(objects.c.state != "awaited")).all()
    finally:
        database.dispose()
    known = (DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm", "secret", "objects")
    strange = [path.name for path in folder.iterdir() if path.name not in known]
    return [*rows, *(path.name for path in (folder / "objects").iterdir()), *strange]


@pytest.fixture(autouse=True)
def nothing_is_left(server: Running) -> Iterator[None]:
    yield
    until = time.monotonic() + PATIENCE_SEC
    while found := left(server):
        assert time.monotonic() < until, found
        time.sleep(PAUSE_SEC)
