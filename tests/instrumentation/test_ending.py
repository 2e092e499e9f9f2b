"""What the end of a call means, as a table: a row is a call, and what is done when it is over."""

from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.trace import SpanContext

from tallyspan import semconv
from tallyspan.answer import Answer, Part
from tallyspan.ending import Ending, Facts, Write, decide, has_background_usage
from tallyspan.formats import openai_media, openai_responses
from tallyspan.recognise import Endpoint
from tallyspan.span import OtherSpan
from tallyspan.usage import Usage

IDS = SpanContext(trace_id=0xA, span_id=0xB, is_remote=False)
CALL_ID = f"{'a':0>32}-{'b':0>16}"
ENDPOINT = Endpoint(openai_responses.FORMAT, "openai", "chat", "api.openai.com")
UNKNOWN_HOST = replace(ENDPOINT, is_certain=False)
RETRIEVAL = replace(ENDPOINT, is_retrieval=True)
REQUEST: dict[str, Any] = {
    semconv.OPERATION: "chat",
    semconv.REQUEST_MODEL: "gpt-5",
    semconv.USER_ID: "ada",
    semconv.TAG_PREFIX + "team": "x",
}
USAGE = Usage(input_tokens=9, output_tokens=4)
ADVISOR = Part("advisor_message", "", Usage(input_tokens=2, output_tokens=1))
THEIRS = OtherSpan()
ENDED = THEIRS._replace(is_recording=False)
OF_ANOTHER_CALL = THEIRS._replace(has_usage=True)
COMPLETED = THEIRS._replace(is_completed=True)


def answer(**fields: Any) -> Answer:
    usual: dict[str, Any] = {
        "response_id": "r1",
        "model": "gpt-5-1",
        "finish_reasons": ["stop"],
        "usage": USAGE,
    }
    return Answer(**usual | fields)


NOTHING = Answer()
BEGUN = Answer(has_text=True)
WITHOUT_USAGE = answer(usage=None)
CUT = answer(usage=None, finish_reasons=[])
CUT_WITH_USAGE = answer(finish_reasons=[])
QUEUED = answer(usage=None, finish_reasons=[], is_background=True)
DONE = answer(finish_reasons=[], is_background=True)
FAILED = answer(usage=None, error_type="server_error")


def facts(**fields: Any) -> Facts:
    usual: dict[str, Any] = {
        "endpoint": ENDPOINT,
        "attributes": REQUEST,
        "answer": answer(),
        "status": 200,
        "error_type": "",
        "ids": IDS,
        "other": None,
        "is_stream": False,
        "has_request_body": True,
        "opens_with_usage": False,
    }
    return Facts(**usual | fields)


def stream(**fields: Any) -> Facts:
    """A stream in a format that states its input first."""
    return facts(is_stream=True, opens_with_usage=True, **fields)


