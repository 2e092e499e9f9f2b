"""OpenAI images and transcripts: `usage` as in Responses; seconds or pictures if billed so.

What an image model generates is image tokens, unless the usage says how many of them are text.
What a text model did to author an SVG stands beside the usage.
"""

from dataclasses import replace

from tallyspan.answer import Answer, Json, Part, mapping, text
from tallyspan.formats import openai_responses
from tallyspan.formats.openai_responses import USAGE, cached_image_tokens, read_usage
from tallyspan.framing import Interest
from tallyspan.providers import OPENAI
from tallyspan.wire_format import USER_KEYS, Format, NoEstimate, Path, RequestKeys


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one event of a stream, says."""
    openai_responses.read(body, answer)
    usage = mapping(body.get("usage"))
    has_images = isinstance(body.get("data"), list) or text(body.get("type")).startswith("image_")
    if usage and answer.usage is not None and has_images:
        if answer.usage.output_image_tokens is None:
            answer.usage = replace(answer.usage, output_image_tokens=answer.usage.output_tokens)
        answer.billed("cache_read_image_tokens", cached_image_tokens(usage))
    of_svg = mapping(body.get("svg_usage"))
    counts = read_usage(of_svg)
    if counts is not None:
        answer.parts = [Part("svg", text(of_svg.get("model")), counts)]


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
    usage=USAGE,
    read_headers=None,
    read_request=None,
)
