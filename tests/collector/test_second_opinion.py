"""Our prices beside those of a second source: what is compared, what differs, who is right."""

import json
import re
from datetime import UTC, date, datetime
from fractions import Fraction
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

import price_map
from price_map import entry
from tallyspan_collector.cli import main
from tallyspan_collector.commands import second_opinion
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing import rates, shipped
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.bundled import installed
from tallyspan_collector.pricing.second import (
    differences,
    disputes,
    extract,
    litellm_map,
    reviewed,
)
from tallyspan_collector.pricing.second.comparison import Finding, Verdict, compare
from tallyspan_collector.pricing.second.report import Report, make
from tallyspan_collector.pricing.second.source import Place, SecondSource

TODAY = date(2026, 11, 27)
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
MILLION = 10**6
OWN = """\
prices:
  - {provider: openai, model: gpt-9, unit: 1M tokens, input: 2, output: 8, cache_read: 0.5,
     context_tiers: [{above_input_tokens: 200000, input: 4}]}
  - {provider: openai, model: gpt-9, service_tier: batch, unit: 1M tokens, input: 1, output: 4}
"""
GPT_9 = {
    "litellm_provider": "openai",
    "input_cost_per_token": 2e-06,
    "output_cost_per_token": 8e-06,
    "cache_read_input_token_cost": 5e-07,
}


def read(folder: Path, entries: dict[str, Any]) -> SecondSource:
    return litellm_map.read(str(price_map.write(folder, entries)), TODAY)


def book(folder: Path, text: str = OWN) -> PriceBook:
    """Return a book whose own file of every provider is this one."""
    path = folder / "own.yaml"
    path.write_text(text)
    own = shipped.as_own(rates.load(path))
    return PriceBook(own=lambda _: own)


def findings(folder: Path, **keys: Any) -> list[Finding]:
    return compare(book(folder), read(folder, {"gpt-9": GPT_9 | keys}), NOON)


def differing(folder: Path, **keys: Any) -> list[tuple[str, int, str, float]]:
    return [
        (each.meter, each.context, each.place.tier, float(each.percent))
        for each in findings(folder, **keys)
        if each.verdict is Verdict.DIFFER
    ]


def test_equal_prices_agree_to_the_last_digit(tmp_path: Path) -> None:
    rows = [(each.meter, each.verdict.value, each.ours) for each in findings(tmp_path)]

    assert sorted(rows) == [
        ("cache_read", "agree", Fraction(1, 2 * MILLION)),
        ("input", "agree", Fraction(2, MILLION)),
        ("output", "agree", Fraction(8, MILLION)),
    ]


@pytest.mark.parametrize(
    ("keys", "difference"),
    [
        # 2 against 2.5: a fifth below
        ({"input_cost_per_token": 2.5e-06}, [("input", 10_000, "", -20.0)]),
        # 0.5 against 0.25
        ({"cache_read_input_token_cost": 2.5e-07}, [("cache_read", 10_000, "", 100.0)]),
        # of a class that ours has no price of: it costs what the output costs, 8 against 10
        ({"output_cost_per_reasoning_token": 1e-05}, [("reasoning", 10_000, "", -20.0)]),
        # above 200,000 ours is 4, theirs 5; below it both are 2
        (
            {"input_cost_per_token_above_200k_tokens": 5e-06},
            [("input", 210_000, "", -20.0)],
        ),
        # ours goes up at 200,000, theirs at 272,000: seen just below theirs
        (
            {"input_cost_per_token_above_272k_tokens": 4e-06},
            [("input", 271_000, "", 100.0)],
        ),
        # batch: 1 against 1.25
        ({"input_cost_per_token_batches": 1.25e-06}, [("input", 10_000, "batch", -20.0)]),
        # 2.01 rounded to 2 is half a percent off, and no difference
        ({"input_cost_per_token": 2.01e-06}, []),
    ],
)
def test_a_difference_is_of_one_class_tier_and_context(
    tmp_path: Path, keys: dict[str, float], difference: list[tuple[str, int, str, float]]
) -> None:
    assert differing(tmp_path, **keys) == difference


def test_a_tier_that_only_they_price_is_named_and_is_no_difference(tmp_path: Path) -> None:
    (lacking,) = (
        each for each in findings(tmp_path, input_cost_per_token_flex=1e-06)
        if each.verdict is not Verdict.AGREE
    )  # fmt: skip

    assert (lacking.verdict, lacking.place.tier, lacking.reason) == (
        Verdict.UNPRICED, "flex", "unknown_tier",
    )  # fmt: skip