PROVIDER = ("ours provider",)
UNKNOWN = ("ours unknown",)
NO_CALL = ()
COUNT = ("count",)
TABLE = {
    "an answer with usage": (facts(), PROVIDER),
    "an answer with a usage that says nothing is of unknown usage": (
        facts(answer=NOTHING),
        UNKNOWN,
    ),
    # refused, failed, cut off
    "a call that the provider refused": (facts(status=429, answer=NOTHING), ("ours unknown 429",)),
    "the first status that refuses": (facts(status=400, answer=NOTHING), ("ours unknown 400",)),
    "nothing is counted of a refused call": (
        facts(status=400, answer=WITHOUT_USAGE),
        ("ours unknown 400",),
    ),
    "the last status that does not": (facts(status=399, answer=WITHOUT_USAGE), COUNT),
    "a refusal goes before the error that its reading ended with": (
        facts(status=500, error_type="ReadError", answer=FAILED),
        ("ours unknown 500",),
    ),
    "the transport's error goes before the one in the answer": (
        facts(error_type="ReadError", answer=FAILED),
        ("ours unknown ReadError",),
    ),
    "an error in an accepted answer": (facts(answer=FAILED), ("ours unknown server_error",)),
    "no answer came": (
        facts(status=0, error_type="ConnectError", answer=NOTHING),
        ("ours unknown ConnectError",),
    ),
    "no answer came though the texts of the request are known": (
        facts(status=0, error_type="ConnectError", answer=WITHOUT_USAGE),
        ("ours unknown ConnectError",),
    ),
    "an answer with usage whose stream broke": (
        facts(error_type="ReadError"),
        ("ours provider ReadError",),
    ),
    # a host that no rule knows
    "an unknown host that answers something else": (
        facts(endpoint=UNKNOWN_HOST, answer=answer(usage=None, response_id="", finish_reasons=[])),
        NO_CALL,
    ),
    "an unknown host that refuses": (
        facts(endpoint=UNKNOWN_HOST, answer=NOTHING, status=503),
        ("ours unknown 503",),
    ),
    "an unknown host that cannot be reached": (
        facts(endpoint=UNKNOWN_HOST, answer=NOTHING, status=0, error_type="ConnectError"),
        ("ours unknown ConnectError",),
    ),
    "an unknown host whose answer has usage": (
        facts(endpoint=UNKNOWN_HOST, answer=answer(response_id="", finish_reasons=[])),
        PROVIDER,
    ),
    "an unknown host whose answer has an id": (
        facts(endpoint=UNKNOWN_HOST, answer=CUT, has_request_body=False),
        UNKNOWN,
    ),
    "an unknown host whose answer has a reason to end": (
        facts(
            endpoint=UNKNOWN_HOST,
            answer=answer(usage=None, response_id=""),
            has_request_body=False,
        ),
        UNKNOWN,
    ),
    "an unknown host whose cut stream has only text is counted": (
        stream(endpoint=UNKNOWN_HOST, answer=BEGUN),
        COUNT,
    ),
    "an unknown host that answers text, not in a stream": (
        facts(endpoint=UNKNOWN_HOST, answer=BEGUN),
        NO_CALL,
    ),
    "an unknown host whose usage has no count": (
        facts(
            endpoint=UNKNOWN_HOST,
            answer=answer(usage=Usage(), response_id="", finish_reasons=[]),
        ),
        NO_CALL,
    ),
    # no usage, or not all of it
    "an answer without usage is counted": (facts(answer=WITHOUT_USAGE), COUNT),
    "a cut answer that has begun with its id is counted": (
        facts(answer=answer(usage=None, finish_reasons=[], model="")),
        COUNT,
    ),
    "a cut answer that has begun with its model is counted": (
        facts(answer=answer(usage=None, finish_reasons=[], response_id="")),
        COUNT,
    ),
    "a cut stream whose events have only text is counted": (stream(answer=BEGUN), COUNT),
    "an answer that has only a reason to end is counted": (
        facts(answer=answer(usage=None, response_id="", model="")),
        COUNT,
    ),
    "a stream that broke is counted": (
        stream(answer=CUT, error_type="ReadError"),
        COUNT,
    ),
    "nothing is counted of a request whose bytes are not at hand": (
        facts(answer=WITHOUT_USAGE, has_request_body=False),
        UNKNOWN,
    ),
    "nothing is counted in a format that is not billed by its text": (
        facts(answer=WITHOUT_USAGE, endpoint=replace(ENDPOINT, format=openai_media.FORMAT)),
        UNKNOWN,
    ),
    "nothing is counted of an operation that is not billed by its text": (
        facts(answer=WITHOUT_USAGE, endpoint=replace(ENDPOINT, operation="moderation")),
        UNKNOWN,
    ),
    "a cut stream that opened with its usage is counted": (stream(answer=CUT_WITH_USAGE), COUNT),
    "a whole stream that opened with its usage is not": (stream(), PROVIDER),
    "nor a stream of a format that ends with its usage": (
        facts(is_stream=True, answer=CUT_WITH_USAGE),
        PROVIDER,
    ),
    "nor what is no stream": (facts(opens_with_usage=True, answer=CUT_WITH_USAGE), PROVIDER),
    "counted": (
        facts(answer=answer(), counting="done"),
        ("ours estimated",),
    ),
    "counted after the stream broke": (
        stream(answer=CUT_WITH_USAGE, error_type="ReadError", counting="done"),
        ("ours estimated ReadError",),
    ),
    "counting was refused": (facts(answer=WITHOUT_USAGE, counting="skipped"), UNKNOWN),
    "counting was refused for a stream that opened with its usage": (
        stream(answer=CUT_WITH_USAGE, counting="skipped"),
        PROVIDER,
    ),
    "the second reading has the usage": (facts(counting="skipped"), PROVIDER),
    # another instrumentation's span
    "another's open span is completed": (facts(other=THEIRS), ("theirs provider",)),
    "an error is left for the owner of the span to write": (
        facts(other=THEIRS, status=500, answer=NOTHING),
        ("theirs unknown",),
    ),
    "another's span that has ended already": (facts(other=ENDED), (f"new provider {CALL_ID}",)),
    "another's span that has ended already, of a call that was refused": (
        facts(other=ENDED, status=500, answer=NOTHING),
        (f"new unknown 500 {CALL_ID}",),
    ),
    "another's span that has the usage of a parallel call": (
        facts(other=OF_ANOTHER_CALL),
        ("new provider",),
    ),
    "another's ended span that has the usage of a parallel call": (
        facts(other=OF_ANOTHER_CALL._replace(is_recording=False)),
        ("new provider",),
    ),
    "another's open span gets what there is before the tokens are counted": (
        facts(other=THEIRS, answer=WITHOUT_USAGE),
        ("theirs unknown", "count"),
    ),
    "another's open span gets the opening usage before the tokens are counted": (
        stream(other=THEIRS, answer=CUT_WITH_USAGE),
        ("theirs provider", "count"),
    ),
    "another's ended span can wait": (facts(other=ENDED, answer=WITHOUT_USAGE), COUNT),
    "a parallel call's span is not written before the tokens are counted": (
        facts(other=OF_ANOTHER_CALL, answer=WITHOUT_USAGE),
        COUNT,
    ),
    "another's span is still open when the tokens are counted": (
        facts(other=COMPLETED, counting="done"),
        ("theirs estimated",),
    ),
    "another's span is still open, and has the opening usage of this call": (
        stream(
            other=COMPLETED._replace(has_usage=True),
            answer=CUT_WITH_USAGE,
            counting="done",
        ),
        ("theirs estimated",),
    ),
    "another's span has ended while the tokens were counted": (
        facts(other=COMPLETED._replace(is_recording=False), counting="done"),
        (f"new estimated {CALL_ID}",),
    ),
    "another's span has ended with the opening usage of this call": (
        stream(
            other=COMPLETED._replace(is_recording=False, has_usage=True),
            answer=CUT_WITH_USAGE,
            counting="done",
        ),
        (f"new estimated {CALL_ID}",),
    ),
    # background
    "a background call is remembered": (
        facts(answer=QUEUED),
        ("remember", "ours deferred"),
    ),
    "a background call in another's span is remembered": (
        facts(answer=QUEUED, other=THEIRS),
        ("remember", "theirs deferred"),
    ),
    "a background call that was refused is over": (
        facts(answer=QUEUED, status=500),
        ("ours unknown 500",),
    ),
    "a background call that is done at once": (facts(answer=DONE, deferred={}), PROVIDER),
    "a background call that is done at once, and was retrieved meanwhile": (
        facts(answer=DONE, deferred=None),
        PROVIDER,
    ),
    "an answer that is retrieved with its usage": (
        facts(endpoint=RETRIEVAL, ids=None, answer=DONE, deferred={}),
        ("new provider",),
    ),
    "an answer that is retrieved with its usage by the process that sent it": (
        facts(
            endpoint=RETRIEVAL, ids=None, answer=DONE, deferred={semconv.CALL_ID: CALL_ID}
        ),
        (f"new provider {CALL_ID}",),
    ),
    "an answer that is retrieved a second time": (
        facts(endpoint=RETRIEVAL, ids=None, answer=DONE, deferred=None),
        NO_CALL,
    ),
    "an answer that is retrieved too early": (
        facts(endpoint=RETRIEVAL, ids=None, answer=QUEUED),
        NO_CALL,
    ),
    "a retrieval that is refused": (
        facts(endpoint=RETRIEVAL, ids=None, answer=NOTHING, status=404),
        NO_CALL,
    ),
    "the error in a retrieved answer is not the retrieval's": (
        facts(
            endpoint=RETRIEVAL,
            ids=None,
            answer=replace(DONE, error_type="server_error"),
            deferred={},
        ),
        ("new provider",),
    ),
    # model calls inside the answer
    "a part is a call of its own": (
        facts(answer=answer(parts=[ADVISOR])),
        ("ours provider", "new provider advisor_message"),
    ),
    "the parts in another's span": (
        facts(answer=answer(parts=[ADVISOR]), other=THEIRS),
        ("theirs provider", "new provider advisor_message"),
    ),
    "the parts where another's span has ended": (
        facts(answer=answer(parts=[ADVISOR]), other=ENDED),
        (f"new provider {CALL_ID}", "new provider advisor_message"),
    ),
    "the parts wait for the count too": (
        facts(answer=answer(usage=None, parts=[ADVISOR])),
        COUNT,
    ),
    "the parts of a counted call": (
        facts(answer=answer(parts=[ADVISOR]), counting="done"),
        ("ours estimated", "new provider advisor_message"),
    ),
    "the parts are written with the first completion of another's span": (
        facts(answer=answer(usage=None, parts=[ADVISOR]), other=THEIRS),
        ("theirs unknown", "new provider advisor_message", "count"),
    ),
    "and not with the second": (
        facts(answer=answer(parts=[ADVISOR]), other=COMPLETED, counting="done"),
        ("theirs estimated",),
    ),
    "and not if it has ended meanwhile": (
        facts(
            answer=answer(parts=[ADVISOR]),
            other=COMPLETED._replace(is_recording=False),
            counting="done",
        ),
        (f"new estimated {CALL_ID}",),
    ),
    "the parts of a retrieved answer": (
        facts(
            endpoint=RETRIEVAL, ids=None, answer=replace(DONE, parts=[ADVISOR]), deferred={}
        ),
        ("new provider", "new provider advisor_message"),
    ),
}  # fmt: skip


