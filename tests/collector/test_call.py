"""A call is made once, of all its fields, and nobody changes it."""

import pytest

from tallyspan_collector.access.keys import Key
from tallyspan_collector.dialects.table import Dialect
from tallyspan_collector.read.call import FIELDS, Call, Draft, call_of
from tallyspan_collector.read.received import Receipt, as_received

IDS = ("1" * 32, "2" * 16, "")
NOW_NS = 1_790_000_000_000_000_000


def draft(**fields: object) -> Draft:
    return Call(*IDS, NOW_NS, NOW_NS, "openai", "chat", "gpt-5-mini")._asdict() | fields


@pytest.mark.parametrize("name", FIELDS)
def test_no_field_of_a_call_can_be_changed(name: str) -> None:
    call = call_of(draft())

    with pytest.raises(AttributeError):
        setattr(call, name, getattr(call, name))


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_without_a_value_is_named(name: str) -> None:
    incomplete = draft()
    del incomplete[name]

    with pytest.raises(KeyError, match=name):
        call_of(incomplete)


def test_a_value_of_no_field_is_named() -> None:
    with pytest.raises(TypeError, match="provder_name"):
        call_of(draft(provder_name="openai"))


def test_a_dialect_of_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dialect new: unknown fields.*'modle'"):
        Dialect(name="new", texts={"modle": ("model",)})


def test_source_tenant_and_department_are_those_of_the_key_whatever_the_span_says() -> None:
    key = Key("k", "ingest", "prod", "", department="Support", tenant="acme")
    sent = draft(source="other", tenant="other")

    call = as_received(sent, Receipt(NOW_NS // 10**6, key))

    assert (call.source, call.tenant, call.key_department) == ("prod", "acme", "Support")


def test_a_key_without_a_name_is_the_source_by_its_id() -> None:
    """Without a source it would count as no key, and the tenant as one that a span names."""
    call = as_received(draft(), Receipt(NOW_NS // 10**6, Key("4f2a", "ingest", "", "")))

    assert call.source == "4f2a"


@pytest.mark.parametrize(
    ("same_call_id", "trace_id"),
    [(f"{'a' * 32}-{'b' * 16}", "a" * 32), ("no id", IDS[0]), ("", IDS[0])],
)
def test_a_report_that_names_its_call_is_in_the_trace_of_that_call(
    same_call_id: str, trace_id: str
) -> None:
    assert as_received(draft(same_call_id=same_call_id)).trace_id == trace_id
