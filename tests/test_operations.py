"""docs/operations.md and `deploy/` against the metrics there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from stream_server.engine.engine import Engine, EngineSettings
from stream_server.metrics import Metrics
from tests.support.fake import FakeRecognizer

ROOT = Path(__file__).resolve().parent.parent
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
NAME = re.compile(r"\b(?:stream_server|process)_[a-z_]+\b")
FUNCTIONS = {
    *("sum", "min", "max", "avg", "by", "on", "and", "rate", "increase", "deriv", "changes", "histogram_quantile"),
    *("avg_over_time", "up"),
}


@cache
def metrics() -> dict[str, tuple[str, str]]:
    """Every metric as it is written in expressions, with its type and help."""
    text = Metrics(Engine(FakeRecognizer(), EngineSettings())).render().decode()
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: (family.type, family.documentation)
        for family in text_string_to_metric_families(text)
    }


def series() -> set[str]:
    """All that can be selected: a histogram has three."""
    return {
        name + suffix
        for name, (kind, _) in metrics().items()
        for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in dashboard["templating"]["list"]:
        if "definition" in variable:
            yield variable["name"], variable["definition"]


def documented() -> dict[str, str]:
    """Metric to type, from the tables."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|", text, re.MULTILINE))


def test_every_metric_is_documented_with_its_type_and_nothing_else_is() -> None:
    # The text format has no type for build information: it says gauge.
    assert documented() == {name: kind for name, (kind, _) in metrics().items()}


def test_names_follow_the_conventions() -> None:
    assert [name for name, (_, text) in metrics().items() if not text.strip()] == []
    for name, (kind, _) in metrics().items():
        assert re.fullmatch(r"(stream_server|process)_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)(_|$)", name), "base units only"


def test_labels_are_documented() -> None:
    """Those of an expression stand in the row of its metric."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| \w+ \| (.*?) ?\|", text, re.MULTILINE))
    for where, expression in expressions():
        for name, selector in re.findall(r"((?:stream_server|process)_[a-z_]+)\{(.*?)\}", expression):
            base = name if name in metrics() else re.sub(r"_(bucket|sum|count)$", "", name)
            used = set(re.findall(r"(\w+)\s*(?:=|!)", selector)) - {"instance", "job", "le"}
            assert used <= set(re.findall(r"`(\w+)`", rows[base])), f"{where}: {name}"


@pytest.mark.parametrize(("where", "expression"), [pytest.param(*entry, id=entry[0]) for entry in expressions()])
def test_expressions_name_what_there_is(where: str, expression: str) -> None:
    named = set(NAME.findall(expression))
    assert named or expression.startswith("up{"), where
    assert named <= series() | {"stream_server_build_info"}
    plain = re.sub(r'"[^"]*"', '""', expression)
    assert plain.count("(") == plain.count(")")
    assert plain.count("{") == plain.count("}")
    called = set(re.findall(r"\b([a-z_]+)\s*\(", plain)) - {"label_values"}
    assert called <= FUNCTIONS
    for counter in (name for name in named if name.endswith(("_total", "_bucket", "_sum", "_count"))):
        assert re.search(rf"(rate|increase)\({counter}\b", plain), f"{counter} is a counter: only its growth means much"


def test_every_alert_is_explained_and_nothing_else_is() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `(StreamServer\w+)` \|", text, re.MULTILINE)
    assert explained == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def test_the_dashboard_shows_every_metric_of_ours_and_no_panel_lies_on_another() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", name) if name not in metrics() else name
        for _, expression in expressions()
        for name in NAME.findall(expression)
    }
    left_out = {name for name in metrics() if name.startswith("stream_server_")} - shown
    assert left_out == {"stream_server_engine_steps_total", "stream_server_draining"}


def test_promtool_has_no_objection(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    rules = {"groups": [{"name": "all", "rules": []}]}
    for number, (_, expression) in enumerate(expressions()):
        if not expression.startswith("label_values"):
            plain = expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
            rules["groups"][0]["rules"].append({"record": f"panel_{number}", "expr": plain})  # type: ignore[attr-defined]
    panels = tmp_path / "panels.yml"
    panels.write_text(yaml.safe_dump(rules), encoding="utf-8")
    for command in (("rules", ALERTS), ("rules", panels), ("config", ALERTS.with_name("prometheus.yml"))):
        done = subprocess.run([promtool, "check", *map(str, command)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    exposed = Metrics(Engine(FakeRecognizer(), EngineSettings())).render()
    lint = subprocess.run([promtool, "check", "metrics"], input=exposed, capture_output=True, check=False)
    assert lint.returncode == 0, lint.stderr.decode()
