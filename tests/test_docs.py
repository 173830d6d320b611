"""The documents against the tree: links, paths, the file tree, settings, commands, chores, metrics, examples."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from stream_server.cli import app
from stream_server.engine.engine import Engine, EngineSettings
from stream_server.metrics import Metrics
from stream_server.settings import Settings
from tests.support.fake import FakeRecognizer

ROOT = Path(__file__).resolve().parent.parent
UNTRACKED = (".git", *(ROOT / ".gitignore").read_text(encoding="utf-8").replace("/\n", "\n").split())
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not any(part in UNTRACKED for part in path.relative_to(ROOT).parts)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_TYPES = ("py", "md", "json", "jsonl", "yaml", "yml", "toml", "svg", "png", "js", "html")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _prose(path: Path) -> str:
    """A document without its fenced blocks."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def _fences(path: Path, *languages: str) -> Iterator[str]:
    for language, body in FENCE.findall(path.read_text(encoding="utf-8")):
        if language in languages:
            yield body


def _anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, made as code forges make them."""
    headings = re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


documents = pytest.mark.parametrize("document", DOCUMENTS, ids=_name)


@documents
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = document.parent / file if file else document
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in _anchors(path)):
            broken.append(target)
    assert broken == []


@documents
def test_files_that_are_named_exist(document: Path) -> None:
    """In code spans: paths from the root, from the document, or from the server's package."""
    pattern = re.compile(rf"`([\w.\-]+(?:/[\w.\-]+)*/[\w.\-]+\.(?:{'|'.join(FILE_TYPES)}))`")
    bases = (ROOT, document.parent, ROOT / "stream_server")
    names = pattern.findall(_prose(document))
    assert [name for name in names if not any((base / name).exists() for base in bases)] == []


def test_the_tree_in_the_readme() -> None:
    """Every top-level file and folder stands in it, and nothing that is not there."""
    tree = next(_fences(ROOT / "README.md", "text"))
    folders: list[str] = []
    listed: set[str] = set()
    for line in tree.splitlines():
        entry = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [entry]
        path = "".join(folders)
        assert "  " in line.strip() or entry.endswith("/"), f"{entry} is not explained"
        assert (ROOT / path).exists(), f"{path} is in the README and not in the tree"
        listed.add(path.split("/")[0])
    present = {
        path.name
        for path in ROOT.iterdir()
        if not any(fnmatch.fnmatch(path.name, pattern.lstrip("/")) for pattern in UNTRACKED)
        and (not path.name.startswith(".") or path.name == ".ci")
        and path.name != "PKG-INFO"  # what a source distribution adds
    }
    assert listed == present


@pytest.mark.parametrize("folder", ["docs", "docs/decisions"])
def test_an_index_names_every_document(folder: str) -> None:
    index = ROOT / folder / "README.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", _prose(index))}
    expected = {path for path in index.parent.glob("*.md") if path != index}
    assert {_name(path) for path in expected - linked} == set()


# -- settings and commands ---------------------------------------------------------------------------------------------


def _settings_table() -> dict[str, tuple[str, str]]:
    """Setting to (option, default), as written."""
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.*?) \| .+ \|$", text, re.MULTILINE)
    return {name: (option.strip("`"), default.strip("`")) for name, option, default in rows}


def _default(value: Any) -> str:
    match value:
        case None | () | "":
            return "none"
        case SecretStr():
            return _default(value.get_secret_value())
        case tuple():
            return ",".join(value)
        case Path():
            return str(value).replace(str(Path.home()), "~")
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _commands() -> dict[str, set[str]]:
    """Every command and its options; those of a group as ``keys create``, beside the group."""
    found: dict[str, set[str]] = {}

    def collect(group: Any, prefix: str) -> None:
        for name, command in group.commands.items():
            options = {
                option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
            }
            found[prefix + name] = options
            if hasattr(command, "commands"):
                collect(command, f"{prefix}{name} ")

    collect(typer.main.get_command(app), "")
    return found


def test_every_setting_is_documented_with_its_default() -> None:
    fields = Settings.model_fields
    documented = {name: default for name, (_, default) in _settings_table().items()}
    assert documented == {
        name: _default(field.get_default(call_default_factory=True)) for name, field in fields.items()
    }


def test_every_option_of_serve_is_documented() -> None:
    """An option of `serve` is a setting of the same name."""
    documented = {option for option, _ in _settings_table().values() if option}
    assert documented == {f"--{name.replace('_', '-')}" for name, (option, _) in _settings_table().items() if option}
    assert documented == {option for option in _commands()["serve"] if option.startswith("--")}


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in _commands() if " " not in name and f"stream-server {name}" not in text] == []


@documents
def test_commands_in_examples_exist(document: Path) -> None:
    commands = _commands()
    wrong = []
    for body in _fences(document, "sh", "bash", "console"):
        for line in body.splitlines():
            call = re.search(r"(?:^|[\s/])stream-server +(\S.*)$", line.partition("  #")[0])
            if call is None or line.lstrip().startswith(("#", "docker")):
                continue
            command, *arguments = shlex.split(call[1])
            if arguments and f"{command} {arguments[0]}" in commands:
                command = f"{command} {arguments.pop(0)}"
            options = {argument.split("=")[0] for argument in arguments if re.match(r"--?[a-z]", argument)}
            if command not in commands or not options <= commands[command]:
                wrong.append(line.strip())
    assert wrong == []


@documents
def test_chores_that_are_named_exist(document: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"`make ([a-z-]+)", _prose(document))
    named += [name for body in _fences(document, "sh") for name in re.findall(r"^make ([a-z-]+)", body, re.MULTILINE)]
    assert [name for name in named if name not in targets] == []


def test_every_chore_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"^([a-z-]+):.*  ## \S", makefile, re.MULTILINE)) == set(phony[1].split())


# -- metrics and examples ----------------------------------------------------------------------------------------------


def test_metrics_that_are_named_exist() -> None:
    text = Metrics(Engine(FakeRecognizer(), EngineSettings())).render().decode()
    families = list(text_string_to_metric_families(text))
    known = {family.name for family in families} | {f"{family.name}_total" for family in families}
    named = {name for path in DOCUMENTS for name in re.findall(r"`(stream_server_[a-z_]+)(?:\{.*?\})?`", _prose(path))}
    assert named <= known


@documents
def test_python_examples_import_what_there_is(document: Path) -> None:
    for body in _fences(document, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@documents
def test_javascript_examples_import_what_there_is(document: Path) -> None:
    """From the browser client, by the name of its package or an address of a server."""
    index = (ROOT / "clients" / "browser" / "stream_browser" / "client" / "index.js").read_text(encoding="utf-8")
    exported = set(re.findall(r"\w+", " ".join(re.findall(r"^export \{(.+?)\}", index, re.MULTILINE))))
    pattern = r"import \{([^}]+)\} from \"(?:@stream-server/client|\S+/client/index\.js)\""
    for body in _fences(document, "html", "js", "javascript", "ts"):
        for names in re.findall(pattern, body):
            assert set(re.findall(r"\w+", names)) <= exported
