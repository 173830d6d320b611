"""Runs the examples of the documents as their readers would: in a shell, in Python, in Node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

PATIENCE_SEC: Final = 120


def with_names(text: str, names: Mapping[str, str]) -> str:
    """The example with our addresses, keys and files in place of the document's; every one of them has to be in it."""
    for theirs, ours in names.items():
        assert theirs in text, f"the example does not speak of {theirs}"
        text = text.replace(theirs, ours)
    return text


def run_shell(script: str, folder: Path, **environment: str) -> str:
    """What a shell prints; skips where there is no curl."""
    _need("curl")
    return _run(["bash", "-euo", "pipefail", "-c", script], folder, environment)


def run_python(script: str, folder: Path, **environment: str) -> str:
    """What Python prints."""
    return _run([sys.executable, "-c", script], folder, environment)


def run_node(script: str, folder: Path, **environment: str) -> str:
    """What Node prints for a module; skips where there is no Node."""
    _need("node")
    return _run(["node", "--input-type=module", "-e", script], folder, environment)


def _need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "NO_PROXY": "127.0.0.1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
