"""OpenAI speech: `usage` of a stream; else the characters to be spoken, which are billed."""

from tallyspan.answer import Answer, Json, text
from tallyspan.formats.openai_responses import USAGE, read
from tallyspan.framing import Interest
from tallyspan.providers import OPENAI
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys


def read_request(body: Json, answer: Answer) -> None:
    """Take the characters to be spoken: older speech models are billed by them."""
    answer.billed("characters", len(text(body.get("input"))))


FORMAT = Format(
    name="openai_speech",
    provider=OPENAI,
    paths=(Path("/audio/speech", "generate_content"),),
    request=RequestKeys(model="model", stream="stream", user=USER_KEYS, call=frozenset({"input"})),
    estimate=NoEstimate("sound is billed, not text"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'.completed"', b'.done"', b'"error"')),
    reader=lambda: read,
    usage=USAGE,
    read_headers=None,
    read_request=read_request,
)
