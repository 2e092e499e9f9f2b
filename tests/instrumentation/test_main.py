"""The command where only the instrumentation is installed."""

import subprocess
import sys

import pytest

import tallyspan

pytestmark = pytest.mark.process

WITHOUT = (
    "import sys; sys.modules[{!r}] = None; from tallyspan.__main__ import main; sys.exit(main())"
)


def run(*arguments: str, missing: str = "structlog") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_version_needs_no_collector() -> None:
    assert run("--version") == (0, f"tallyspan {tallyspan.__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_needs_no_collector_and_names_what_to_install(flag: str) -> None:
    code, out, err = run(flag)

    assert (code, err) == (0, "")
    assert "pip install 'tallyspan[collector,local]'" in out


@pytest.mark.parametrize("arguments", [(), ("up",), ("report", "--help")])
def test_every_other_command_names_what_is_missing(arguments: tuple[str, ...]) -> None:
    sentence = (
        "tallyspan: the collector needs structlog: pip install 'tallyspan[collector,local]'\n"
    )

    assert run(*arguments) == (2, "", sentence)


def test_where_python_lacks_a_module_of_its_own_the_platforms_are_named() -> None:
    sentence = (
        "tallyspan: this Python has no fcntl: the collector runs on Linux and macOS;"
        " on Windows use WSL 2 or Docker\n"
    )

    assert run("up", missing="fcntl") == (2, "", sentence)


def test_a_package_of_the_collector_that_is_missing_is_named_by_the_command_that_needs_it() -> None:
    sentence = "tallyspan: the collector needs grpc: pip install 'tallyspan[collector,local]'\n"

    assert run("up", missing="grpc") == (2, "", sentence)
