"""The table of subcommands: each has its module, and no command imports another one's packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tallyspan_collector import commands
from tallyspan_collector.cli import COMMANDS, main

HEAVY = {"clickhouse_connect", "genai_prices", "grpc", "mcp", "numpy", "pymongo", "starlette"}
IMPORTS = """
import json, sys
from tallyspan.__main__ import main
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(each.partition(".")[0] for each in sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: tallyspan {command} ")


def test_the_list_of_commands_names_each_with_what_it_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())

    assert [f"{name} {what}" for name, (_, what) in COMMANDS.items() if f"{name} {what}" not in shown] == []  # fmt: skip


def test_every_module_that_adds_a_command_is_in_the_table() -> None:
    folder = Path(commands.__path__[0])
    adding = {
        file.stem for file in folder.glob("*.py") if "commands.add_parser(" in file.read_text()
    }

    assert adding == {module for module, _ in COMMANDS.values()}


def test_a_command_that_is_none_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["reports"])

    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "invalid choice: 'reports'" in error
    assert all(name in error for name in COMMANDS)


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["--version"], set()),
        (["--help"], set()),
        (["preload", "--help"], set()),
        (["keys", "add", "--help"], {"clickhouse_connect"}),
        (["sql", "--help"], {"clickhouse_connect"}),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], needed: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *arguments], capture_output=True, text=True, check=True
    )

    assert HEAVY & {*json.loads(done.stderr)} == needed
