"""Node for the tests that need one. It runs nothing itself."""

from __future__ import annotations

import shutil
import subprocess
from typing import Final

import pytest

OLDEST: Final = 20
WITH_WEBSOCKET: Final = 22
"""From here on Node has one without being asked."""


def need_node() -> int:
    """The major version of the Node that is installed; skips where there is none, or one that is too old."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    major = int(version.removeprefix("v").partition(".")[0])
    if major < OLDEST:
        pytest.skip(f"Node {version} is too old; {OLDEST} or later is needed")
    return major
