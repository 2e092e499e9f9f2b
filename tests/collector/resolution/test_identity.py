"""What a report is known by: its ids, the tenant and the key it came with, and no one else's."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallyspan_collector.read.call import BLANK, Call, call_of
from tallyspan_collector.resolution.identity import (
    FIRST_PRIME,
    NOBODY,
    Identities,
    Owner,
    number_of,
    owner_of,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OWNERS = [NOBODY, Owner("", "shop"), Owner("", "gateway"), Owner("acme", "shop"),
          Owner("a", "cme shop"), Owner("globex", "shop")]  # fmt: skip


def call(**fields: object) -> Call:
    return call_of(BLANK | fields)


def in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def test_a_span_of_each_owner_has_a_number_of_its_own() -> None:
    identities = Identities()

    assert len({identities.span(owner, TRACE, SPAN) for owner in OWNERS}) == len(OWNERS)


def test_a_trace_and_a_place_are_those_of_a_tenant_whatever_the_key() -> None:
    identities = Identities()

    assert len({identities.trace(tenant, TRACE) for tenant in ("", "acme", "globex")}) == 3
    assert len({number_of("chatcmpl-1", of) for of in ("", "acme", "globex")}) == 3


def test_only_the_tenant_of_a_key_counts() -> None:
    assert owner_of(call(tenant="acme", source="shop")) == ("acme", "shop")
    assert owner_of(call(tenant="acme")) == NOBODY


def test_ids_that_a_careless_tracer_counts_up_are_kept_apart() -> None:
    identities = Identities()
    numbers = {
        identities.span(NOBODY, f"{trace:032x}", f"{span:016x}")
        for trace in range(200)
        for span in range(200)
    }

    assert len(numbers) == 200 * 200


@given(st.integers(0, (1 << 128) - 1), st.integers(0, (1 << 64) - 1), st.sampled_from(OWNERS))
def test_a_number_is_an_integer_of_sqlite(trace: int, span: int, owner: Owner) -> None:
    number = Identities().span(owner, f"{trace:032x}", f"{span:016x}")

    assert in_memory().execute("SELECT ?", (number,)).fetchone() == (number,)


def test_ids_of_one_number_in_one_file_are_of_two_in_another() -> None:
    """Ids can only be made to share a number by who knows the prime, and each file has its own."""
    one, other = Identities.of(in_memory()), Identities.of(in_memory())
    forged = f"{int(TRACE, 16) % one.prime:032x}"

    assert one.trace("", forged) == one.trace("", TRACE)
    assert other.trace("", forged) != other.trace("", TRACE)
    assert all(1 << 62 < each.prime < 1 << 63 for each in (one, other))


def test_a_file_keeps_its_prime() -> None:
    file = in_memory()

    assert Identities.of(file).prime == Identities.of(file).prime == Identities.read(file).prime


@pytest.mark.parametrize("table", ["seen_turn", "trace_turn"])
def test_a_file_of_an_earlier_version_keeps_its_numbers(table: str) -> None:
    file = in_memory()
    file.execute(f"CREATE TABLE {table} (one INTEGER PRIMARY KEY)")
    before = Identities.read(file)
    identities = Identities.of(file)

    assert before.prime == identities.prime == FIRST_PRIME
    assert before.may_be_older
    assert identities.may_be_older
    assert not Identities.of(in_memory()).may_be_older
    assert identities.span(NOBODY, TRACE, SPAN) == int(TRACE + SPAN, 16) % FIRST_PRIME
