"""`tallyspan librechat token-config`: our prices in the words of LibreChat's custom endpoints."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tallyspan_collector.cli import main
from tallyspan_collector.librechat.check.settings import Config
from tallyspan_collector.librechat.token_config import Models, token_configs
from tallyspan_collector.pricing.book import PriceBook

AT_NS = 1_790_000_000_000_000_000
PRICES = """
prices:
  - {model: local-llama, endpoint: local, unit: 1M tokens, input: 0.1, output: 0.4}
"""


_KEYS = ("prompt", "completion", "context", "cacheRead", "cacheWrite")
ENTRY = {
    "type": "object",
    "properties": {key: {"type": "number"} for key in _KEYS},
    "required": ["prompt", "completion", "context"],
    "additionalProperties": False,
}
"""As LibreChat checks it (packages/data-provider/src/config.ts, tokenConfig)."""
ENDPOINT = {
    "type": "object",
    "properties": {"tokenConfig": {"type": "object", "additionalProperties": ENTRY}},
}


def configs(*endpoints: dict[str, Any], more: tuple[str, ...] = ()) -> tuple[list[Any], list[str]]:
    """What LibreChat reads of it: the custom endpoints; and the models that are left out."""
    config = Config(values={"endpoints": {"custom": list(endpoints)}})
    result = token_configs(config, PriceBook(), AT_NS, Models(more))
    listed = yaml.safe_load(result.text)["endpoints"]["custom"]
    for each in listed:
        jsonschema.validate(each, ENDPOINT)
    return listed, list(result.missing)


def test_every_model_of_an_endpoint_gets_the_price_its_calls_are_booked_with() -> None:
    [openrouter, gateway], missing = configs(
        {
            "name": "OpenRouter",
            "models": {"default": ["anthropic/claude-sonnet-4.5"]},
            "titleModel": "openai/gpt-5-mini",
            "summaryModel": "current_model",
        },
        {"name": "gateway", "models": {"default": [{"name": "gpt-5-mini"}, "homemade"]}},
    )

    assert openrouter["tokenConfig"]["anthropic/claude-sonnet-4.5"] == {
        "prompt": 3, "completion": 15, "cacheRead": 0.3, "cacheWrite": 3.75, "context": 1_000_000,
    }  # fmt: skip
    assert openrouter["tokenConfig"]["openai/gpt-5-mini"]["completion"] == 2
    assert gateway["tokenConfig"] == {
        "gpt-5-mini": {"prompt": 0.25, "completion": 2, "cacheRead": 0.025, "context": 400_000}
    }
    assert missing == ["gateway: homemade: unknown_model"]


def test_a_model_without_a_price_is_named_where_it_would_stand() -> None:
    config = Config(values={"endpoints": {"custom": [{"name": "a", "models": {"default": ["b"]}}]}})
    text = token_configs(config, PriceBook(), AT_NS).text

    assert "      # tokenConfig:\n        # b: unknown_model: 6 USD to LibreChat\n" in text
    assert yaml.safe_load(text) == {"endpoints": {"custom": [{"name": "a"}]}}


def test_a_long_context_and_other_tiers_are_told_in_comments() -> None:
    endpoint = {"name": "openrouter", "models": {"default": ["anthropic/claude-sonnet-4.5"]}}
    text = token_configs(
        Config(values={"endpoints": {"custom": [endpoint]}}), PriceBook(), AT_NS
    ).text

    assert "# above 200,000 input tokens: prompt 6, completion 22.5, cacheRead 0.6" in text
    assert "tiers such as flex, priority or batch cost otherwise" in text


def test_the_context_that_the_file_has_stays() -> None:
    own = {"gpt-5-mini": {"prompt": 9, "completion": 9, "context": 32_000}}
    [endpoint], _ = configs({"name": "a", "tokenConfig": own})

    assert endpoint["tokenConfig"]["gpt-5-mini"]["context"] == 32_000
    assert endpoint["tokenConfig"]["gpt-5-mini"]["prompt"] == 0.25


@settings(max_examples=20)
@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip))
def test_any_name_is_read_as_it_is(name: str) -> None:
    [endpoint], missing = configs({"name": name}, more=(name,))

    assert endpoint["name"] == name
    assert bool(missing) != bool(endpoint.get("tokenConfig"))


def test_the_command_takes_prices_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prices.yaml").write_text(PRICES)
    (tmp_path / "librechat.yaml").write_text(
        "endpoints: {custom: [{name: local, models: {default: [local-llama, other], fetch: true}}]}"
    )
    arguments = [
        "librechat",
        "token-config",
        f"{tmp_path}/librechat.yaml",
        "--data-dir",
        str(tmp_path),
    ]

    assert main([*arguments, "--prices", f"{tmp_path}/prices.yaml"]) == 0
    out, err = capsys.readouterr()
    assert err == (
        "left out: local: local-llama: its context is not known: --context MODEL=TOKENS\n"
        "left out: local: other: unknown_model\n"
    )
    assert "        # local-llama:\n        #   prompt: 0.1\n" in out
    assert "# fetches its models: name others with --model" in out
    arguments += ["--prices", f"{tmp_path}/prices.yaml", "--context", "local-llama=32768"]
    assert main(arguments) == 0
    [endpoint] = yaml.safe_load(capsys.readouterr().out)["endpoints"]["custom"]
    assert endpoint["tokenConfig"] == {
        "local-llama": {"prompt": 0.1, "completion": 0.4, "context": 32_768}
    }


@pytest.mark.parametrize("context", ["local-llama", "=5", "a=", "a=-5", "a=0", "a=1.5"])
def test_a_context_that_is_none_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], context: str
) -> None:
    (tmp_path / "librechat.yaml").write_text("endpoints: {custom: [{name: a}]}")
    arguments = [f"{tmp_path}/librechat.yaml", "--data-dir", str(tmp_path), "--context", context]

    assert main(["librechat", "token-config", *arguments]) == 2
    assert "must be MODEL=TOKENS" in capsys.readouterr().err


def test_a_file_without_custom_endpoints_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "librechat.yaml").write_text("version: 1.3.1\n")

    arguments = [
        "librechat",
        "token-config",
        f"{tmp_path}/librechat.yaml",
        "--data-dir",
        str(tmp_path),
    ]
    assert main(arguments) == 2
    assert "has no custom endpoint" in capsys.readouterr().err
