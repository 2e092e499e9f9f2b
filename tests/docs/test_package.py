"""What a wheel, and the image that is built of one, are made of: all of it is there, and is right."""

import re
import runpy
import tomllib
from pathlib import Path

import tallyspan

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
with_absolute_links = runpy.run_path(str(ROOT / "scripts/pypi_page.py"))["with_absolute_links"]


def test_links_of_the_page_on_pypi_lead_to_the_files_of_the_released_tag() -> None:
    page = (
        "[a](docs/a.md#b), ![picture](docs/images/p.png),\n"
        "[PyPI](https://pypi.org/project/tallyspan/) and [here](#top)"
    )

    assert with_absolute_links(page, "some/where", "1.2.3") == (
        "[a](https://github.com/some/where/blob/v1.2.3/docs/a.md#b),"
        " ![picture](https://raw.githubusercontent.com/some/where/v1.2.3/docs/images/p.png),\n"
        "[PyPI](https://pypi.org/project/tallyspan/) and [here](#top)"
    )


def test_no_link_of_the_readme_is_relative_on_pypi() -> None:
    page = with_absolute_links(
        (ROOT / "README.md").read_text(), "some/where", tallyspan.__version__
    )

    assert re.findall(r"\]\((?!https://|#)([^)]*)\)", page) == []


def test_every_license_of_the_files_in_the_wheel_is_in_its_metadata() -> None:
    listed = {file for glob in PROJECT["license-files"] for file in ROOT.glob(glob)}
    packages = (
        ROOT / package
        for package in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    )
    inside = {file for package in packages for file in package.rglob("LICENSE*")}

    assert inside
    assert listed == {ROOT / "LICENSE", *inside}


def test_the_image_copies_all_that_its_wheel_is_built_of() -> None:
    lines = re.findall(r"^COPY (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    copied = {source for line in lines for source in line.split()[:-1]}
    hatch = PYPROJECT["tool"]["hatch"]
    needed = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        hatch["metadata"]["hooks"]["custom"]["path"],
        *(package.partition("/")[0] for package in hatch["build"]["targets"]["wheel"]["packages"]),
    }

    assert needed <= copied
    ignored = {line.rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert needed.isdisjoint(ignored)
