"""Gemini `generateContent`, embeddings, AI Studio and Vertex: usage by modality; grounding.

Counts are cumulative, the last chunk has all. `promptTokenCount` includes cached content; prompts
of tools and thoughts stand beside, not inside, unless the total shows that they are. Grounding with
Google Search is billed by distinct queries, of all chunks, and with Google Maps by the prompt.
Source: Google's API types and pricing page.
"""

import re
from collections.abc import Mapping

from tallyspan.answer import Answer, Json, count, failure, items, mapping, text, total
from tallyspan.framing import Interest
from tallyspan.providers import GEMINI
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys, leave_unread
from tallyspan.wire_format import USER_KEYS, Estimate, Format, Path, RequestKeys, texts_under

# Some clients send the proto numbers (google.ai.generativelanguage, Modality).
_MODALITY_NAMES = {0: "TEXT", 1: "TEXT", 2: "IMAGE", 3: "VIDEO", 4: "AUDIO", 5: "DOCUMENT"}
_MODALITIES = {*_MODALITY_NAMES.values(), "MODALITY_UNSPECIFIED"}
DETAILS = {
    "input": ("promptTokensDetails", "promptTokenDetails", "toolUsePromptTokensDetails"),
    "cache": ("cacheTokensDetails",),
    "output": ("candidatesTokensDetails", "responseTokensDetails"),
}
_CHUNKS = {"web", "maps", "image", "retrievedContext"}
"""Kinds of grounding whose fees are counted, or known to be none."""


class Reader:
    """Reads one answer, whole or chunk by chunk."""

    def __init__(self) -> None:
        self._queries: set[str] = set()
        self._image_queries: set[str] = set()
        self._chunks: set[str] = set()
        self._has_tools = False

    def read(self, body: Json, answer: Answer) -> None:
        """Take what an answer, or one chunk of a stream, says."""
        answer.identify(body, model="modelVersion", response_id="responseId")
        for candidate in items(body.get("candidates")):
            answer.finished(candidate.get("finishReason"))
            self._has_tools = self._has_tools or "urlContextMetadata" in candidate
            grounding = mapping(candidate.get("groundingMetadata"))
            if grounding:
                self.read_grounding(grounding, answer)
        usage = mapping(body.get("usageMetadata"))
        if usage:
            settled = _settled(usage, has_tools=self._has_tools)
            modalities = Modalities(usage, DETAILS, "tokenCount")
            cached = count(usage.get("cachedContentTokenCount"))
            answer.usage = modalities.usage(*settled, cached) or answer.usage
            modalities.bill(answer)
            if self._has_tools and _is_undecided(usage, settled[0]):
                leave_unread(answer, "usageMetadata.totalTokenCount")
            for key in modalities.unknown_at:
                leave_unread(answer, f"usageMetadata.{key}[].modality")
            answer.service_tier = tier(usage) or answer.service_tier
        answer.error_type = failure(body, "status", "code") or answer.error_type

    def read_grounding(self, grounding: Json, answer: Answer) -> None:
        """Take what a `groundingMetadata` says; it may come more than once, each with more."""
        self._has_tools = True
        self._queries |= _texts(grounding.get("webSearchQueries"))
        self._image_queries |= _texts(grounding.get("imageSearchQueries"))
        if _texts(grounding.get("retrievalQueries")):
            leave_unread(answer, "groundingMetadata.retrievalQueries")
        for chunk in items(grounding.get("groundingChunks")):
            self._chunks |= chunk.keys() & _CHUNKS
            if not chunk.keys() & _CHUNKS:
                for kind in chunk:
                    leave_unread(answer, f"groundingMetadata.groundingChunks[].{kind}")
        answer.billed("maps_grounding", int("maps" in self._chunks))
        answer.billed("image_search", len(self._image_queries))
        if self._chunks == {"maps"}:  # the queries were put to Google Maps
            answer.meters.pop("web_search", None)
        else:
            answer.billed("web_search", len(self._queries))


def _texts(value: object) -> set[str]:
    """Return the distinct texts of a list that are not empty."""
    return (
        {each for each in value if each and isinstance(each, str)}
        if isinstance(value, list)
        else set()
    )


def read_headers(headers: Mapping[str, str], answer: Answer) -> None:
    """Take the tier that AI Studio has in a header; the body's own wins."""
    answer.service_tier = headers.get("x-gemini-service-tier", "")


def _is_undecided(usage: Json, input_tokens: int | None) -> bool:
    """Whether what the total alone has may be thoughts as well as what a tool put in."""
    return (
        "thoughtsTokenCount" not in usage
        and "toolUsePromptTokenCount" not in usage
        and input_tokens != count(usage.get("promptTokenCount"))
    )


