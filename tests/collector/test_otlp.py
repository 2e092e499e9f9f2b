"""An attribute says the same whichever way it is read."""

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from otlp_spans import CHAT, request, span
from tallyspan_collector.read import otlp, wire

KEYS = st.sampled_from(["gen_ai.usage.input_tokens", "user.id", "input.value", "", "ü"]) | st.text(
    max_size=140
)


@given(
    KEYS,
    st.text(max_size=140)
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.none(),
)
def test_the_short_way_reads_what_the_parser_reads(key: str, value: object) -> None:
    pair = KeyValue(key=key)
    match value:
        case bool():
            pair.value.bool_value = value
        case int():
            pair.value.int_value = value
        case float():
            pair.value.double_value = value
        case str():
            pair.value.string_value = value
        case _:
            pair.value.SetInParent()
    raw = pair.SerializeToString()

    assert otlp._sliced(raw) in (None, otlp._parsed(raw))


@given(st.binary(max_size=160) | st.binary(max_size=30).map(lambda tail: b"\x0a\x01k\x12" + tail))
def test_no_bytes_are_read_otherwise_than_by_the_parser(raw: bytes) -> None:
    short = otlp._sliced(raw)

    assert short in (None, otlp._parsed(raw))


def test_ids_do_not_fill_the_memory() -> None:
    memo = otlp._Memo()
    for number in range(3 * otlp.MAX_VALUES_OF_A_KEY):
        pair = KeyValue(key="gen_ai.response.id")
        pair.value.string_value = f"id-{number}"
        assert memo[pair.SerializeToString()] == ("gen_ai.response.id", f"id-{number}")

    assert len(memo) == otlp.MAX_VALUES_OF_A_KEY


def test_what_cannot_be_read_of_a_resource_or_a_scope_costs_no_span() -> None:
    resource = {"service.name": "shop", "host.name": "<host>"}
    export = wire.Export.FromString(request(span(1, CHAT), resource=resource))
    export.of_resources[0].resource = export.of_resources[0].resource.replace(
        b"<host>", b"\xff" * 6
    )
    scope = wire.ScopeSpans.FromString(export.of_resources[0].of_scopes[0])
    scope.scope = wire.Scope(name=b"sdk\xff", version=b"1").SerializeToString()
    export.of_resources[0].of_scopes[0] = scope.SerializeToString()
    (found,) = otlp.decode(export.SerializeToString())

    assert found.resource == {"service.name": "shop"}
    assert (found.scope_name, found.scope_version) == ("sdk\N{REPLACEMENT CHARACTER}", "1")


def test_resources_do_not_fill_the_memory() -> None:
    for number in range(3 * otlp.MAX_ORIGINS):
        size = otlp.MAX_ORIGIN_BYTES if number % 2 else 10
        otlp.decode(request(span(1, CHAT), resource={"host.id": f"{number:0{size}}"}))

    assert len(otlp._resources) <= otlp.MAX_ORIGINS
    assert max(map(len, otlp._resources)) <= otlp.MAX_ORIGIN_BYTES
