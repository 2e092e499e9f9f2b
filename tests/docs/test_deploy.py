"""The unit of systemd and the manifests of Kubernetes: they fit the collector, and each other."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tallyspan_collector.cli import parser_for
from tallyspan_collector.config import OPTIONS

ROOT = Path(__file__).parents[2]
UNIT = [
    line.split("=", 1)
    for line in (ROOT / "deploy/systemd/tallyspan.service").read_text().splitlines()
    if "=" in line and not line.startswith("#")
]
MANIFESTS: list[dict[str, Any]] = [
    each
    for name in yaml.safe_load((ROOT / "deploy/kubernetes/kustomization.yaml").read_text())["resources"]
    for each in yaml.safe_load_all((ROOT / "deploy/kubernetes" / name).read_text())
]  # fmt: skip
SECRETS = {"TALLYSPAN_STORE", "TALLYSPAN_ADMIN_KEY", "TALLYSPAN_INGEST_KEY"}
OPTION = {option.variable: option for option in OPTIONS}


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for each in MANIFESTS if each["kind"] == kind]


@pytest.fixture
def pod() -> dict[str, Any]:
    (collectors,) = of_kind("StatefulSet")
    spec: dict[str, Any] = collectors["spec"]["template"]["spec"]
    return spec


def unit(name: str) -> str:
    (value,) = [value for key, value in UNIT if key == name]
    return value


def test_the_unit_starts_a_command_that_there_is_in_the_folder_that_systemd_makes() -> None:
    command, *arguments = shlex.split(unit("ExecStart"))
    options = parser_for("up").parse_args(arguments)

    assert Path(command).name == "tallyspan"
    assert options.data_dir == f"/var/lib/{unit('StateDirectory')}"


def test_systemd_stops_the_collector_alone_and_waits_longer_than_it_takes() -> None:
    assert unit("KillMode") == "mixed"  # its engine must outlive what it has to write
    assert int(unit("TimeoutStopSec")) > 10


def test_the_unit_leaves_the_engine_the_calls_with_which_it_confines_itself() -> None:
    allowed = {word for key, value in UNIT if key == "SystemCallFilter" for word in value.split()}

    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= allowed
    assert {key for key, _ in UNIT}.isdisjoint({"MemoryDenyWriteExecute", "ProcSubset"})


def test_every_variable_of_the_pod_is_a_setting_with_a_value_it_takes_or_a_secret(
    pod: dict[str, Any],
) -> None:
    (container,) = pod["containers"]
    for variable in container["env"]:
        name = variable["name"]
        if name in SECRETS:
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference == {"name": "tallyspan", "key": name}
        else:
            OPTION[name].parse(variable["value"])
    assert {each["name"] for each in container["env"]} >= SECRETS


def test_ports_of_the_settings_are_those_of_pod_services_and_policy(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    listens = {
        int(each["value"].rpartition(":")[2])
        for each in container["env"]
        if each["name"] in {"TALLYSPAN_OTLP_GRPC", "TALLYSPAN_OTLP_HTTP", "TALLYSPAN_ADMIN"}
    }
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    (policy,) = of_kind("NetworkPolicy")

    assert listens == {4317, 4318, 4319} == {*named.values()}
    for service in of_kind("Service"):
        for port in service["spec"]["ports"]:
            assert named[port["targetPort"]] == port["port"]
    open_ports = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert open_ports == listens


def test_services_and_policy_select_the_collectors_pods() -> None:
    (collectors,) = of_kind("StatefulSet")
    labels = collectors["spec"]["template"]["metadata"]["labels"]
    (policy,) = of_kind("NetworkPolicy")

    assert collectors["spec"]["selector"]["matchLabels"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    assert [each["spec"]["selector"] for each in of_kind("Service")] == [labels, labels]
    assert collectors["spec"]["serviceName"] in {
        each["metadata"]["name"]
        for each in of_kind("Service")
        if each["spec"].get("clusterIP") == "None"
    }


def test_what_is_acknowledged_is_on_a_volume_that_outlives_the_pod_and_fits_the_limit(
    pod: dict[str, Any],
) -> None:
    (collectors,) = of_kind("StatefulSet")
    (container,) = pod["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    (claim,) = collectors["spec"]["volumeClaimTemplates"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    size = claim["spec"]["resources"]["requests"]["storage"]

    assert mounts[claim["metadata"]["name"]] == variables["TALLYSPAN_DATA_DIR"]
    assert collectors["spec"]["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
    limit = OPTION["TALLYSPAN_SPOOL_LIMIT"].parse(variables["TALLYSPAN_SPOOL_LIMIT"])
    assert limit < int(size.removesuffix("Gi")) << 30


def test_a_pod_gets_calls_as_long_as_it_is_alive(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "admin"}


def test_the_pod_has_no_right_of_root_and_is_the_user_of_the_image(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    (user,) = re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert pod["securityContext"]["runAsNonRoot"]
    assert str(pod["securityContext"]["runAsUser"]) == user
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod["automountServiceAccountToken"]
    assert not pod["enableServiceLinks"]  # else TALLYSPAN_PORT and the like appear beside settings
