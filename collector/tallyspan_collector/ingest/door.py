"""What a request holds that can become a call; the rest goes no further, and is counted."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError as ProtobufError

from tallyspan_collector import wire
from tallyspan_collector.dialects import NEEDLES
from tallyspan_collector.errors import DecodeError


@dataclass(frozen=True, slots=True)
class Admitted:
    """`blob` is an OTLP request of the scopes that may hold calls; empty: there are none.

    `spans` counts those in the blob, `untimed` those refused for want of any time: the sender is
    told (OTLP partial success).
    """

    blob: bytes
    spans: int = 0
    untimed: int = 0


def admit(body: bytes) -> Admitted:
    """Return what is worth keeping of an ExportTraceServiceRequest.

    A scope none of whose bytes names an attribute of an LLM dialect is dropped unparsed. Raises
    `DecodeError` if the bytes are no such request.
    """
    try:
        request = wire.Request.FromString(body)
        spans = untimed = dropped = 0
        for of_resource in request.resource_spans:
            kept = []
            for raw in of_resource.scope_spans:
                if not any(needle in raw for needle in NEEDLES):
                    dropped += 1
                    continue
                scope = wire.ScopeSpans.FromString(raw)
                without = [
                    number
                    for number, span in enumerate(scope.spans)
                    if not span.start_time_unix_nano and not span.end_time_unix_nano
                ]
                for number in reversed(without):
                    del scope.spans[number]
                untimed += len(without)
                spans += len(scope.spans)
                kept.append(scope.SerializeToString() if without else raw)
            if len(kept) != len(of_resource.scope_spans) or untimed:
                del of_resource.scope_spans[:]
                of_resource.scope_spans.extend(kept)
    except ProtobufError as error:
        raise DecodeError(f"not an OTLP ExportTraceServiceRequest: {error}") from None
    if not spans:
        return Admitted(b"", 0, untimed)
    return Admitted(request.SerializeToString() if dropped or untimed else body, spans, untimed)