class Modalities:
    """Tokens by modality: `keys` of lists in a usage, for each of input, cache and output.

    `count_key`: what their items call the count. `unknown_at`: lists with a modality of no meter.
    """

    def __init__(self, usage: Json, keys: Mapping[str, tuple[str, ...]], count_key: str) -> None:
        self.unknown_at: list[str] = []
        self._input, self._cache, self._output = (
            self._sums(usage, keys[part], count_key) for part in ("input", "cache", "output")
        )

    def _sums(self, usage: Json, keys: tuple[str, ...], count_key: str) -> dict[str, int]:
        sums: dict[str, int] = {}
        for key in keys:
            for part in items(usage[key]) if key in usage else ():
                tokens = count(part.get(count_key))
                if tokens:
                    name = _modality_name(part.get("modality"))
                    sums[name] = sums.get(name, 0) + tokens
                    if name not in _MODALITIES:
                        self.unknown_at.append(key)
        return sums

    def usage(
        self,
        input_tokens: int | None,
        output_tokens: int | None,
        thoughts: int | None,
        cached: int | None,
    ) -> Usage | None:
        """Return the common counts; None: there are none."""
        counts = Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read_tokens=cached,
            cache_read_audio_tokens=self._cache.get("AUDIO"),
            reasoning_tokens=thoughts,
            input_audio_tokens=self._input.get("AUDIO"),
            output_audio_tokens=self._output.get("AUDIO"),
            input_image_tokens=self._input.get("IMAGE"),
            output_image_tokens=self._output.get("IMAGE"),
        )
        return counts or None

    def bill(self, answer: Answer) -> None:
        """Note the rarer counts."""
        for name in self._input.keys() & {"VIDEO", "DOCUMENT"}:
            answer.billed(f"input_{name.lower()}_tokens", self._input[name])
        for name in self._cache.keys() & {"IMAGE", "VIDEO", "DOCUMENT"}:
            answer.billed(f"cache_read_{name.lower()}_tokens", self._cache[name])
        answer.billed("output_video_tokens", self._output.get("VIDEO"))


def _modality_name(value: object) -> str:
    if type(value) is int:
        return _MODALITY_NAMES.get(value, "")
    return text(value).upper() or "TEXT"


def _settled(usage: Json, *, has_tools: bool) -> tuple[int | None, int | None, int | None]:
    """Return all input, all output, and the thoughts in it; the total decides."""
    prompt, tools = (
        count(usage.get("promptTokenCount")),
        count(usage.get("toolUsePromptTokenCount")),
    )
    generated = count(usage.get("candidatesTokenCount"))
    if generated is None:
        generated = count(usage.get("responseTokenCount"))
    thoughts, whole = count(usage.get("thoughtsTokenCount")), count(usage.get("totalTokenCount"))
    counted = total(prompt, tools, generated, thoughts)
    if prompt is None or counted is None:
        return None, total(generated, thoughts), thoughts
    if whole is None or whole == counted:
        return total(prompt, tools), total(generated, thoughts), thoughts
    if thoughts and generated is not None and whole == counted - thoughts:
        return total(prompt, tools), generated, thoughts  # some senders count them in there
    if tools and whole == counted - tools:
        return prompt, total(generated, thoughts), thoughts
    rest = whole - counted
    if rest > 0 and generated is None:
        return total(prompt, tools), total(rest, thoughts), thoughts
    if rest > 0:
        if tools is None and (has_tools or thoughts is not None):
            return total(prompt, rest), total(generated, thoughts), thoughts
        if thoughts is None:
            return total(prompt, tools), total(generated, rest), rest
    return total(prompt, tools), total(generated, thoughts), thoughts


def tier(usage: Json) -> str:
    """Return the tier that a `usageMetadata` states; Vertex has it as the type of its traffic."""
    return text(usage.get("serviceTier")) or text(usage.get("trafficType")).lower()


USAGE = UsageKeys(
    at=("usageMetadata",),
    read=(
        "promptTokenCount", "candidatesTokenCount", "responseTokenCount", "cachedContentTokenCount",
        "thoughtsTokenCount", "toolUsePromptTokenCount", "totalTokenCount",
        *(f"{key}[].{name}" for keys in DETAILS.values() for key in keys
          for name in ("modality", "tokenCount")),
        "serviceTier", "trafficType",
    ),
    harmless={"pydantic_ai_gateway": "what a gateway takes the cost for: an estimate of its own"},
)  # fmt: skip

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
            r"/locations/[^/]+/(?:publishers/[^/]+/models|endpoints)/(?P<model>[^/:]+)"
            r":(?:generateContent|(?P<stream>streamGenerateContent))",
            "generate_content",
            example="/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
            assumed="gcp.vertex_ai",
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
    reader=lambda: Reader().read,
    usage=USAGE,
    read_headers=read_headers,
    read_request=None,
)
