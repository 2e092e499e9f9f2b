"""OpenAI images and transcripts: `usage` as in Responses; seconds or pictures if billed so."""

from tallyspan.formats.openai_responses import read
from tallyspan.framing import Interest
from tallyspan.providers import OPENAI
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys

FORMAT = Format(
    name="openai_media",
    provider=OPENAI,
    paths=(
        Path(
            "/images/(?:generations|edits|variations)",
            "generate_content",
            example="/v1/images/generations",
        ),
        Path(
            "/audio/(?:transcriptions|translations)",
            "generate_content",
            example="/v1/audio/transcriptions",
        ),
    ),
    request=RequestKeys(model="model", stream="stream", user=USER_KEYS, call=frozenset({"prompt"})),
    estimate=NoEstimate("pictures and sound are billed, not text"),
    usage_option=None,
    opens_with_usage=False,
    # Streams of images and sound have their usage in events of their own.
    interest=Interest((b'.completed"', b'.done"', b'"error"')),
    reader=lambda: read,
    read_headers=None,
    read_request=None,
)