def in_words(ending: Ending) -> tuple[str, ...]:
    def write_in_words(write: Write) -> str:
        attributes = write.attributes
        more = (attributes.get(semconv.CALL_PART), attributes.get(semconv.CALL_ID))
        source = attributes[semconv.USAGE_SOURCE]
        words = (write.place, source, write.error_type, *more)
        return " ".join(str(word) for word in words if word)

    return (
        *(["remember"] if ending.deferred is not None else []),
        *map(write_in_words, ending.writes),
        *(["count"] if ending.needs_counting else []),
    )


@pytest.mark.parametrize(("call", "expected"), TABLE.values(), ids=TABLE)
def test_the_end_of(call: Facts, expected: tuple[str, ...]) -> None:
    assert in_words(decide(call)) == expected


FRESH = {
    semconv.USAGE_SOURCE: "provider",
    semconv.RESPONSE_MODEL: "gpt-5-1",
    semconv.RESPONSE_ID: "r1",
    semconv.FINISH_REASONS: ["stop"],
    semconv.HTTP_STATUS: 200,
    "gen_ai.usage.input_tokens": 9,
    "gen_ai.usage.output_tokens": 4,
}


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        (None, FRESH),
        (THEIRS, REQUEST | FRESH),
        (ENDED, REQUEST | FRESH | {semconv.CALL_ID: CALL_ID}),
        (OF_ANOTHER_CALL, REQUEST | FRESH),
    ],
    ids=["ours has the request's attributes already", "another's", "a new one", "of its own"],
)
def test_a_span_gets_what_it_lacks_of_request_and_answer(
    opened: OtherSpan | None, expected: dict[str, Any]
) -> None:
    (write,) = decide(facts(other=opened)).writes

    assert write.attributes == expected