def test_one_of_several_prices_of_a_place_that_agrees_is_enough(tmp_path: Path) -> None:
    entries = {"gpt-9": GPT_9 | {"input_cost_per_token": 9e-06}, "openai/gpt-9": GPT_9}

    assert {each.verdict for each in compare(book(tmp_path), read(tmp_path, entries), NOON)} == {
        Verdict.AGREE
    }


def test_factors_steps_and_hours_of_the_map_are_prices_of_their_own(tmp_path: Path) -> None:
    off_peak = {
        "input_cost_per_token": 1e-07,
        "windows": [{"hours_utc": ["04:00-00:00"], "weekdays": [1, 2, 3, 4, 5, 6, 7]}],
    }
    steps = [
        {"range": [0, 32000], "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        {"range": [32000, 64000], "input_cost_per_token": 3e-06, "output_cost_per_token": 2e-06},
    ]
    source = read(
        tmp_path,
        {
            "claude-9": entry("anthropic", provider_specific_entry={"us": 1.1, "fast": 2}),
            "gpt-9": entry(regional_processing_uplift_multiplier_eu=1.1),
            "deepseek/r9": entry("deepseek", off_peak_pricing=off_peak),
            "dashscope/q9": {"litellm_provider": "dashscope", "tiered_pricing": steps},
            "azure/eu/gpt-9": entry("azure"),
            "bedrock/eu-west-1/maker.m9": entry("bedrock"),
        },
    )
    inputs = {price.place.name: price.prices["input"] for price in source.prices}

    assert inputs == {
        "anthropic/claude-9": ((-1, Fraction(2, 10**7)),),
        "anthropic/claude-9 [geo=us]": ((-1, Fraction(22, 10**8)),),
        "anthropic/claude-9 [service_tier=fast]": ((-1, Fraction(4, 10**7)),),
        "openai/gpt-9": ((-1, Fraction(2, 10**7)),),
        "openai/gpt-9 [region=eu]": ((-1, Fraction(22, 10**8)),),
        "deepseek/r9 [hour_of_week=0]": ((-1, Fraction(2, 10**7)),),
        "deepseek/r9 [hour_of_week=4]": ((-1, Fraction(1, 10**7)),),
        "dashscope/q9": ((-1, Fraction(1, MILLION)), (32000, Fraction(3, MILLION))),
        "azure.ai.openai/gpt-9 [deployment=data-zone,region=eu]": ((-1, Fraction(2, 10**7)),),
        "aws.bedrock/maker.m9 [region=eu-west-1]": ((-1, Fraction(2, 10**7)),),
    }


def test_a_model_that_has_ended_and_one_of_another_provider_are_counted_not_compared(
    tmp_path: Path,
) -> None:
    source = read(
        tmp_path,
        {
            "gpt-8": entry(deprecation_date="2026-11-27", successor_model="openai/gpt-9"),
            "gpt-9": entry(deprecation_date="2027-05-01"),
            "elsewhere/m": entry("elsewhere"),
        },
    )

    assert [price.place.model for price in source.prices] == ["gpt-9"]
    assert (source.retired, source.others) == ({"openai": 1}, {"elsewhere": 1})
    assert [(each.model, str(each.day), each.successor) for each in source.retirements] == [
        ("gpt-8", "2026-11-27", "gpt-9"),
        ("gpt-9", "2027-05-01", ""),
    ]


def test_a_wheel_is_read_and_no_code_of_it_runs(tmp_path: Path) -> None:
    source = litellm_map.read(str(price_map.wheel(tmp_path, {"gpt-9": GPT_9})), TODAY)

    assert (source.name, len(source.prices)) == ("litellm 9.9.9", 1)


def test_the_installed_package_is_read_without_importing_it() -> None:
    if not any(distributions(name="litellm")):
        pytest.skip("litellm is not installed")
    source = litellm_map.read("package", TODAY)

    assert re.fullmatch(r"litellm [\d.]+", source.name)
    assert len(source.prices) > 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "map.json: not a JSON price map: Expecting property name"),
        ("[]", "map.json: must map models to their prices"),
        ('{"m": 3}', "map.json: m: must map keys to values; got 3"),
        ('{"m": {}, "m": {}}', "map.json: not a JSON price map: 'm' stands in it twice"),
        ('{"m": {"price": 1}}', "map.json: no entry has one of input_cost_per_token"),
    ],
)
def test_a_file_that_is_no_map_is_refused_as_a_whole(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "map.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match=re.escape(message)):
        litellm_map.read(str(path), TODAY)


def test_a_zip_that_is_no_wheel_of_it_is_refused(tmp_path: Path) -> None:
    path = price_map.wheel(tmp_path, {}, name="other/data.json")

    with pytest.raises(ConfigError, match="is no wheel of litellm"):
        litellm_map.read(str(path), TODAY)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"input_cost_per_token": -1e-06}, "input_cost_per_token: must be USD for one"),
        ({"input_cost_per_token": 2.0}, "less than 0.01; got 2.0"),  # for a million tokens
        ({"input_cost_per_token": "2e-06"}, "input_cost_per_token: must be USD for one"),
        ({"input_cost_per_token": True}, "input_cost_per_token: must be USD for one"),
        ({"input_cost_per_tokens": 2e-06}, "did you mean 'input_cost_per_token'?"),
        ({"deprecation_date": "soon"}, "deprecation_date: must be a day"),
        ({"provider_specific_entry": {"us": -1}}, "must be a factor"),
        ({"off_peak_pricing": {"windows": "night"}}, "off_peak_pricing: windows"),
    ],
)
def test_an_entry_with_a_fault_is_named_by_file_and_key_and_left_out_whole(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    faulty = entry("anthropic", **keys)
    source = read(tmp_path, {"claude-9": faulty, "gpt-9": GPT_9})

    (fault,) = source.faults
    assert fault.startswith("map.json: claude-9: ")
    assert message in fault
    assert {price.place.model for price in source.prices} == {"gpt-9"}


def test_an_entry_without_a_price_has_none(tmp_path: Path) -> None:
    source = read(tmp_path, {"gpt-9": GPT_9, "gpt-8": {"litellm_provider": "openai"}})

    assert [price.place.model for price in source.prices] == ["gpt-9"]


REVIEW = {
    "provider": "openai", "model": "gpt-9", "meters": "[input]", "percent": "-20",
    "cause": "because", "right": "ours", "source": "https://x", "checked": "2026-11-27",
    "evidence": "M",
}  # fmt: skip


def review_file(folder: Path, **keys: str) -> Path:
    path = folder / "reviewed.yaml"
    fields = ", ".join(f"{name}: {value}" for name, value in (REVIEW | keys).items() if value)
    path.write_text(f"reviewed:\n  - {{{fields}}}\n")
    return path


def report(folder: Path, reviews: Path, **keys: Any) -> Report:
    source = read(folder, {"gpt-9": GPT_9 | keys})
    lines = reviewed.load(TODAY, reviews)
    return make(book(folder), source, lines, NOON)


@pytest.mark.parametrize(
    ("line", "usd", "state"),
    [
        ({}, 2.5e-06, "explained"),
        ({"model": "'gpt-*'"}, 2.5e-06, "explained"),
        ({"percent": "[-25, -10]"}, 2.5e-06, "explained"),
        ({}, 4e-06, "unexplained"),  # -50 %: not the difference that was looked into
        ({"meters": "[output]"}, 2.5e-06, "unexplained"),
        ({"service_tier": "batch"}, 2.5e-06, "unexplained"),
        ({"provider": "anthropic"}, 2.5e-06, "unexplained"),
    ],
)
def test_a_line_explains_the_difference_that_it_names_and_no_other(
    tmp_path: Path, line: dict[str, str], usd: float, state: str
) -> None:
    result = report(tmp_path, review_file(tmp_path, **line), input_cost_per_token=usd)

    assert [each.state.value for each in result.differences] == [state]
    assert result.totals()[-1]["models"] == 1
    assert result.totals()[-1][state] == 1
    assert len(result.unused) == (state == "unexplained")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"cause": ""}, "'cause' is missing"),
        ({"cause": "' '"}, "cause: must be a text"),
        ({"right": "nobody"}, "right: must be one of ours, theirs, moot"),
        ({"evidence": "X"}, "evidence: must be one of H, M, L"),
        ({"meters": "[inputs]"}, "meters: 'inputs' is no meter"),
        ({"percent": "ten"}, "percent: must be a number"),
        ({"percent": "[5, 1]"}, "percent: the first must be the lower one"),
        ({"checked": "2027-01-01"}, "checked: 2027-01-01 is in the future"),
        ({"model": "'*-9'"}, "model: may end with *"),
        ({"reason": "x"}, "unknown key 'reason'"),
    ],
)
def test_a_reviewed_file_with_a_fault_is_refused_by_line_and_key(
    tmp_path: Path, line: dict[str, str], message: str
) -> None:
    path = review_file(tmp_path, **line)

    with pytest.raises(ConfigError, match=rf"reviewed.yaml:2: .*{re.escape(message)}"):
        reviewed.load(TODAY, path)


