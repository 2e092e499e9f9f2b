from decimal import Decimal
from pathlib import Path

import pytest

from tallyspan_collector.errors import ConfigError
from tallyspan_collector.files.strict_yaml import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "f.yaml"


def test_numbers_keep_the_text_they_were_written_with(file: Path) -> None:
    file.write_text("a: 0.1\nb: 3\nc: [1.10, x]\nd: true\ne: 2026-01-31\nf: 0.00000015\n")
    said, lines = load(file)

    assert said == {
        "a": Decimal("0.1"),
        "b": Decimal(3),
        "c": [Decimal("1.10"), "x"],
        "d": True,
        "e": "2026-01-31",
        "f": Decimal("0.00000015"),
    }
    assert lines.line(("c", 1)) == 3


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\na: 2\n", 2, "second time"),
        ("a: &x 1\nb: *x\n", 1, "anchors"),
        ("a: 1\nb: 1.5e-7\n", 2, "plain decimal"),
        ("a: 1_000\n", 1, "plain decimal"),
        ("a: " + "[" * 1200 + "]" * 1200 + "\n", 1, "nested too deeply"),
        ("a:\n\tb: 1\n", 2, "not YAML"),
        ("a: [1\n", 2, "not YAML"),
        ("- 1\n", 1, "mapping"),
        ("? [a, b]\n: 1\n", 1, "key"),
        ("a: 1\nb: 0x\nc: 1:30.5\n", 3, "plain decimal"),
        ("a: b: c\n", 1, "not YAML"),
    ],
)
def test_what_is_ambiguous_is_refused_with_its_line(
    file: Path, text: str, line: int, reason: str
) -> None:
    file.write_text(text)

    with pytest.raises(ConfigError, match=reason) as refused:
        load(file)
    assert str(refused.value).startswith(f"{file}:{line}: ")


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", None])
def test_an_unreadable_file_is_named(file: Path, content: bytes | None) -> None:
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match=r"f\.yaml: cannot be read"):
        load(file)


def test_an_empty_file_says_nothing(file: Path) -> None:
    file.write_text("# only a comment\n")

    assert load(file)[0] == {}
