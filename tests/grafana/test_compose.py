import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from running import running_collector
from shared_store import SharedStore
from tallyspan_grafana.alerting import CHANNELS, RULES

ROOT = Path(__file__).parents[2]
SECRETS = [
    "TALLYSPAN_WRITER_PASSWORD",
    "TALLYSPAN_READER_PASSWORD",
    "TALLYSPAN_ADMIN_KEY",
    "TALLYSPAN_INGEST_KEY",
    "GRAFANA_ADMIN_PASSWORD",
    "GRAFANA_SECRET_KEY",
]
SCRIPT = ROOT / "scripts/smoke.sh"


def compose_command() -> list[str] | None:
    """`docker compose` where the plugin is there, else the older `docker-compose`, else none."""
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


COMPOSE = compose_command()


def config(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    assert COMPOSE is not None
    plain = {key: value for key, value in os.environ.items() if key not in SECRETS}
    file = str(ROOT / "docker-compose.yml")
    return subprocess.run(
        [*COMPOSE, "--project-directory", str(ROOT), "-f", file, *arguments, "config"],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


needs_compose = pytest.mark.skipif(COMPOSE is None, reason="no compose client on this machine")


@needs_compose
@pytest.mark.process
@pytest.mark.parametrize("profile", ["", "otel", "librechat"])
def test_compose_takes_the_file(profile: str) -> None:
    arguments = ("--profile", profile) if profile else ()
    done = config(*arguments, **dict.fromkeys(SECRETS, "s3cret"))

    assert done.returncode == 0, done.stderr


@needs_compose
@pytest.mark.process
@pytest.mark.parametrize("missing", SECRETS)
def test_it_refuses_to_start_without_a_password(missing: str) -> None:
    done = config(**{name: "s3cret" for name in SECRETS if name != missing})

    assert done.returncode != 0
    assert missing in done.stderr


def services() -> dict[str, Any]:
    said: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return said


def test_each_service_is_pinned_limited_and_watched() -> None:
    for name, service in services().items():
        # The image of the OpenTelemetry Collector has nothing to ask it with.
        assert "healthcheck" in service or name == "otel-collector", name
        assert {"cpus", "memory"} == set(service["deploy"]["resources"]["limits"]), name
        assert service["logging"]["options"]["max-size"], name
        assert "build" in service or re.search(r":v?\d+\.\d+", service["image"])
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"


def test_the_image_alone_says_how_it_is() -> None:
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_what_can_run_without_writing_and_without_rights_does() -> None:
    for name in ("collector", "grafana", "otel-collector"):
        service = services()[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_store_keeps_only_the_rights_that_its_start_needs() -> None:
    store = services()["clickhouse"]

    assert store["cap_drop"] == ["ALL"]
    assert {*store["cap_add"]} == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    assert store["security_opt"] == ["no-new-privileges:true"]


def test_what_starts_without_being_asked_for_is_the_product() -> None:
    by_profile = {name: service.get("profiles") for name, service in services().items()}

    assert by_profile == {
        "clickhouse": None,
        "collector": None,
        "grafana": None,
        "otel-collector": ["otel"],
        "librechat": ["librechat"],
        "librechat-mongodb": ["librechat"],
    }


def test_no_secret_is_written_down_or_on_a_command_line() -> None:
    for name, service in services().items():
        said = f"{service.get('command')} {service.get('healthcheck')}"
        # `$$` is filled in by a shell in the container, and is on its command line as well.
        assert not re.search(r"\$\{?[A-Z]", said), name
        for variable, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|KEY|CREDS", variable) and value != "librechat":
                assert re.match(r"\$\{[A-Z_]+(:\?[^}]*|:-(user_provided)?)?\}$", value), variable


def test_grafana_reads_as_the_reader_and_sends_alerts_by_the_channel_that_is_named() -> None:
    grafana = services()["grafana"]
    (points,) = [each for each in grafana["volumes"] if "contact_points" in each]

    assert grafana["environment"]["CLICKHOUSE_READER_PASSWORD"] == "${TALLYSPAN_READER_PASSWORD}"
    assert "${TALLYSPAN_ALERT_CHANNEL:-email}.yaml:" in points
    assert grafana["environment"]["TALLYSPAN_ALERT_TO"]
    for channel in CHANNELS:
        assert (ROOT / f"grafana/provisioning/contact_points/{channel}.yaml").exists()


def test_the_collector_in_front_keeps_a_trace_together_and_what_it_took() -> None:
    said = yaml.safe_load((ROOT / "deploy/otel-collector.yaml").read_text())
    exporter = said["exporters"]["loadbalancing"]

    assert exporter["routing_key"] == "traceID"
    assert exporter["resolver"]["dns"]["hostname"] in services()
    assert exporter["sending_queue"]["storage"] in said["service"]["extensions"]
    assert said["service"]["pipelines"]["traces"]["exporters"] == ["loadbalancing"]
    assert exporter["protocol"]["otlp"]["headers"]["authorization"].endswith(
        "${env:TALLYSPAN_INGEST_KEY}"
    )


def test_librechat_has_the_settings_that_its_page_names() -> None:
    page = (ROOT / "docs/librechat.md").read_text()
    environment = services()["librechat"]["environment"]

    named = set(re.findall(r"^ *(LANGFUSE_\w+)=", page, re.MULTILINE))
    assert named == {name for name in environment if name.startswith("LANGFUSE_")}
    assert not environment["LANGFUSE_BASE_URL"].endswith("/")


def test_the_servers_own_logs_are_capped() -> None:
    root = ET.parse(ROOT / "clickhouse/config/config.d/tallyspan.xml").getroot()

    for log in (each for each in root if each.tag.endswith("_log")):
        assert log.get("remove") == "1" or log.find("ttl") is not None
    assert root.findtext("logger/size")


@pytest.mark.process
def test_the_smoke_script_is_a_script_and_looks_for_what_is_there() -> None:
    done = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert os.access(SCRIPT, os.X_OK)
    rules = (ROOT / "grafana/provisioning/alerting/rules.yaml").read_text()
    assert rules.count("  - uid: tallyspan-") == len(RULES)


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl on this machine")
def test_the_call_of_the_smoke_script_is_booked_with_a_cost(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    with running_collector(tmp_path, store=empty_store.url) as running:
        url = f"http://{running.ready.otlp_http}"
        done = subprocess.run(
            [str(SCRIPT), "--send", url, "any"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        (row,) = running.rows("SELECT user_id, cost_usd > 0 AS costs, input_tokens FROM calls")

    assert (row["user_id"], row["costs"], row["input_tokens"]) == ("smoke", 1, 1_000_000)


def test_every_file_that_is_mounted_is_there() -> None:
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.replace("${TALLYSPAN_ALERT_CHANNEL:-email}", "email").partition(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source


def test_the_example_names_every_secret() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()

    assert [line.rstrip("=") for line in lines if line and not line.startswith("#")] == SECRETS


def test_the_image_has_what_every_setting_of_the_collector_needs() -> None:
    extras = re.search(r"'/src\[([a-z,]+)\]'", (ROOT / "Dockerfile").read_text())

    assert extras is not None
    assert set(extras[1].split(",")) == {"collector", "librechat", "mcp", "oidc", "statements"}
