"""The examples of `deploy/` and the image: what they promise about rights, probes and time, and settings that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_server.settings import PREFIX, Settings
from stream_server.transport import http

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STOP_MARGIN = 30
"""Seconds beside `drain_timeout` that a shutdown may take; as docs/configuration.md says."""

PATHS = {getattr(route, "path", None) for route in http.router.routes}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def cluster() -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    return {document["kind"]: document for document in documents}


def of_image(instruction: str) -> list[str]:
    """The arguments of an instruction in the last stage."""
    stage = DOCKERFILE.rpartition("\nFROM ")[2]
    return re.findall(rf"^{instruction} (.+)$", stage, re.MULTILINE)


def image_environment() -> dict[str, str]:
    stage = DOCKERFILE.rpartition("\nFROM ")[2].replace("\\\n", " ")
    (line,) = re.findall(r"^ENV (.+)$", stage, re.MULTILINE)
    return dict(re.findall(r"(\w+)=(\S+)", line))


def settings_of(*environments: dict[str, str]) -> Settings:
    """The settings that these variables give: an unknown one, or a value that cannot be, raises."""
    merged = {name: value for environment in environments for name, value in environment.items()}
    return Settings.load(merged)


def test_the_image_runs_as_nobody_in_particular() -> None:
    assert of_image("USER") == ["10001:10001"]
    assert "--uid 10001 --gid 10001" in DOCKERFILE
    environment = image_environment()
    settings = settings_of(environment)
    assert (str(settings.data_dir), settings.port) == ("/data", 8000)
    assert of_image("VOLUME") == ["/data"]
    assert of_image("EXPOSE") == ["8000"]
    assert environment["HF_HOME"].startswith("/data/"), "the rest may be read-only"
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    probed = re.findall(r"'(/\w+)'", "".join(of_image("HEALTHCHECK")) + DOCKERFILE.partition("HEALTHCHECK")[2])
    assert probed
    assert set(probed) <= PATHS


def test_compose_gives_few_rights(compose: dict[str, Any]) -> None:
    (server,) = compose["services"].values()
    assert server["user"] == of_image("USER")[0]
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    assert "cap_add" not in server
    assert "privileged" not in server
    assert server["security_opt"] == ["no-new-privileges:true"]
    assert [entry.partition(":")[0] for entry in server["tmpfs"]] == ["/tmp"]
    assert {option for entry in server["tmpfs"] for option in entry.split(":")[1].split(",")} > {"nosuid", "nodev"}
    assert server["pids_limit"] > 0
    assert server["mem_limit"]
    assert [volume.split(":")[1] for volume in server["volumes"]] == of_image("VOLUME")
    assert set(compose["volumes"]) == {volume.split(":")[0] for volume in server["volumes"]}


def test_compose_listens_on_this_machine_only(compose: dict[str, Any]) -> None:
    (server,) = compose["services"].values()
    for port in server["ports"]:
        host, _, inside = port.split(":")
        assert (host, inside) == ("127.0.0.1", of_image("EXPOSE")[0])


def test_compose_has_settings_that_exist_and_waits_for_the_drain(compose: dict[str, Any]) -> None:
    (server,) = compose["services"].values()
    settings = settings_of(image_environment(), server["environment"])
    grace = int(server["stop_grace_period"].removesuffix("s"))
    assert grace >= settings.drain_timeout + STOP_MARGIN
    assert server["command"][0] == "serve"
    assert not any("SECRET" in name or "KEY" in name for name in server["environment"]), "secrets are not in the file"
    named = re.findall(rf"{PREFIX}(\w+)", (DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def pod(cluster: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = cluster["Deployment"]["spec"]["template"]["spec"]
    return spec


def container(cluster: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (only,) = pod(cluster)["containers"]
    found: dict[str, Any] = only
    return found


def test_a_pod_has_few_rights(cluster: dict[str, dict[str, Any]]) -> None:
    whole = pod(cluster)["securityContext"]
    assert f"{whole['runAsUser']}:{whole['runAsGroup']}" == of_image("USER")[0]
    assert whole["runAsNonRoot"] is True
    assert whole["fsGroup"] == whole["runAsGroup"]
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(cluster)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(cluster)["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod(cluster))
    limits = container(cluster)["resources"]
    assert limits["limits"]["memory"]
    assert set(limits["requests"]) == {"cpu", "memory"}
    mounts = {mount["mountPath"]: mount["name"] for mount in container(cluster)["volumeMounts"]}
    assert set(mounts) == {"/data", "/tmp"}
    volumes = {volume["name"]: volume for volume in pod(cluster)["volumes"]}
    assert (
        volumes[mounts["/data"]]["persistentVolumeClaim"]["claimName"]
        == cluster["PersistentVolumeClaim"]["metadata"]["name"]
    )
    assert volumes[mounts["/tmp"]]["emptyDir"]["sizeLimit"]


def probes(cluster: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in container(cluster).items():
        if name.endswith("Probe"):
            yield name, value


def test_a_pod_is_probed_where_there_is_something(cluster: dict[str, dict[str, Any]]) -> None:
    (port,) = container(cluster)["ports"]
    assert str(port["containerPort"]) == of_image("EXPOSE")[0]
    found = dict(probes(cluster))
    assert set(found) == {"startupProbe", "readinessProbe", "livenessProbe"}
    for probe in found.values():
        assert probe["httpGet"]["path"] in PATHS
        assert probe["httpGet"]["port"] == port["name"]
    assert found["livenessProbe"]["httpGet"]["path"] == "/healthz", "a server that drains is alive"
    assert found["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_a_pod_has_settings_that_exist_and_waits_for_the_drain(cluster: dict[str, dict[str, Any]]) -> None:
    given = {entry["name"]: entry.get("value", "from a secret") for entry in container(cluster)["env"]}
    settings = settings_of(image_environment(), given)
    pause = container(cluster)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(cluster)["terminationGracePeriodSeconds"] >= pause + settings.drain_timeout + STOP_MARGIN
    plain = [entry["name"] for entry in container(cluster)["env"] if "value" in entry]
    assert not any("SECRET" in name or "KEY" in name for name in plain), "secrets are not in the file"
    assert pod(cluster)["enableServiceLinks"] is False
    assert cluster["Service"]["metadata"]["name"] != "stream-server"
    assert cluster["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}, "two would share the volume"
    labels = cluster["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert cluster["Service"]["spec"]["selector"] == labels == cluster["Deployment"]["spec"]["selector"]["matchLabels"]
    assert cluster["Service"]["spec"]["ports"][0]["targetPort"] == container(cluster)["ports"][0]["name"]
