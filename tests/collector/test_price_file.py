"""What `models_pricing.yaml` can say, and what it refuses."""

import json
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from priced import ns, price
from tallyspan.usage import Usage
from tallyspan_collector import cli
from tallyspan_collector.dialects.region import region_of
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.check import findings
from tallyspan_collector.pricing.cost import Priced, UnpricedReason
from tallyspan_collector.pricing.schema import schema
from tallyspan_collector.read.call import Call

DOCS = Path(__file__).parents[2] / "docs"

FILE = """\
prices:
  - model: tiered
    unit: 1M tokens
    input: 1
    output: 10
    cache_read: 0.1
    context_tiers:
      - {above_input_tokens: 1000, input: 2, output: 20}
      - {above_input_tokens: 5000, input: 4}
  - model: progressive
    unit: 1M tokens
    input: 1
    output: 10
    cache_read: 0.5
    context_tiers_apply_to: tokens above
    context_tiers:
      - {above_input_tokens: 1000, input: 2, output: 20, cache_read: 1}
  - model: all-classes
    unit: 1M tokens
    input: 1
    output: 10
    cache_read: 0.1
    cache_write: 1.25
    cache_write_1h: 2
    reasoning: 30
    input_audio: 40
    cache_read_audio: 4
    output_audio: 80
    input_image: 5
    output_image: 60
  - model: by-the-piece
    per_request: 0.001
    per_image: 0.04
    per_second: 0.0001
    per_character: 0.000015
    tools: {web_search: 0.01, code_interpreter: 0.03}
  - model: served
    unit: 1M tokens
    input: 2
  - model: served
    service_tier: flex
    unit: 1M tokens
    input: 1
  - model: served
    service_tier: standard
    unit: 1M tokens
    input: 3
  - model: night
    unit: 1M tokens
    input: 4
  - model: night
    hours: 16:30-00:30
    unit: 1M tokens
    input: 1
  - model: euro
    currency: EUR
    unit: 1M tokens
    input: 1
  - model: abroad
    unit: 1M tokens
    input: 1
  - model: abroad
    region: eu-*
    unit: 1M tokens
    input: 2
discounts:
  - {provider: openai, percent: 10}
  - {endpoint: my-gateway, percent: 25, from: 2026-03-15}
uplifts:
  - {region: eu, percent: 10}
aliases:
  - {model: our-best, as: gpt-5, as_provider: openai}
currencies:
  EUR:
    - {from: 2026-01-01, usd: 1.10}
    - {from: 2026-07-01, usd: 1.20}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models_pricing.yaml"
    path.write_text(FILE)
    return path


def usd(file: Path, model: str, usage: Usage | None = None, **given: object) -> Decimal:
    found = price(
        PriceBook.load(file),
        model,
        Usage(1_000_000, 0) if usage is None else usage,
        **{"provider": "mine", **given},
    )
    assert isinstance(found, Priced), found
    return Decimal(found.cost_picousd).scaleb(-12)


@pytest.mark.parametrize(
    ("tokens", "micro_usd"),
    [
        (1000, 1000 * 1 + 10 * 10),
        (1001, 1001 * 2 + 10 * 20),
        (5000, 5000 * 2 + 10 * 20),
        (5001, 5001 * 4 + 10 * 20),
    ],
)
def test_a_context_tier_is_for_the_whole_request(file: Path, tokens: int, micro_usd: int) -> None:
    assert usd(file, "tiered", Usage(tokens, 10)) == Decimal(micro_usd).scaleb(-6)


@pytest.mark.parametrize(
    ("usage", "micro_usd"),
    [
        (Usage(1000, 0), "1000"),
        (Usage(1001, 0), "1002"),
        (Usage(900, 200), 900 + 100 * 10 + 100 * 20),
        (Usage(1500, 1, cache_read_tokens=1200), 1000 * Decimal("0.5") + 200 * 1 + 300 * 2 + 20),
    ],
)
def test_or_for_the_tokens_above_it_only(file: Path, usage: Usage, micro_usd: object) -> None:
    assert usd(file, "progressive", usage) == Decimal(str(micro_usd)).scaleb(-6)


@cache
def _book() -> PriceBook:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "models_pricing.yaml"
        path.write_text(FILE)
        return PriceBook.load(path)


@given(st.data())
def test_the_classes_of_a_call_cost_what_their_leaves_cost(data: st.DataObject) -> None:
    def leaf(top: int = 100_000) -> int:
        return data.draw(st.integers(0, top))

    text, read, write, hour, audio, heard, image = (leaf() for _ in range(7))
    said, thought, spoken, drawn = (leaf() for _ in range(4))
    usage = Usage(
        text + read + write + hour + audio + heard + image,
        said + thought + spoken + drawn,
        cache_read_tokens=read + heard,
        cache_write_tokens=write + hour,
        cache_write_1h_tokens=hour,
        cache_read_audio_tokens=heard,
        reasoning_tokens=thought,
        input_audio_tokens=audio + heard,
        output_audio_tokens=spoken,
        input_image_tokens=image,
        output_image_tokens=drawn,
    )
    expected = (
        text * 1_000_000
        + read * 100_000
        + write * 1_250_000
        + hour * 2_000_000
        + audio * 40_000_000
        + heard * 4_000_000
        + image * 5_000_000
        + said * 10_000_000
        + thought * 30_000_000
        + spoken * 80_000_000
        + drawn * 60_000_000
    )
    found = price(_book(), "all-classes", usage, provider="mine")

    assert isinstance(found, Priced)
    assert found.cost_picousd == expected


def test_requests_images_seconds_characters_and_tools_are_priced_one_by_one(file: Path) -> None:
    meters = {"images": 2, "seconds": 1.5, "characters": 40, "web_search": 3, "unknown": 7}

    assert usd(file, "by-the-piece", Usage(), meters=meters) == Decimal("0.001") + Decimal(
        "0.08"
    ) + Decimal("0.00015") + Decimal("0.0006") + Decimal("0.03")


@pytest.mark.parametrize(("tier", "cost"), [("flex", 1), ("", 3), ("default", 3), ("scale", 2)])
def test_the_served_tier_decides(file: Path, tier: str, cost: int) -> None:
    assert usd(file, "served", service_tier=tier) == cost


@pytest.mark.parametrize(
    ("at", "cost"), [("16:29:59", 4), ("16:30:00", 1), ("00:29:59", 1), ("00:30:00", 4)]
)
def test_off_peak_hours_go_over_midnight(file: Path, at: str, cost: int) -> None:
    assert usd(file, "night", at_ns=ns(f"2026-06-01T{at}")) == cost


def test_a_currency_is_changed_at_the_rate_of_the_day(file: Path) -> None:
    assert usd(file, "euro", at_ns=ns("2026-06-30T23:59:59")) == Decimal("1.10")
    assert usd(file, "euro", at_ns=ns("2026-07-01")) == Decimal("1.20")


def test_before_the_first_rate_of_a_currency_there_is_no_price(file: Path) -> None:
    found = price(PriceBook.load(file), "euro", provider="mine", at_ns=ns("2025-12-31"))

    assert found == (UnpricedReason.NO_EXCHANGE_RATE,)


def test_the_region_of_the_host_decides(file: Path) -> None:
    def call(region: str) -> Call:
        host = f"bedrock-runtime.{region}.amazonaws.com"
        return Call("", "", "", ns("2026-06-01"), 0, "aws.bedrock", "chat", "abroad",
                    conditions={"region": region_of(host)}, usage=Usage(1_000_000, 0))  # fmt: skip

    found = PriceBook.load(file).price_calls([call("us-east-1"), call("eu-west-1")])

    assert [each.cost_picousd for each in found if isinstance(each, Priced)] == [10**12, 2 * 10**12]


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({}, "0.9"),
        ({"endpoint_id": "my-gateway"}, "0.75"),
        ({"endpoint_id": "my-gateway", "at_ns": ns("2026-03-14")}, "0.9"),
        ({"conditions": {"region": "eu"}}, "0.99"),
    ],
)
def test_a_discount_is_taken_off_list_prices_and_an_uplift_put_on(
    file: Path, given: dict[str, object], share: str
) -> None:
    found = usd(file, "gpt-5", Usage(10**6, 10**6), provider="openai", **given)

    assert found == Decimal("11.25") * Decimal(share)


def test_an_alias_is_priced_as_what_it_stands_for(file: Path) -> None:
    assert usd(file, "our-best", Usage(10**6, 10**6)) == Decimal("11.25")


def test_a_snapshot_goes_by_its_undated_name(file: Path) -> None:
    assert usd(file, "tiered-2026-02-03", Usage(10, 0)) == Decimal("0.00001")


def test_the_id_of_a_price_changes_with_the_price_and_not_with_its_line(file: Path) -> None:
    def price_id() -> str:
        found = price(PriceBook.load(file), "tiered", provider="mine")
        assert isinstance(found, Priced)
        return found.price_id

    before = price_id()
    file.write_text("# a comment\n" + FILE)
    moved = price_id()
    file.write_text(FILE.replace("input: 1\n", "input: 1.5\n", 1))

    assert before == moved != price_id()


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("input: 1\n", "\tinput: 1\n", 4, "tab|not YAML"),
        ("unit: 1M tokens\n", "unit: 1M tokens\n    unit: 1M tokens\n", 4, "second time"),
        ("prices:\n", "prices: &a\n", 1, "anchors"),
        ("input: 1\n", "input: 1e-7\n", 4, "0.0000001"),
        ("input: 1\n", "input: 1.0e-7\n", 4, "prices.0.input: 1.0e-7 is not a plain decimal"),
        ("input: 1\n", "input: 1.0e-999999999\n", 4, "not a plain decimal"),
        ("input: 1\n", "input: 1_000\n", 4, "not a plain decimal"),
        ("input: 1\n", "input: .inf\n", 4, "not a plain decimal"),
        ("prices:\n", "prices: " + "[" * 1200 + "]" * 1200 + "\nx:\n", 1, "nested too deeply"),
        ("percent: 10}", "percent: 10, from: 2026-02-30}", 67, "must be a date"),
        ("percent: 10}", "percent: 10, from: 2026-02-02, to: 2026-02-01}", 67, "later than 'from'"),
        ("input: 1\n", "input: -1\n", 4, "0 or more"),
        ("    unit: 1M tokens\n", "", 2, "'unit' is missing"),
        ("hours: 16:30-00:30", "hours: 16:30-24:30", 52, "hours of the day"),
        ("percent: 10}", "percent: 10, from: 2026-01-01T00:00:00}", 67, "with its zone"),
        ("percent: 10}", "percent: 101}", 67, "0 to 100"),
        ("currency: EUR", "currency: CHF", 56, "no rates"),
        ("{above_input_tokens: 5000, input: 4}", "{above_input_tokens: 500, input: 4}", 9, "go up"),
        ("{above_input_tokens: 5000, input: 4}", "{above_input_tokens: 5000, reasoning: 4}", 9, "in the entry itself"),
        ("- {from: 2026-07-01", "- {from: 2025-07-01", 76, "later than the rate before"),
        ("as: gpt-5, ", "", 72, "'as' is missing"),
        ("tools: {web_search: 0.01", "tools: {web_search: free", 36, "number of USD"),
        ("tokens above", "all tokens", 15, "whole request"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_line(
    file: Path, old: str, new: str, line: int, reason: str
) -> None:
    assert old in FILE
    file.write_text(FILE.replace(old, new, 1))

    with pytest.raises(ConfigError, match=reason) as refused:
        PriceBook.load(file)
    assert str(refused.value).startswith(f"{file}:{line}: ")


def test_check_finds_overlaps_gaps_and_days_without_an_exchange_rate(file: Path) -> None:
    file.write_text("""\
