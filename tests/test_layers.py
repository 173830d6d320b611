"""Who may import whom: a table, and a test that reads every import statement, the lazy ones inside functions included.

Imports point downwards only. A module belongs to the layer with the longest matching name.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "stream_protocol": ROOT / "protocol" / "stream_protocol",
    "stream_server": ROOT / "stream_server",
    "stream_client": ROOT / "clients" / "python" / "stream_client",
    "stream_browser": ROOT / "clients" / "browser" / "stream_browser",
}


@dataclass(frozen=True)
class Layer:
    """What the modules of one layer may import: our own by prefix, others by top-level name.

    ``pure``: no sockets, no threads, no event loop, no clock, no environment.
    """

    modules: tuple[str, ...]
    ours: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    pure: bool = False


PROTOCOL = "stream_protocol"
AUDIO = "stream_server.audio"
FORMATS = "stream_server.formats"
ENGINE = "stream_server.engine"
ENGINE_VALUES = ("stream_server.engine.work", "stream_server.engine.recognizer")
SESSION = (
    "stream_server.session",
    "stream_server.session_config",
    "stream_server.session_segment",
    "stream_server.session_speaker",
    "stream_server.session_wait",
    "stream_server.channel",
    "stream_server.negotiation",
    "stream_server.overload",
)
RULES = ("stream_server.limits",)
KEYS = ("stream_server.auth", "stream_server.keys", "stream_server.quota")
TOKEN = "stream_server.token"
PRIORITY = "stream_server.priority"
NETWORK = "stream_server.network"
TEXT = "stream_server.text"
JOBS = "stream_server.jobs"
JOB_VALUES = (f"{JOBS}.error", f"{JOBS}.job", f"{JOBS}.result", f"{JOBS}.wording", f"{JOBS}.cursor")
JOB_TABLES = (f"{JOBS}.database", f"{JOBS}.table")
SPEAKERS = "stream_server.speakers"
SPEAKER_VALUES = (f"{SPEAKERS}.turn", f"{SPEAKERS}.labelling")
TRANSCRIBE = "stream_server.transcribe"
SETTINGS = "stream_server.settings"
METRICS = "stream_server.metrics"
VIEW = ("stream_server.log", "stream_server.tracing")
"""What any layer that has something to tell may use."""
TRANSPORT = "stream_server.transport"
CLIENT = "stream_client"
BROWSER = "stream_browser"

LAYERS = (
    Layer((PROTOCOL,), (PROTOCOL,), ("orjson", "pydantic"), pure=True),
    Layer((AUDIO,), (PROTOCOL, AUDIO), ("av", "numpy", "soundfile", "soxr", "webrtcvad")),
    Layer(("stream_server.audio.silero",), (AUDIO,), ("numpy", "onnxruntime")),
    Layer(("stream_server.audio.segmenter", "stream_server.audio.vad"), (AUDIO,), ("numpy", "webrtcvad"), pure=True),
    Layer((FORMATS,), (PROTOCOL, FORMATS), ("orjson",), pure=True),
    # The engine knows neither sessions nor transport nor the wire.
    Layer((ENGINE,), (ENGINE,), ("numpy",)),
    Layer(
        (*ENGINE_VALUES, f"{ENGINE}.scheduler", f"{ENGINE}.planner", f"{ENGINE}.capacity"),
        (ENGINE,),
        ("numpy",),
        pure=True,
    ),
    Layer((f"{ENGINE}.moonshine",), (ENGINE,), ("numpy", "onnx", "onnxruntime")),
    # What needs the gpu extra is imported only when a model that runs on it is loaded: see test_the_base_has_no_torch.
    Layer((f"{ENGINE}.capture", f"{ENGINE}.device", f"{ENGINE}.fault"), (ENGINE,), ("torch",)),
    Layer((f"{ENGINE}.hub",), (ENGINE,), ("huggingface_hub",)),
    Layer((f"{ENGINE}.fastconformer",), (ENGINE,), ("numpy", "safetensors", "tokenizers", "torch")),
    Layer((f"{ENGINE}.fastconformer.kernel",), (f"{ENGINE}.fastconformer",), ("torch", "triton")),
    Layer(
        tuple(f"{ENGINE}.fastconformer.{name}" for name in ("configuration", "geometry", "settings")),
        (ENGINE,),
        pure=True,
    ),
    Layer((f"{ENGINE}.moonshine.tensor",), (ENGINE,), ("numpy", "torch")),
    Layer((f"{ENGINE}.transformers",), (ENGINE,), ("huggingface_hub", "numpy", "torch", "transformers")),
    # The session is a state machine: it sees the engine's values, never the engine.
    Layer(SESSION, (PROTOCOL, AUDIO, *SESSION, *ENGINE_VALUES, *SPEAKER_VALUES), ("numpy",), pure=True),
    Layer(SPEAKER_VALUES, (PROTOCOL, *SPEAKER_VALUES), pure=True),
    Layer(RULES, (PROTOCOL,), pure=True),
    Layer((SETTINGS,), (AUDIO, ENGINE), ("pydantic",)),
    Layer((METRICS,), (PROTOCOL, ENGINE, METRICS), ("prometheus_client",)),
    Layer((f"{METRICS}.job",), (METRICS, f"{JOBS}.tally"), ("prometheus_client",)),
    Layer((TOKEN,)),
    Layer((PRIORITY,)),
    Layer((NETWORK,), (NETWORK,), ("httpcore2", "httpx2")),
    Layer(KEYS, (PROTOCOL, TOKEN, SETTINGS, *KEYS, *JOB_TABLES, f"{JOBS}.error"), ("limits", "sqlalchemy")),
    Layer((TRANSCRIBE,), (PROTOCOL, AUDIO, ENGINE, *SESSION, SPEAKERS, SETTINGS), ("numpy",)),
    # What is made of texts: it sees the values of jobs, and neither store nor queue.
    Layer(
        (TEXT,),
        (PROTOCOL, f"{ENGINE}.device", f"{ENGINE}.hub", SETTINGS, *JOB_VALUES, TEXT),
        ("httpx2", "langcodes", "orjson", "pydantic"),
    ),
    Layer((f"{TEXT}.seq2seq",), (ENGINE, *JOB_VALUES, TEXT, SETTINGS), ("torch", "transformers")),
    # Who speaks: above audio and engine, and below whatever asks.
    Layer(
        (SPEAKERS,),
        (PROTOCOL, AUDIO, ENGINE, SETTINGS, *JOB_TABLES, f"{JOBS}.error", SPEAKERS),
        ("numpy", "sqlalchemy"),
    ),
    Layer(
        (f"{SPEAKERS}.clustering", f"{SPEAKERS}.span", f"{SPEAKERS}.community.track"),
        (SPEAKERS,),
        ("numpy",),
        pure=True,
    ),
    Layer((f"{SPEAKERS}.community.network",), (SPEAKERS,), ("numpy", "onnxruntime")),
    Layer((f"{SPEAKERS}.process",), (PRIORITY, SPEAKERS), ("numpy",)),
    Layer((f"{SPEAKERS}.onnx_embedder",), (ENGINE, SPEAKERS), ("numpy", "onnxruntime")),
    Layer((f"{SPEAKERS}.resemblyzer",), (ENGINE, SPEAKERS), ("numpy", "onnx")),
    Layer((f"{SPEAKERS}.hub_embedder",), (ENGINE, SPEAKERS), ("numpy", "torch", "transformers")),
    Layer((f"{SPEAKERS}.nemotron",), (ENGINE, SPEAKERS), ("numpy", "torch", "transformers")),
    Layer((f"{SPEAKERS}.nemotron.activity",), (SPEAKERS,), ("numpy",), pure=True),
    # Jobs: values, tables, the objects, and then what does the work. None of it knows HTTP's server side.
    Layer(JOB_VALUES, (PROTOCOL, *JOB_VALUES), ("orjson", "pydantic")),
    Layer(JOB_TABLES, (SETTINGS, *JOB_TABLES), ("dbos", "sqlalchemy")),
    Layer(
        (JOBS,),
        (PROTOCOL, AUDIO, FORMATS, TEXT, TOKEN, NETWORK, *KEYS, SETTINGS, *VIEW, JOBS),
        ("httpx2", "obstore", "orjson", "sqlalchemy", "standardwebhooks"),
    ),
    Layer((f"{JOBS}.ability", f"{JOBS}.service"), (PROTOCOL, ENGINE, *SESSION, *KEYS, TEXT, SPEAKERS, SETTINGS, JOBS)),
    Layer((f"{JOBS}.media",), (AUDIO, NETWORK, SETTINGS, JOBS), ("av", "httpx2", "obstore")),
    Layer((f"{JOBS}.page",), (NETWORK, SETTINGS, JOBS), ("httpx2", "yt_dlp")),
    Layer((f"{JOBS}.queue",), (JOBS,), ("dbos", "sqlalchemy")),
    Layer((f"{JOBS}.voice",), (SPEAKERS, JOBS), ("numpy",)),
    Layer(
        (f"{JOBS}.recognition", f"{JOBS}.run", f"{JOBS}.worker"),
        (PROTOCOL, AUDIO, ENGINE, TEXT, SPEAKERS, TRANSCRIBE, SETTINGS, *VIEW, JOBS),
        ("dbos", "sqlalchemy"),
    ),
    Layer(
        (TRANSPORT,),
        (
            *(PROTOCOL, AUDIO, FORMATS, ENGINE, *SESSION, *RULES, *KEYS, TOKEN, TEXT, JOBS, SETTINGS, METRICS, *VIEW),
            *(SPEAKERS, BROWSER, TRANSPORT),
        ),
        (
            *("anyio", "fastapi", "h11", "langcodes", "numpy", "orjson", "pydantic", "python_multipart"),
            *("sqlalchemy", "starlette", "uvicorn", "websockets"),
        ),
    ),
    # The composition root and the command line: anything, and nobody imports them.
    Layer(
        ("stream_server",),
        (PROTOCOL, CLIENT, "stream_server"),
        ("fastapi", "numpy", "rich", "sounddevice", "sqlalchemy", "starlette", "typer", "uvicorn"),
    ),
    Layer(("stream_server.log",), (), ("orjson", "structlog")),
    Layer(("stream_server.tracing",), (), ("opentelemetry",)),
    Layer(("stream_server.reading",), (), ("prometheus_client",)),
    Layer((CLIENT,), (PROTOCOL, CLIENT), ("uvloop", "websockets")),
    Layer((BROWSER,), pure=True),
)

ENTRY = ("stream_server.app", "stream_server.server", "stream_server.cli", "stream_server.__main__")
"""What nobody but the entry point imports."""

IMPURE = ("asyncio", "concurrent", "multiprocessing", "os", "random", "select", "socket", "subprocess", "threading")
CLOCKS = ("time", "datetime")


@cache
def modules() -> dict[str, frozenset[str]]:
    """Every module of ours, and what it imports: full names, one for each name of a ``from`` import."""
    found: dict[str, frozenset[str]] = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = frozenset(_imports(ast.parse(path.read_text(encoding="utf-8"))))
    return found


def _imports(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            assert node.module is not None
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _is_in(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def _layer(module: str) -> Layer:
    matches = [(len(prefix), layer) for layer in LAYERS for prefix in layer.modules if _is_in(module, prefix)]
    assert matches, f"{module} belongs to no layer: add it to LAYERS"
    return max(matches, key=lambda match: match[0])[1]


def violations(module: str, imported: frozenset[str]) -> list[str]:
    """What ``module`` imports and should not."""
    layer = _layer(module)
    wrong: list[str] = []
    for name in sorted(imported):
        top = name.split(".")[0]
        if top in PACKAGES:
            # ``from stream_server import __version__`` names a value of the package, not a part of the server.
            allowed = name == "stream_server.__version__" or any(_is_in(name, prefix) for prefix in layer.ours)
        elif top in sys.stdlib_module_names:
            allowed = not (layer.pure and top in IMPURE + CLOCKS)
        else:
            allowed = top in layer.others
        if not allowed:
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("module", modules())
def test_imports_point_downwards(module: str) -> None:
    assert violations(module, modules()[module]) == []


LOAD = """
from stream_server.engine.registry import RecognizerSettings, load_recognizer
print(load_recognizer('moonshine-tiny', RecognizerSettings(device='cpu')).info.description)
"""


def test_the_base_needs_nothing_of_the_gpu_extra() -> None:
    """Where none of it can be imported, the server can, the embedded model loads, and `auto` is the CPU."""
    program = (
        "import sys\n"
        "for name in ('torch', 'torchaudio', 'transformers', 'safetensors', 'tokenizers', 'huggingface_hub'):\n"
        "    sys.modules[name] = None\n"
        "import stream_server.server, stream_server.cli, stream_server.transcribe, stream_client\n"
        f"{LOAD}"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "(CPU)" in done.stdout


def test_torch_is_not_imported_for_the_embedded_model_on_a_cpu() -> None:
    """Where it is installed, importing it would take a second and 200 MB."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{LOAD}\nprint('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == "False"


