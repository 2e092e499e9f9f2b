"""What CONTRIBUTING, SECURITY and the forms name is there."""

import re
from pathlib import Path

import pytest
import yaml

from tallyspan_collector.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
FORMS = sorted(
    file for file in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if file.name != "config.yml"
)


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_the_page_leads_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", (ROOT / name).read_text())

    assert [each for each in targets if not (ROOT / each.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_target_of_make_and_every_file_that_a_page_names_is_there(name: str) -> None:
    page = (ROOT / name).read_text()
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert {*re.findall(r"[`$] ?make ([a-z-]+)", page)} <= {*targets}
    paths = re.findall(r"\b((?:tests|docs|deploy|bench|scripts)/[\w./-]*\w)", page)
    assert [each for each in paths if not (ROOT / each).exists()] == []


def test_the_table_of_folders_has_every_folder() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    folders = {file.parent.parts[len(ROOT.parts)] for file in ROOT.glob("*/**/*.py")}

    code = {name for name in folders if not name.startswith(".") and name not in {"build", "dist"}}
    assert [name for name in sorted(code) if f"`{name}/`" not in page] == []


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.stem)
def test_a_form_asks_for_the_version_and_names_commands_that_there_are(file: Path) -> None:
    form = yaml.safe_load(file.read_text())
    commands = re.findall(r"`tallyspan ([a-z]+)", file.read_text())

    assert "tallyspan --version" in file.read_text()
    assert {*commands} <= {*COMMANDS}
    ids = [each["id"] for each in form["body"] if "id" in each]
    assert len(ids) == len({*ids})


def test_every_hook_runs_a_tool_of_the_project() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    tools = {".venv/bin/ruff", ".venv/bin/lint-imports", *(f"make {name}" for name in targets)}

    entries = [hook["entry"] for hook in local["hooks"]]
    assert [each for each in entries if tools.isdisjoint({each, each.split()[0]})] == []