def test_the_status_is_left_out_where_no_answer_came() -> None:
    (write,) = decide(facts(status=0, answer=NOTHING, error_type="ConnectError")).writes

    assert write.attributes == {semconv.USAGE_SOURCE: "unknown"}


@pytest.mark.parametrize(
    ("is_stream", "seconds", "expected"),
    [(True, 0.5, {semconv.TIME_TO_FIRST_CHUNK: 0.5}), (True, None, {}), (False, 0.5, {})],
)
def test_only_a_stream_has_a_time_to_its_first_chunk(
    is_stream: bool, seconds: float | None, expected: dict[str, float]
) -> None:
    (write,) = decide(facts(is_stream=is_stream, seconds_to_first_chunk=seconds)).writes

    assert write.attributes == FRESH | expected


@pytest.mark.parametrize(
    ("status", "answered", "expected"),
    [
        (200, DONE, True),
        (399, DONE, True),
        (400, DONE, False),
        (0, DONE, False),
        (200, QUEUED, False),
        (200, answer(), False),
    ],
)
def test_an_accepted_background_answer_with_usage_is_to_be_booked(
    status: int, answered: Answer, expected: bool
) -> None:
    assert has_background_usage(status, answered) is expected


@pytest.mark.parametrize(
    ("opened", "ids"),
    [
        (None, {semconv.CALL_ID: CALL_ID}),
        (THEIRS, {semconv.CALL_ID: CALL_ID}),
        (OF_ANOTHER_CALL, {}),
    ],
)
def test_a_background_call_is_remembered_with_its_request_and_the_span_that_it_is_in(
    opened: OtherSpan | None, ids: dict[str, str]
) -> None:
    assert decide(facts(answer=QUEUED, other=opened)).deferred == REQUEST | ids


