"""A PostgreSQL server of the test's own, on a free port of this machine, where Debian's package is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

BOTH = pytest.mark.parametrize("settings", ["sqlite", "postgres"], indirect=True)
"""For tests of what databases may do differently; the others are content with one."""


def _binary(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


class Postgres:
    """A running server; `new_database` gives the address of an empty database. It can be stopped and started again."""

    def __init__(self, command: list[str], folder: Path, user: int | None, port: int) -> None:
        self._command = command
        self._folder = folder
        self._user = user
        self._port = port
        self._admin = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        self.start()

    def start(self) -> None:
        log = self._folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, user=self._user, cwd=self._folder, stdout=output, stderr=output
            )
        _wait(self._port, self._process, log)

    def stop(self) -> None:
        """At once, as in a crash: whoever is connected is cut off."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(60)

    def new_database(self) -> str:
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
        return self._admin.rsplit("/", 1)[0] + f"/{name}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server in a temporary folder, and stop it; skips the test where there is none."""
    initdb, server = _binary("initdb"), _binary("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    user: int | None = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            user = pwd.getpwnam("postgres").pw_uid
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        if user is not None:
            os.chown(folder, user, -1)
        data = str(Path(folder) / "data")
        subprocess.run(
            [initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C"],
            check=True,
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
        options += ["-c", "fsync=off"]
        running = Postgres([server, "-D", data, *options], Path(folder), user, port)
        try:
            yield running
        finally:
            running.stop()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        try:
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", connect_timeout=1).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
    raise AssertionError(f"PostgreSQL did not start: {log.read_text()}")
