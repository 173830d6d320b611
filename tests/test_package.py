"""What is passed on: the wheel and the source distribution as they are built, the image, and the npm package."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.node import need_node

ROOT = Path(__file__).resolve().parent.parent
BROWSER = ROOT / "clients" / "browser"
PACKAGES = {
    "stream_server": ROOT,
    "stream_protocol": ROOT / "protocol",
    "stream_client": ROOT / "clients" / "python",
    "stream_browser": BROWSER,
}
PATIENCE_SEC = 600


def built(target: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE_SEC)
    (path,) = folder.iterdir()
    return path


def test_the_wheel_has_every_file_of_the_packages(tmp_path: Path) -> None:
    """The pages and the browser client too, and not what only their tests need."""
    with zipfile.ZipFile(built("wheel", tmp_path)) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(parent).as_posix()
        for package, parent in PACKAGES.items()
        for path in (parent / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == expected
    assert {
        "stream_browser/client/index.js",
        "stream_browser/captions/index.html",
        "stream_browser/jobs/jobs.html",
    } <= names


def test_the_pages_are_served_out_of_a_wheel(tmp_path: Path) -> None:
    """From where it is installed, not from the checkout: an editable install is what the other tests use."""
    with zipfile.ZipFile(built("wheel", tmp_path / "dist")) as wheel:
        wheel.extractall(tmp_path / "site")
    program = "from stream_server.transport import page; print(page.FOLDER, page.router.routes[0].path)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path / "site", check=True, capture_output=True, text=True, timeout=PATIENCE_SEC
    )
    assert done.stdout.split() == [str(tmp_path / "site" / "stream_browser"), "/"]


def test_the_source_distribution_has_what_the_checks_need(tmp_path: Path) -> None:
    with tarfile.open(built("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", ".ci/run", ".ci/packages", "clients/browser/package-lock.json", "clients/examples/README.md"}
    needed |= {
        "clients/browser/stream_browser/captions/index.html",
        "tests/test_package.py",
        "protocol/schemas/event.json",
    }
    assert needed - names == set()
    assert [name for name in names if "node_modules" in name or name.endswith(".pyc")] == []


def test_the_image_copies_every_package() -> None:
    """The file that keeps things from the builder lets them through, too."""
    copied = re.findall(r"^COPY ([a-z/_]+) \1$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    let_through = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    folders = {(parent / package).relative_to(ROOT).as_posix() for package, parent in PACKAGES.items()}
    assert set(copied) == folders
    assert folders <= set(let_through)


# -- npm ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def npm() -> str:
    """npm, in a folder where what the tests need has been installed."""
    need_node()
    found = shutil.which("npm")
    if found is None:
        pytest.skip("npm is not installed")
    if not (BROWSER / "node_modules").is_dir():
        pytest.skip("the packages of clients/browser are not installed; `make test` installs them")
    return found


def test_the_browser_client_passes_its_own_tests(npm: str) -> None:
    done = subprocess.run([npm, "test"], cwd=BROWSER, capture_output=True, text=True, check=False, timeout=PATIENCE_SEC)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]


def test_the_npm_package_is_the_client_and_nothing_else(npm: str) -> None:
    command = [npm, "pack", "--dry-run", "--json", "--ignore-scripts"]
    done = subprocess.run(command, cwd=BROWSER, capture_output=True, text=True, check=True, timeout=PATIENCE_SEC)
    (package,) = json.loads(done.stdout)
    names = {entry["path"] for entry in package["files"]}
    modules = {path.relative_to(BROWSER).as_posix() for path in (BROWSER / "stream_browser/client").rglob("*.js")}
    assert modules <= names
    assert {name for name in names if name.endswith((".js", ".css", ".html", ".py"))} == modules
    assert not package["bundled"]


def test_the_npm_package_depends_on_nothing() -> None:
    package = json.loads((BROWSER / "package.json").read_text(encoding="utf-8"))
    assert package["type"] == "module"
    assert [name for name in package if re.search("dependencies", name, re.IGNORECASE)] == ["devDependencies"]
    lock = json.loads((BROWSER / "package-lock.json").read_text(encoding="utf-8"))
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == [], "a registry's host name"
