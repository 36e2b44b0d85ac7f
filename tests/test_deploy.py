"""The files in deploy/: each is valid for the program that reads it, and they agree with each other and with ours."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from acytoo.gateway.config import load
from tests.processes import ACYTOO, run
from tests.services import missing

DEPLOY = Path(__file__).parent.parent / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()


def manifest(kind: str) -> Any:
    [found] = [document for document in KUBERNETES if document["kind"] == kind]
    return found


def test_the_compose_file_is_valid() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = run([*command, str(DEPLOY / "compose.yaml")])
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_the_compose_file_mounts_files_that_exist() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_a_config_file_that_is_replaced_is_the_new_one_in_the_container() -> None:
    (volume,) = COMPOSE["services"]["acytoo"]["volumes"]
    folder, target, _ = volume.split(":")
    assert (DEPLOY / folder / "acytoo.toml").is_file()
    assert target == "/etc/acytoo"


def test_the_example_of_the_environment_has_all_variables_of_the_compose_file() -> None:
    used = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert set(re.findall(r"^(\w+)=$", (DEPLOY / "environment.example").read_text(), re.MULTILINE)) == used


@pytest.mark.parametrize("document", KUBERNETES, ids=lambda document: document["kind"])
def test_the_kubernetes_manifest_is_valid(document: Any) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    validator.validate(document, validator.latest_version(), strict=True)


def test_the_manifest_refers_only_to_its_own_names() -> None:
    pod = manifest("Deployment")["spec"]["template"]
    selectors = [manifest("Service")["spec"]["selector"]]
    selectors += [manifest(kind)["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget")]
    assert all(selector == pod["metadata"]["labels"] for selector in selectors)
    [container] = pod["spec"]["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in pod["spec"]["volumes"]}


@pytest.mark.parametrize("name", ["compose", "kubernetes"])
def test_the_config_files_are_without_a_mistake(name: str, tmp_path: Path) -> None:
    path = tmp_path / "acytoo.toml"
    in_manifest = manifest("ConfigMap")["data"]["acytoo.toml"]
    path.write_text(in_manifest if name == "kubernetes" else (DEPLOY / "config/acytoo.toml").read_text())
    done = run([ACYTOO, "config", "check", "--no-secrets", str(path)])
    assert done.returncode == 0, done.stderr.decode()
    assert load(path).server.port == 8000


def test_the_config_files_find_their_variables() -> None:
    services = {
        (DEPLOY / "config/acytoo.toml").read_text(): COMPOSE["services"]["acytoo"]["environment"],
        manifest("ConfigMap")["data"]["acytoo.toml"]: manifest("Secret")["stringData"],
    }
    for config, environment in services.items():
        assert set(re.findall(r"env:(\w+)", config)) == set(environment)


def test_the_container_installs_extras_that_exist() -> None:
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    [extras] = re.findall(r"'\.\[(.*)\]'", CONTAINERFILE)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    for path in re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE):
        assert all((DEPLOY.parent / name).exists() for name in path.split())


def test_services_have_more_time_to_stop_than_replies_to_finish() -> None:
    server = load(DEPLOY / "config/acytoo.toml").server
    needed = server.shutdown_delay + server.grace
    unit = (DEPLOY / "acytoo.service").read_text()
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    assert int(COMPOSE["services"]["acytoo"]["stop_grace_period"].removesuffix("s")) > needed
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0]) > needed
    in_pod = tomllib.loads(manifest("ConfigMap")["data"]["acytoo.toml"])["server"]
    probe = pod["containers"][0]["readinessProbe"]
    assert probe["httpGet"]["path"] == "/readyz"
    assert in_pod["shutdown_delay"] > probe["periodSeconds"]
    assert pod["terminationGracePeriodSeconds"] > in_pod["shutdown_delay"] + in_pod.get("grace", server.grace)


def test_the_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        missing("systemd-analyze", "systemd")
    assert program is not None
    path = tmp_path / "acytoo.service"
    path.write_text((DEPLOY / "acytoo.service").read_text().replace("/opt/acytoo/bin/acytoo", "/bin/true"))
    verified = subprocess.run([program, "verify", str(path)], capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr
    assert "acytoo.service" not in verified.stderr
    security = subprocess.run(
        [program, "security", "--offline=true", "--threshold=20", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert security.returncode == 0, security.stdout


def test_grafana_and_prometheus_find_each_other() -> None:
    [source] = yaml.safe_load((DEPLOY / "grafana/datasource.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = yaml.safe_load((DEPLOY / "grafana/dashboards.yaml").read_text())["providers"]
    assert any(provider["options"]["path"] in volume for volume in COMPOSE["services"]["grafana"]["volumes"])
    [job] = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["acytoo:8000"]}]
    assert job["authorization"]["credentials_file"] == "/run/secrets/admin_key"
    assert COMPOSE["services"]["prometheus"]["secrets"] == ["admin_key"]
