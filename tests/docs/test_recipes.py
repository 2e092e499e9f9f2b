"""What docs/recipes.md calls measured has been captured, and what it says of code has a test."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
CAPTURES = {each.name for each in (ROOT / "tests/conformance").iterdir() if each.is_dir()}
LANGUAGES = ("JavaScript and TypeScript", "Java and Kotlin", "Go", ".NET", "Ruby", "Rust")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_what_is_called_measured_has_been_captured() -> None:
    cells = [row[2] for row in rows("JavaScript and TypeScript")]
    names = {name for cell in cells for name in re.findall(r"`([a-z0-9_]+)`", cell)}

    assert len(cells) >= 10
    assert names - CAPTURES == set()
    javascript = {
        name for name in CAPTURES if re.search(r"_js|vercel|mastra|typescript|genkit", name)
    }
    named = names | {"vercel_ai_4", "vercel_ai_5"}  # `vercel_ai_3` to `vercel_ai_6`
    assert {each for each in javascript if not each.endswith("_usage")} - named == set()


def test_every_language_that_has_a_test_by_its_code_has_a_recipe() -> None:
    path = ROOT / "tests/collector/test_languages.py"
    spec = importlib.util.spec_from_file_location("languages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tested = {name.partition(",")[0] for name in module.EMITTERS}
    by_code = {
        heading.partition(" ")[0]
        for heading in LANGUAGES
        if any(row[2:3] == ["by its code"] for row in rows(heading))
    }

    assert by_code == tested
