"""Anthropic Text Completions (2023): no usage at all, so its tokens are always an estimate."""

from tallyspan.answer import Answer, Json
from tallyspan.formats.anthropic_messages import ANTHROPIC
from tallyspan.framing import Interest, spelled, spelled_oddly
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import USER_KEYS, Estimate, Format, Path, RequestKeys, texts_under


def read(body: Json, answer: Answer) -> None:
    """Take what a completion, or one event of its stream, says."""
    answer.identify(body)
    answer.finished(body.get("stop_reason"))


FORMAT = Format(
    name="anthropic_complete",
    provider=ANTHROPIC,
    paths=(Path("/v1/complete", "text_completion"),),
    request=RequestKeys(model="model", stream="stream", user=USER_KEYS, call=frozenset({"prompt"})),
    estimate=Estimate(prompt=("prompt",), system=(), answer=texts_under("completion")),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest(
        (*spelled("stop_reason", '"'), b'"error"'), odd_needles=spelled_oddly("stop_reason")
    ),
    reader=lambda: read,
    usage=UsageKeys(at=("usage", "."), read=()),
    read_headers=None,
    read_request=None,
)
