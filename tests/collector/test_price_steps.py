"""How a price was made is told step by step, each with the line of the file it comes from."""

from pathlib import Path
from typing import Any

import pytest

from priced import ns
from tallyspan_collector import cli
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.match import Kind

FILE = """\
currencies:
  EUR:
    - {from: 2026-01-01, usd: 1.25}
prices:
  - {model: house-llm, unit: 1M tokens, input: 2, output: 8, from: 2026-02-01, currency: EUR,
     source: 'https://house.example/prices', checked: 2026-03-01, evidence: H, note: by letter}
fees:
  - {model: house-llm, web_search: 0.01}
  - {model: house-llm, cache_write_12h: 2.5 x input}
factors:
  - {model: house-llm, geo: us, times: 1.1, source: 'https://house.example/geo'}
allowances:
  - {model: house-llm, meter: web_search, free: 5000, every: month, group: house}
conditions:
  - {model: house-llm, endpoint: us.house.example, set: {geo: us}}
doubts:
  - {model: house-llm, deployment: none, flag: deployment_unknown, instead: {deployment: global}}
uplifts:
  - {model: house-llm, percent: 10}
aliases:
  - {model: our-llm, as: house-llm}
"""
AT = ns("2026-06-01")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "models_pricing.yaml"
    file.write_text(FILE)
    return file


def steps(path: Path, kind: Kind, meters: dict[str, float] | None = None) -> list[dict[str, Any]]:
    return [each.values() for each in PriceBook.load(path).steps(kind, AT, meters)]


def test_each_step_stands_in_the_order_it_is_taken_with_its_line(path: Path) -> None:
    told = steps(path, Kind("house", "us.house.example", "house-llm"))

    assert [(each["kind"], each["amount"]) for each in told if each["kind"] != "price"] == [
        ("setting", ""), ("exchange_rate", "1.25 USD for one EUR"),
        ("fee", "0.01 USD each"), ("fee", "2.5 x input"), ("factor", "1.1"), ("uplift", "10 %"),
        ("flag", "deployment_unknown"),
    ]  # fmt: skip
    lines = {each["kind"]: each["origin"] and each["origin"]["line"] for each in told}
    assert lines == {
        "setting": 15, "price": 5, "exchange_rate": None, "fee": 9, "factor": 11, "uplift": 19,
        "flag": 17,
    }  # fmt: skip


def test_a_line_keeps_what_it_says_of_its_source(path: Path) -> None:
    (price,) = [
        each for each in steps(path, Kind("house", "", "house-llm")) if each["kind"] == "price"
    ]

    assert price["since"] == "2026-02-01"
    assert price["origin"] == {
        "file": "models_pricing.yaml", "line": 5, "source": "https://house.example/prices",
        "checked": "2026-03-01", "evidence": "H", "note": "by letter",
    }  # fmt: skip


def test_only_fees_of_what_a_call_used_and_its_allowance_are_named(path: Path) -> None:
    kind = Kind("house", "", "house-llm", conditions=(("allowance", "house"),))
    told = steps(path, kind, {"input_tokens": 10, "web_search": 3, "web_search_free": 3})

    assert [each["meter"] for each in told if each["kind"] == "fee"] == ["web_search"]
    (allowance,) = [each for each in told if each["kind"] == "allowance"]
    assert allowance["text"] == "allowance: web_search 5000 free a month, shared as house"
    assert allowance["origin"]["line"] == 13
    without = steps(path, Kind("house", "", "house-llm"), {"input_tokens": 10})
    assert {"fee", "allowance"} & {each["kind"] for each in without} == set()


def test_another_name_for_the_price_is_a_step(path: Path) -> None:
    (first, *_) = steps(path, Kind("house", "", "our-llm"))

    assert (first["text"], first["origin"]["line"]) == ("priced as house/house-llm", 21)


def test_a_price_of_the_package_names_its_release() -> None:
    (only,) = PriceBook().steps(Kind("openai", "", "gpt-5-mini"), AT, {"input_tokens": 1})

    assert only.origin is not None
    assert only.origin.place.startswith("genai-prices ")


def test_without_a_price_the_condition_that_none_knows_is_named(path: Path) -> None:
    told = steps(path, Kind("house", "", "house-llm", conditions=(("geo", "mars"),)))

    assert told[-1]["text"] == "no price: unknown_condition for geo mars"


def test_the_command_shows_price_and_steps(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show = [
        "prices",
        "show",
        "house-llm",
        "--provider",
        "house",
        "--prices",
        str(path),
        "--at",
        "2026-06-01",
    ]
    assert cli.main([*show, "--condition", "geo=us"]) == 0
    told = capsys.readouterr().out

    # 2 EUR x 1.25 x 1.1 (geo us) x 1.1 (uplift) = 3.025 USD
    assert "3.025/M" in told
    assert "factor: x 1.1 for geo us (models_pricing.yaml:11, https://house.example/geo)" in told
    assert "checked 2026-03-01, evidence H, by letter)" in told
    # what is free costs nothing, and not less than nothing
    assert [line.split() for line in told.splitlines() if line.startswith("web_search_free")] == [
        ["web_search_free", "0", "each"]
    ]
    assert cli.main([*show, "--condition", "geo=mars"]) == 1
    assert "no price: unknown_condition for geo mars" in capsys.readouterr().out
