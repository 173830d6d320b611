"""What an alert says when the first event of a server's life comes: asked of Prometheus' own promtool, with the figures
that a real server gives before and after it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from stream_server.jobs.database import open_database, writing
from stream_server.jobs.tally import Tally, add_tally, count_callback
from stream_server.reading import Sample, address_of, read_sample
from stream_server.settings import Settings
from tests.support.fake import FakeRecognizer
from tests.support.running import Running, running_server
from tests.test_operations import ALERTS, NAME, expressions

Event = Callable[[Running, Path], None]


def tell(surface: str, code: str) -> Event:
    return lambda server, _: server.service.metrics.live.error(surface, code)


def fail_job(_: Running, folder: Path) -> None:
    database = open_database(Settings.load({}, data_dir=folder), create=False)
    with writing(database) as connection:
        add_tally(connection, Tally("job", "lesan", "INTERNAL", 1))
    database.dispose()


def give_up_callback(_: Running, folder: Path) -> None:
    database = open_database(Settings.load({}, data_dir=folder), create=False)
    with writing(database) as connection:
        count_callback(connection, "failed")
    database.dispose()


def series(before: Sample, after: Sample, expression: str) -> list[dict[str, str]]:
    """Half an hour of each, looked at every minute, of what is named. What is only in the second appears then."""
    found = []
    for name in after.values.keys() & NAME.findall(expression):
        for labels, value in after.values[name].items():
            old = before.values.get(name, {}).get(labels)
            first = "_x29" if old is None else f"{old}x29"
            named = ", ".join(f'{key}="{text}"' for key, text in sorted(labels | {("instance", "here:1")}))
            found.append({"series": f"{name}{{{named}}}", "values": f"{first} {value}x29"})
    return found


@pytest.mark.parametrize(
    ("where", "event"),
    [
        ("StreamServerInternalErrors", tell("live", "INTERNAL_ERROR")),
        ("StreamServerInternalErrors", tell("openai", "INTERNAL")),
        ("StreamServerInternalErrors", tell("server", "INTERNAL")),
        ("Errors, an hour", tell("lightning", "INTERNAL")),
        ("StreamServerJobsFail", fail_job),
        ("StreamServerCallbacksFail", give_up_callback),
    ],
)
async def test_the_first_event_is_told(where: str, event: Event, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    data = tmp_path / "data"
    async with running_server(FakeRecognizer(), job_worker="elsewhere", data_dir=data) as server:
        address = address_of(server.http_url)
        before = await asyncio.to_thread(read_sample, address)
        await asyncio.to_thread(event, server, data)
        after = await asyncio.to_thread(read_sample, address)
    expression = dict(expressions())[where].replace("$instance", ".*")
    is_alert = where in ALERTS.read_text()
    told = f"count({expression})" if is_alert else f"({expression}) > bool 0"
    nothing = [] if is_alert else [{"labels": "{}", "value": 0}]
    test = {
        "interval": "1m",
        "input_series": series(before, after, expression),
        "promql_expr_test": [
            {"expr": told, "eval_time": "29m", "exp_samples": nothing},
            {"expr": told, "eval_time": "35m", "exp_samples": [{"labels": "{}", "value": 1}]},
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [test]}), encoding="utf-8")
    command = [promtool, "test", "rules", str(path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
