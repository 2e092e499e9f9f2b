"""The versions that the image installs are those that the package asks for, each with hashes."""

import json
import re
import runpy
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "deploy/requirements.txt").read_text()
VERSIONS = dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z]+\])?==(\S+)", LOCK, re.MULTILINE))


def test_every_dependency_of_the_image_is_locked_within_its_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    installed = (extras[name] for name in ("collector", "librechat", "mcp", "oidc", "statements"))
    for text in (*project["dependencies"], *chain(*installed)):
        wanted = Requirement(text)
        assert wanted.specifier.contains(VERSIONS[wanted.name], prereleases=True), (
            f"{text}: deploy/requirements.txt has another version; run: make lock"
        )


def test_every_locked_package_has_a_hash() -> None:
    packages = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]

    assert len(packages) == len(VERSIONS)
    assert [each.split()[0] for each in packages if "--hash=sha256:" not in each] == []


def test_the_bill_of_materials_names_what_the_image_is_made_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runpy.run_path(str(ROOT / "scripts/sbom.py"), run_name="__main__")
    bill = json.loads(capsys.readouterr().out)
    packages = [each for each in bill["components"] if each["type"] == "library"]

    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "tallyspan")
    assert re.fullmatch(r"\d+\.\d+\.\S+", bill["metadata"]["component"]["version"])
    assert {each["name"]: each["version"] for each in packages} == VERSIONS
    assert all(each["hashes"] for each in packages)
    (base,) = [each for each in bill["components"] if each["type"] == "container"]
    assert f"FROM {base['name']}:{base['version']}" in (ROOT / "Dockerfile").read_text()
