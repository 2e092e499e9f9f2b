"""Gemini `generateContent`, embeddings, AI Studio and Vertex: `usageMetadata` by modality.

Counts are cumulative, the last chunk has all. `promptTokenCount` includes cached content; prompts
of tools and thoughts stand beside, not inside.
"""

import re
from collections.abc import Mapping

from tallyspan.answer import Answer, Json, count, failure, items, mapping, text, total
from tallyspan.framing import Interest
from tallyspan.providers import GEMINI
from tallyspan.usage import Usage
from tallyspan.wire_format import USER_KEYS, Estimate, Format, Path, RequestKeys, texts_under

_MODALITY_NAMES = {2: "IMAGE", 4: "AUDIO"}  # some clients send the proto numbers


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one chunk of a stream, says."""
    answer.identify(body, model="modelVersion", response_id="responseId")
    for candidate in items(body.get("candidates")):
        answer.finished(candidate.get("finishReason"))
        queries = mapping(candidate.get("groundingMetadata")).get("webSearchQueries")
        answer.billed("web_search", len(queries) if isinstance(queries, list) else None)
    usage = mapping(body.get("usageMetadata"))
    if usage:
        answer.usage = read_usage(usage) or answer.usage
        answer.service_tier = _tier(usage) or answer.service_tier
    answer.error_type = failure(body, "status", "code") or answer.error_type


def read_headers(headers: Mapping[str, str], answer: Answer) -> None:
    """Take the tier that AI Studio has in a header; the body's own wins."""
    answer.service_tier = headers.get("x-gemini-service-tier", "")


def read_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usageMetadata` object; None if it has none."""
    counts = Usage(
        input_tokens=total(
            count(usage.get("promptTokenCount")), count(usage.get("toolUsePromptTokenCount"))
        ),
        output_tokens=total(
            count(usage.get("candidatesTokenCount")), count(usage.get("thoughtsTokenCount"))
        ),
        cache_read_tokens=count(usage.get("cachedContentTokenCount")),
        cache_read_audio_tokens=_modality(usage.get("cacheTokensDetails"), "AUDIO"),
        reasoning_tokens=count(usage.get("thoughtsTokenCount")),
        input_audio_tokens=_modality(usage.get("promptTokensDetails"), "AUDIO"),
        output_audio_tokens=_modality(usage.get("candidatesTokensDetails"), "AUDIO"),
        input_image_tokens=_modality(usage.get("promptTokensDetails"), "IMAGE"),
        output_image_tokens=_modality(usage.get("candidatesTokensDetails"), "IMAGE"),
    )
    return counts or None


def _modality(details: object, wanted: str) -> int | None:
    return total(
        *(
            count(part.get("tokenCount"))
            for part in items(details)
            if _MODALITY_NAMES.get(part.get("modality"), part.get("modality")) == wanted  # type: ignore[arg-type]  # any JSON value may stand there
        )
    )


def _tier(usage: Json) -> str:
    return text(usage.get("serviceTier")) or text(usage.get("trafficType")).lower()


FORMAT = Format(
    name="gemini",
    provider=GEMINI,
    paths=(
        Path(
            r"/(?:models|tunedModels)/(?P<model>[^/:]+):(?:embedContent|batchEmbedContents)",
            "embeddings",
            example="/v1beta/models/gemini-embedding-001:embedContent",
        ),
        Path(
            r"/(?:models|tunedModels|endpoints)/(?P<model>[^/:]+)"
            r":(?:generateContent|(?P<stream>streamGenerateContent))",
            "generate_content",
            example="/v1beta/models/gemini-2.5-pro:generateContent",
        ),
    ),
    request=RequestKeys(
        model="model",
        stream="stream",
        user=USER_KEYS,
        call=frozenset({"contents", "content", "requests"}),
    ),
    estimate=Estimate(
        prompt=("contents",), system=("systemInstruction",), answer=texts_under("candidates")
    ),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest(
        (b'"finishReason"', b'"groundingMetadata"', b'"error"'),
        b"TokenCount",
        re.compile(rb'TokenCount"\s*:\s*"?[0-9]'),
    ),
    reader=lambda: read,
    read_headers=read_headers,
    read_request=None,
)
