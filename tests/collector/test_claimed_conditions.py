"""What the collector works out itself is not taken from a sender: it would make calls cheap."""

import pytest

from tallyspan.conditions import CONDITIONS
from tallyspan.meters import METERS
from tallyspan_collector.dialects import Reader
from tallyspan_collector.read.call import Flag
from tallyspan_collector.read.otlp import Span

OURS = [
    *(each.attribute for each in METERS if each.is_of_collector),
    *(each.attribute for each in CONDITIONS if each.is_of_collector),
]


def test_an_allowance_a_commitment_and_a_number_of_requests_are_the_collectors() -> None:
    assert {each.rpartition(".")[2] for each in OURS} == {
        "web_search_free",
        "allowance",
        "commitment",
        "requests",  # a call that is the sum of many has the context tier of the average one
    }


@pytest.mark.parametrize("attribute", OURS)
def test_a_sender_that_claims_it_is_not_believed_and_it_is_named(attribute: str) -> None:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-3.8-flash",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 1,
        "tallyspan.meter.web_search": 3,
        attribute: 3 if ".meter." in attribute else "mine",
    }
    span = Span("1" * 32, "2" * 16, "", 1, 2, False, attributes, {}, "tallyspan", kind=3)
    call = Reader().read(span).call

    assert call is not None
    assert call.meters == {"web_search": 3}
    assert call.conditions == {}
    assert call.unread == (attribute,)
    assert Flag.UNREAD_USAGE in call.quality_flags