def test_the_command_fails_by_a_difference_that_nobody_explains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # the list price of gpt-4.1 is 2 and 8
    path = price_map.write(tmp_path, {"gpt-4.1": entry(usd="0.000001")})
    code = main(["prices", "check", "--against", str(path), "--at", "2026-11-27",
                 "--data-dir", str(tmp_path), "--format", "json"])  # fmt: skip
    content = json.loads(capsys.readouterr().out)

    assert code == 1
    assert [(row["meter"], row["ours"], row["theirs"], row["percent"], row["state"])
            for row in content["differences"]] == [
        ("input", "2", "1", "+100.0", "unexplained"),
        ("output", "8", "4", "+100.0", "unexplained"),
    ]  # fmt: skip
    assert "gpt-4o" in content["only_here"]["openai"]


def test_the_command_is_content_with_equal_prices_and_not_with_a_faulty_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    equal = {"gpt-4.1": entry(usd="0.000002")}
    arguments = ["--at", "2026-11-27", "--data-dir", str(tmp_path)]
    path = price_map.write(tmp_path, equal)
    assert main(["prices", "check", "--against", str(path), *arguments]) == 0
    assert "1 models, 1 equal, 0 differ and are explained" in capsys.readouterr().out

    path = price_map.write(tmp_path, equal | {"gpt-4o": entry(usd="-1")})
    written = [*arguments, "--write", str(tmp_path)]
    assert main(["prices", "check", "--against", str(path), *written]) == 2
    output = capsys.readouterr()
    assert "map.json: gpt-4o: input_cost_per_token: must be USD for one" in output.out
    assert "nothing was written" in output.err
    assert not (tmp_path / extract.FILE.name).exists()