def test_a_retrieved_answer_has_the_attributes_of_the_call_that_was_deferred() -> None:
    deferred = {semconv.USER_ID: "bob", semconv.CALL_ID: CALL_ID}
    parts = replace(DONE, parts=[ADVISOR])
    call, part = decide(facts(endpoint=RETRIEVAL, ids=None, answer=parts, deferred=deferred)).writes

    assert call.attributes == REQUEST | deferred | {
        key: value for key, value in FRESH.items() if key != semconv.FINISH_REASONS
    }
    assert part.attributes[semconv.USER_ID] == "bob"


def test_a_part_shares_what_the_call_is_for_and_has_a_model_and_a_usage_of_its_own() -> None:
    _, part = decide(facts(answer=answer(parts=[ADVISOR]))).writes

    assert part == Write(
        "new",
        {
            semconv.OPERATION: "chat",
            semconv.USER_ID: "ada",
            semconv.TAG_PREFIX + "team": "x",
            semconv.HTTP_STATUS: 200,
            semconv.REQUEST_MODEL: "gpt-5-1",
            semconv.CALL_PART: "advisor_message",
            semconv.USAGE_SOURCE: "provider",
            "gen_ai.usage.input_tokens": 2,
            "gen_ai.usage.output_tokens": 1,
        },
    )


def test_deciding_changes_none_of_the_facts() -> None:
    call = facts(answer=answer(parts=[ADVISOR]), deferred={semconv.USER_ID: "bob"})
    before = repr(call)
    for endpoint in (ENDPOINT, RETRIEVAL):
        decide(call._replace(endpoint=endpoint))

    assert repr(call) == before
