"""What `make audit` makes of pip-audit's answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).resolve().parent.parent / ".ci" / "audit"


def audit(answer: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT)], input=answer, capture_output=True, text=True, check=False)


def packages(*entries: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(entries), "fixes": []})


CLEAN = {"name": "good", "version": "1.0", "vulns": []}
SKIPPED = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}
BAD = {"name": "bad", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}
HOPELESS = {"name": "worse", "version": "3.0", "vulns": [{"id": "PYSEC-2", "fix_versions": [], "aliases": []}]}


def test_nothing_is_known_to_be_wrong() -> None:
    done = audit(packages(CLEAN, SKIPPED))
    assert (done.returncode, done.stdout) == (0, "Vulnerabilities: 1 of 2 packages were looked up\n")


def test_a_finding_fails_and_is_named() -> None:
    done = audit(packages(CLEAN, BAD, HOPELESS, SKIPPED))
    assert done.returncode == 1
    assert "bad 2.0: PYSEC-1, fixed in 2.1" in done.stdout
    assert "worse 3.0: PYSEC-2, not fixed yet" in done.stdout


def test_what_cannot_be_looked_up_is_said_and_no_failure() -> None:
    for answer in ("", "Traceback (most recent call last)", packages(SKIPPED), "{}"):
        done = audit(answer)
        assert done.returncode == 0
        assert "not looked up" in done.stdout
        assert done.stderr == ""