prices:
  - {model: a, unit: 1M tokens, input: 1, to: 2026-03-01}
  - {model: a, unit: 1M tokens, input: 2, from: 2026-02-01}
  - {model: b, unit: 1M tokens, input: 1, to: 2026-03-01}
  - {model: b, unit: 1M tokens, input: 2, from: 2026-03-05}
  - {model: c, unit: 1M tokens, input: 2, currency: EUR}
currencies:
  EUR: [{usd: 1.1, from: 2026-01-01}]
""")
    lines = [finding.split(":")[1] for finding in findings(PriceBook.load(file).file)]

    assert lines == ["3", "5", "6"]
    assert cli.main(["prices", "check", str(file)]) == 1


def test_show_and_list_and_check_speak_of_the_file(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--provider", "mine", "--at", "2026-06-01"]
    assert cli.main(["prices", "show", "night", "--prices", str(file), *at]) == 0
    assert "input           1/M" in capsys.readouterr().out
    assert cli.main(["prices", "list", "--prices", str(file)]) == 0
    assert "12 prices, 2 discounts, 1 uplifts, 1 aliases" in capsys.readouterr().out
    assert cli.main(["prices", "check", str(file)]) == 1
    assert "no rate of EUR before 2026-01-01" in capsys.readouterr().out
    assert cli.main(["prices", "show", "no-such-model"]) == 1


def test_the_schema_for_editors_is_the_parser_s() -> None:
    assert json.loads((DOCS / "models_pricing.schema.json").read_text()) == schema()
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(_as_json(FILE), schema())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("input: 1\n", "inptu: 1\n"),
        ("input: 1\n", "input: -1\n"),
        ("    unit: 1M tokens\n", ""),
        ("percent: 10}", "percent: 101}"),
        ("hours: 16:30-00:30", "hours: at night"),
        ("tokens above", "all tokens"),
    ],
)
def test_what_the_parser_refuses_the_schema_refuses(file: Path, old: str, new: str) -> None:
    text = FILE.replace(old, new, 1)
    file.write_text(text)

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(_as_json(text), schema())
    with pytest.raises(ConfigError):
        PriceBook.load(file)


def _as_json(text: str) -> object:
    loaded = yaml.safe_load(text)  # dates become objects: give them back as the text they were
    return json.loads(json.dumps(loaded, default=lambda day: day.isoformat()))
