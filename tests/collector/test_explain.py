from pathlib import Path

import pytest

from otlp_spans import CHAT, request, span
from tallyspan_collector.cli import main


def test_a_file_of_spans_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "spans.pb"
    file.write_bytes(request(span(1, CHAT), span(2, {**CHAT, "gen_ai.operation.name": "plan"})))

    assert main(["explain", str(file)]) == 0
    told = capsys.readouterr().out
    assert "gen_ai.operation.name = chat" in told
    assert "gen_ai.operation.name = plan is no call of its own" in told
    assert "1 charged" in told
    assert "input_tokens 1000, output_tokens 100" in told
    assert "0.000450000000 USD (priced)" in told


def test_a_file_that_holds_no_spans_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "spans.json"
    file.write_text("{")

    assert main(["explain", str(file)]) == 2
    assert "spans.json" in capsys.readouterr().err