def test_nobody_imports_the_entry_points() -> None:
    importers = {
        (module, name)
        for module, imported in modules().items()
        for name in imported
        if module not in ENTRY and any(_is_in(name, entry) for entry in ENTRY)
    }
    assert importers == set()


def test_every_layer_has_modules() -> None:
    """A layer whose modules were renamed would guard nothing."""
    prefixes = [prefix for layer in LAYERS for prefix in layer.modules]
    empty = [prefix for prefix in prefixes if not any(_is_in(name, prefix) for name in modules())]
    assert empty == []


def test_the_environment_is_read_in_few_places() -> None:
    """Settings come from `settings`; the others hand it on to a process of their own, and `load` is such a process."""
    readers = {
        path.relative_to(ROOT).as_posix()
        for folder in PACKAGES.values()
        for path in folder.rglob("*.py")
        if re.search(r"os\.(environ|getenv)", path.read_text(encoding="utf-8"))
    }
    assert readers <= {
        "stream_server/settings.py",
        "stream_server/child.py",
        "stream_server/ramp.py",
        "stream_server/worker_process.py",
        "clients/python/stream_client/load.py",
    }


@pytest.mark.parametrize(
    ("module", "imported", "wrong"),
    [
        ("stream_server.session", {"asyncio", "dataclasses.replace"}, ["asyncio"]),
        ("stream_server.session", {"time.monotonic"}, ["time.monotonic"]),
        ("stream_server.engine.engine", {"stream_server.session.Session"}, ["stream_server.session.Session"]),
        ("stream_server.engine.engine", {"torch.nn"}, ["torch.nn"]),
        ("stream_client.client", {"stream_server.settings.Settings"}, ["stream_server.settings.Settings"]),
        ("stream_client.client", {"stream_protocol.Init", "asyncio"}, []),
    ],
)
def test_violations_are_found(module: str, imported: set[str], wrong: list[str]) -> None:
    assert violations(module, frozenset(imported)) == wrong