@pytest.fixture(scope="module")
def release() -> Report:
    source, day = extract.read(TODAY)
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return second_opinion.compare(installed(), source, at)


def test_no_price_that_we_ship_differs_without_an_explanation(release: Report) -> None:
    """`tallyspan prices draft` says what to do about it."""
    assert [each.row() for each in release.unexplained] == []
    assert [each.line for each in release.unused] == []


def test_few_live_models_of_the_second_source_have_no_price(release: Report) -> None:
    first = {
        "openai", "anthropic", "gcp.gemini", "gcp.vertex_ai", "azure.ai.openai", "aws.bedrock",
        "mistral_ai", "cohere", "groq", "deepseek", "x_ai", "together_ai",
    }  # fmt: skip
    percent = {row["provider"]: float(row["unpriced %"]) for row in release.totals()}

    assert first <= percent.keys()
    assert [name for name, share in percent.items() if share >= (10 if name in first else 30)] == []


def test_what_was_written_of_the_comparison_is_what_it_says(release: Report) -> None:
    day = extract.read(TODAY)[1]

    assert (shipped.UPKEEP / "disputed.yaml").read_text() == disputes.text(release, day)
    assert differences.FILE.read_text() == differences.text(release)


def test_the_extract_is_read_as_it_was_written(tmp_path: Path) -> None:
    source = read(tmp_path, {"gpt-9": GPT_9 | {"deprecation_date": "2027-05-01"}})
    path = tmp_path / "extract.json"
    path.write_text(extract.text(source, TODAY))
    again, day = extract.read(TODAY, path)

    assert day == TODAY
    assert [(each.place, each.prices) for each in again.prices] == [
        (each.place, each.prices) for each in source.prices
    ]
    assert again.retirements == source.retirements
    path.write_text("{}")
    with pytest.raises(ConfigError, match="is no extract of a price map"):
        extract.read(TODAY, path)


def test_a_file_of_ours_prices_its_own_provider_and_no_other(tmp_path: Path) -> None:
    line = "  - {provider: %s, model: m, unit: 1M tokens, input: 1}\n"
    (tmp_path / "one.yaml").write_text("prices:\n" + line % "one")
    (tmp_path / "two.yaml").write_text("prices:\n" + line % "one" + line % "two")

    assert shipped.faults() == []
    assert shipped.faults(tmp_path) == [
        f"{tmp_path / 'two.yaml'}:2: provider: 'm' is of 'one' and stands in one.yaml too"
    ]


def test_the_name_of_a_place_has_all_that_the_price_depends_on() -> None:
    place = Place("openai", "gpt-9", "batch", (("region", "eu"),), 4)

    assert place.name == "openai/gpt-9 [region=eu,service_tier=batch,hour_of_week=4]"
