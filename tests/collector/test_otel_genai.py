from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlp_spans import CHAT, request, span
from tallyspan.usage import Usage
from tallyspan_collector.dialects import Kind, Reader
from tallyspan_collector.read.call import Call
from tallyspan_collector.read.otlp import decode


def call_of(attributes: dict[str, Any], resource: dict[str, Any] | None = None) -> Call | None:
    (decoded,) = decode(request(span(7, attributes), resource=resource))
    reading = Reader().read(decoded)
    return reading.call if reading.kind is Kind.CALL else None


def usage_of(**attributes: Any) -> Usage:
    named = {f"gen_ai.usage.{name}": value for name, value in attributes.items()}
    plain = {key: value for key, value in CHAT.items() if "usage" not in key}
    call = call_of({**plain, **named})
    assert call is not None
    return call.usage


def test_todays_names_give_the_call() -> None:
    call = call_of(CHAT)

    assert call is not None
    assert (call.provider_name, call.model_name, call.user_id) == ("openai", "gpt-5-mini", "ada")
    assert (call.usage.input_tokens, call.usage.output_tokens) == (1000, 100)
    assert (call.service_name, call.usage_source) == ("shop", "provider")


def test_the_names_of_2024_give_the_same_call() -> None:
    old = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "OpenAI",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.prompt_tokens": 1000,
        "gen_ai.usage.completion_tokens": 100,
        "enduser.id": "ada",
    }

    assert call_of(old) == call_of(CHAT)


@pytest.mark.parametrize("operation", ["invoke_agent", "execute_tool", "create_agent", "plan"])
def test_wrappers_and_tools_are_no_calls(operation: str) -> None:
    assert call_of({**CHAT, "gen_ai.operation.name": operation}) is None


def test_more_cache_than_input_means_the_input_is_without_it() -> None:
    said = {"cache_read.input_tokens": 2000, "cache_creation.input_tokens": 300}

    assert usage_of(input_tokens=100, **said).input_tokens == 2400
    assert usage_of(input_tokens=2400, **said).input_tokens == 2400


def test_numbers_in_strings_are_taken_and_senseless_ones_are_not() -> None:
    assert usage_of(input_tokens="12", output_tokens=-3) == Usage(input_tokens=12)
    assert usage_of(input_tokens=1.5, output_tokens=True) == Usage()


def test_the_department_of_the_span_comes_before_the_services() -> None:
    resource = {"service.name": "shop", "tallyspan.department": "sales"}
    of_service = call_of(CHAT, resource)
    of_span = call_of({**CHAT, "tallyspan.department": "research"}, resource)

    assert of_service is not None
    assert of_span is not None
    assert (of_service.department, of_span.department) == ("sales", "research")


def test_prompts_are_dropped_at_the_door() -> None:
    (decoded,) = decode(request(span(7, {**CHAT, "gen_ai.input.messages": "secret"})))

    assert "secret" not in repr(decoded)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *CHAT,
                "gen_ai.usage.cache_read.input_tokens",
                "error.type",
                "tallyspan.cost.reported_usd",
            ]
        ),
        st.one_of(
            st.text(),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(),
            st.booleans(),
            st.lists(st.text()),
        ),
    )
)
def test_no_attribute_value_raises(attributes: dict[str, Any]) -> None:
    call_of({**CHAT, **attributes})


@pytest.mark.parametrize(
    ("operation", "meters", "source"),
    [
        ("generate_content", {"images": 2}, "provider"),
        ("generate_content", {"characters": 7}, "provider"),
        ("generate_content", {"pages": 3}, "provider"),
        ("rerank", {"search_units": 1}, "provider"),
        ("web_search", {"web_search": 1}, "provider"),
        ("chat", {"web_search": 1}, "unknown"),  # on top of tokens that nobody stated
        ("generate_content", {"videos": 1}, "unknown"),  # of no known length
        ("generate_content", {}, "unknown"),
    ],
)
@pytest.mark.parametrize("stated", ["unknown", ""])
def test_usage_is_known_where_units_are_all_that_is_billed(
    operation: str, meters: dict[str, int], source: str, stated: str
) -> None:
    attributes = {"gen_ai.operation.name": operation, "gen_ai.provider.name": "openai",
                  "gen_ai.request.model": "m", "tallyspan.usage.source": stated,
                  **{f"tallyspan.meter.{name}": used for name, used in meters.items()}}  # fmt: skip
    call = call_of(attributes)

    assert call is not None
    assert call.usage_source == source
