import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SECRETS = [
    "TALLYSPAN_WRITER_PASSWORD",
    "TALLYSPAN_READER_PASSWORD",
    "TALLYSPAN_ADMIN_KEY",
    "TALLYSPAN_INGEST_KEY",
    "GRAFANA_ADMIN_PASSWORD",
]


def compose_command() -> list[str] | None:
    """`docker compose` where the plugin is there, else the older `docker-compose`, else none."""
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


COMPOSE = compose_command()


def config(**environment: str) -> subprocess.CompletedProcess[str]:
    assert COMPOSE is not None
    plain = {key: value for key, value in os.environ.items() if key not in SECRETS}
    return subprocess.run(
        [
            *COMPOSE,
            "--project-directory",
            str(ROOT),
            "-f",
            str(ROOT / "docker-compose.yml"),
            "config",
        ],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


needs_compose = pytest.mark.skipif(COMPOSE is None, reason="no compose client on this machine")


@needs_compose
def test_compose_takes_the_file() -> None:
    done = config(**dict.fromkeys(SECRETS, "s3cret"))

    assert done.returncode == 0, done.stderr


@needs_compose
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
        assert "healthcheck" in service, name
        assert {"cpus", "memory"} == set(service["deploy"]["resources"]["limits"]), name
        assert "build" in service or re.search(r":\d+\.\d+", service["image"])
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"


def test_every_file_that_is_mounted_is_there() -> None:
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source


def test_the_example_names_every_secret() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()

    assert [line.rstrip("=") for line in lines if line and not line.startswith("#")] == SECRETS
