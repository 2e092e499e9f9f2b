"""OpenAI Realtime: `usage` of each response, by modality; transcriptions as calls of their own.

`input_tokens` includes cached ones, `output_tokens` all that was generated. Each response has the
conversation before it in its input, and is billed for it. What a user said is written down by
another model, billed by tokens or by seconds, whose usage stands in an event of its own. Source:
OpenAI's types of events (RealtimeResponse: "this will correspond to billing").
"""

from tallyspan.answer import Answer, Json, count, mapping, text
from tallyspan.framing import EVERYTHING
from tallyspan.providers import OPENAI
from tallyspan.response_turns import ENDS, TRANSCRIPTIONS, ResponseTurns
from tallyspan.socket_format import Needles, Socket
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path, RequestKeys

_INPUT = ("input_token_details", "input_tokens_details")
_OUTPUT = ("output_token_details", "output_tokens_details")
_MODALITIES = ("audio_tokens", "image_tokens")
_CONFIGURED = ("session.created", "session.updated")


def read(body: Json, answer: Answer) -> None:
    """Take what the event that ends a response, or a transcription, says."""
    response = mapping(body.get("response")) or body
    answer.identify(response)
    status, details = text(response.get("status")), mapping(response.get("status_details"))
    if status and status != "in_progress":
        answer.finished(text(details.get("reason")) or status)
    answer.service_tier = text(response.get("service_tier")) or answer.service_tier
    usage = mapping(response.get("usage"))
    if usage:
        answer.usage = read_usage(usage, answer) or answer.usage
        answer.billed("seconds", usage.get("seconds"))
    error = mapping(details.get("error") or response.get("error"))
    if error or status == "failed":
        answer.error_type = text(error.get("code")) or text(error.get("type")) or "error"


def read_usage(usage: Json, answer: Answer) -> Usage | None:
    """Return the counts of a `usage`, and note the rarer ones; None if it has none."""
    of_input, of_output = _details(usage, _INPUT), _details(usage, _OUTPUT)
    cached = mapping(of_input.get("cached_tokens_details"))
    answer.billed("cache_read_image_tokens", cached.get("image_tokens"))
    counts = Usage(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=count(of_input.get("cached_tokens")),
        cache_read_audio_tokens=count(cached.get("audio_tokens")),
        reasoning_tokens=count(of_output.get("reasoning_tokens")),
        input_audio_tokens=count(of_input.get("audio_tokens")),
        output_audio_tokens=count(of_output.get("audio_tokens")),
        input_image_tokens=count(of_input.get("image_tokens")),
        output_image_tokens=count(of_output.get("image_tokens")),
    )
    return counts or None


def _details(usage: Json, keys: tuple[str, ...]) -> Json:
    return next((mapping(usage[key]) for key in keys if usage.get(key)), {})


USAGE = UsageKeys(
    at=("usage", "response.usage"),
    read=(
        "input_tokens", "output_tokens", "seconds",
        *(f"{details}.{key}" for details in _INPUT for key in (
            "cached_tokens", *_MODALITIES,
            *(f"cached_tokens_details.{each}" for each in _MODALITIES),
        )),
        *(f"{details}.{key}" for details in _OUTPUT for key in ("reasoning_tokens", *_MODALITIES)),
    ),
    harmless={
        "total_tokens": "input and output",
        "type": "whether it counts tokens or seconds",
        **{f"{details}.text_tokens": "the rest" for details in (*_INPUT, *_OUTPUT)},
        **{f"{details}.cached_tokens_details.text_tokens": "the rest" for details in _INPUT},
    },
    beside={
        "service_tier": "the tier",
        "max_output_tokens": "a limit of the request",
    },
)  # fmt: skip

FORMAT = Format(
    name="openai_realtime",
    provider=OPENAI,
    paths=(Path("/realtime", "chat", is_socket=True),),
    request=RequestKeys(model="model", stream="", user=(), call=frozenset()),
    estimate=NoEstimate("the prompt includes earlier turns, which the server keeps"),
    usage_option=None,
    opens_with_usage=False,
    interest=EVERYTHING,
    reader=lambda: read,
    usage=USAGE,
    read_headers=None,
    read_request=None,
    socket=Socket(
        sent=Needles("response.create"),
        received=Needles(
            *ENDS,
            "response.created",
            *_CONFIGURED,
            *(f"transcription_{kind}" for kind in _CONFIGURED),
            *TRANSCRIPTIONS,
            "error",
        ),
        output=Needles(endings=(".delta",)),
        turns=ResponseTurns,
    ),
)
