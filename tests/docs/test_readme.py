"""The README's commands exist, with the options it names."""

import re
import shlex
from pathlib import Path

from tallyspan_collector.cli import parser_for

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    shlex.split(line.removeprefix("$ "))
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


def test_the_two_commands_come_first_and_are_targets_of_the_makefile() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert COMMANDS[:2] == [["make", "demo"], ["make", "test"]]
    assert {"demo", "test"} <= set(targets)
    assert README.splitlines().index("$ make demo") < 25


def test_every_tallyspan_command_parses() -> None:
    ours = [words[1:] for words in COMMANDS if words[0] == "tallyspan"]

    assert len(ours) >= 3
    for words in ours:
        parser_for(words[0]).parse_args(words)


def test_every_link_into_the_repository_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            file = target.partition("#")[0]
            is_there = target.startswith(("https://", "#")) or (page.parent / file).exists()
            assert is_there, f"{page.name}: {target}"


def test_each_audience_has_a_start_of_five_lines_and_a_page() -> None:
    for audience, page in (
        ("A service", "docs/instrumentation.md"),
        ("An operator", "docs/operations.md"),
        ("An admin", "docs/admin.md"),
        ("An analyst", "clickhouse/README.md"),
    ):
        part = README.split(f"## {audience}\n", 1)[1].split("\n## ")[0]
        commands = re.findall(r"```console\n(.*?)```", part, re.DOTALL)[0].splitlines()
        assert 2 <= len(commands) <= 5, audience
        assert f"]({page})" in part, audience
