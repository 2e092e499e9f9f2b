from argparse import Namespace
from pathlib import Path

import pytest

from tallyspan_collector import config
from tallyspan_collector.errors import ConfigError

ROOT = Path(__file__).parents[2]


def loaded(environment: dict[str, str] | None = None, **flags: str) -> config.Config:
    return config.load(Namespace(**flags), environment or {})


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text("admin: 1.1.1.1:1\notlp_http: 1.1.1.1:2\notlp_grpc: 1.1.1.1:3\n")
    environment = {"TALLYSPAN_OTLP_HTTP": "2.2.2.2:2", "TALLYSPAN_OTLP_GRPC": "2.2.2.2:3"}
    made = loaded(environment, config=str(file), otlp_grpc="3.3.3.3:3")

    assert made.otlp_grpc == "3.3.3.3:3"
    assert made.otlp_http == "2.2.2.2:2"
    assert made.admin == "1.1.1.1:1"
    assert made.store == "local"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("otlp_htpt: 1.1.1.1:1\n", r":1: unknown setting 'otlp_htpt'; did you mean 'otlp_http'\?"),
        ("\nadmin: 4319\n", r":2: admin '4319': must be HOST:PORT"),
        ("\nadmin: [1]\n", r":2: admin: must be text"),
        ("admin: localhost\n", r":1: admin 'localhost': must be HOST:PORT"),
        ("store: mysql://x\n", r":1: store: must be 'local' or http"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=message):
        loaded(config=str(file))


def test_a_bad_variable_is_named_and_a_store_is_never_printed() -> None:
    with pytest.raises(ConfigError, match=r"TALLYSPAN_ADMIN 'x:99999': must be HOST:PORT"):
        loaded({"TALLYSPAN_ADMIN": "x:99999"})
    with pytest.raises(ConfigError) as refused:
        loaded({"TALLYSPAN_STORE": "postgres://user:s3cret@host/db"})
    assert "s3cret" not in str(refused.value)


def test_the_documentation_has_every_option() -> None:
    page = (ROOT / "docs/configuration.md").read_text()

    for option in config.OPTIONS:
        row = f"| `{option.flag}` | `{option.variable}` | `{option.name}` |"
        assert row in page, row
