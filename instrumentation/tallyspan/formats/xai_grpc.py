"""xAI over gRPC (xai-sdk): messages as protobuf's JSON has them; billed cost; deferred answers.

Input includes the cache, output is without the reasoning. Every chunk of a stream has the counts so
far. What is deferred is charged when it is fetched and done. Source: xai-sdk 1.21.0, its protos.
"""

from collections import Counter

from tallyspan.answer import Answer, Json, items, mapping, text
from tallyspan.formats import openai_chat
from tallyspan.framing import Interest
from tallyspan.providers import XAI
from tallyspan.usage_keys import UsageKeys, leave_unread
from tallyspan.wire_format import Format, NoEstimate, Path, RequestKeys

_TOOLS = {
    "WEB_SEARCH": "web_search",
    "X_SEARCH": "x_search",
    "CODE_EXECUTION": "code_interpreter",
    "COLLECTIONS_SEARCH": "file_search",
    "ATTACHMENT_SEARCH": "file_search",
    "IMAGE_SEARCH": "image_search",
}
_FREE_TOOLS = {"VIEW_IMAGE", "VIEW_X_VIDEO", "MCP"}
"""Their tokens alone are billed."""


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one chunk of a stream, says."""
    if "requestId" in body:
        answer.is_background = True
        answer.response_id = text(body["requestId"])
    elif "status" in body:
        answer.is_background = True
        _read_answer(mapping(body.get("response")), answer)
    else:
        _read_answer(body, answer)


def _read_answer(body: Json, answer: Answer) -> None:
    answer.identify(body)
    tier = text(body.get("serviceTier")).removeprefix("SERVICE_TIER_").lower()
    answer.service_tier = tier if tier not in {"", "unspecified"} else answer.service_tier
    for output in items(body.get("outputs")):
        answer.finished(output.get("finishReason"))
    answer.billed("images", len(items(body.get("images"))))
    answer.billed("video_seconds", mapping(body.get("video")).get("duration"))
    answer.error_type = text(mapping(body.get("error")).get("code")) or answer.error_type
    usage = mapping(body.get("usage"))
    if "promptTokens" in usage or "completionTokens" in usage or "costInUsdTicks" in usage:
        _read_usage(usage, answer)


def _read_usage(usage: Json, answer: Answer) -> None:
    """Take a usage: protobuf leaves out what is 0."""
    counts = {
        "prompt_tokens": usage.get("promptTokens", 0),
        "completion_tokens": usage.get("completionTokens", 0),
        "total_tokens": usage.get("totalTokens", 0),
        "prompt_tokens_details": {
            "cached_tokens": usage.get("cachedPromptTextTokens"),
            "image_tokens": usage.get("promptImageTokens"),
        },
        "completion_tokens_details": {"reasoning_tokens": usage.get("reasoningTokens")},
        "num_sources_used": usage.get("numSourcesUsed"),
    }
    answer.usage = openai_chat.read_usage(counts)
    openai_chat.read_meters(counts, answer)
    ticks = {"cost_in_usd_ticks": usage.get("costInUsdTicks")}
    answer.reported_cost_usd = openai_chat.reported_cost(ticks) or answer.reported_cost_usd
    tools = Counter(
        text(each).removeprefix("SERVER_SIDE_TOOL_")
        for each in usage.get("serverSideToolsUsed", ())
    )
    uses: Counter[str] = Counter()
    for tool, times in tools.items():
        if tool in _TOOLS:
            uses[_TOOLS[tool]] += times
        elif tool not in _FREE_TOOLS:
            leave_unread(answer, f"usage.serverSideToolsUsed[{tool}]")
    for meter, times in uses.items():
        answer.billed(meter, times)


FORMAT = Format(
    name="xai_grpc",
    provider=XAI,
    paths=(
        Path(
            r"/xai_api\.Chat/(?:GetCompletion|CompactContext|(?P<stream>GetCompletionChunk))",
            "chat",
            example="/xai_api.Chat/GetCompletion",
        ),
        Path(
            r"/xai_api\.Chat/StartDeferredCompletion",
            "chat",
            example="/xai_api.Chat/StartDeferredCompletion",
        ),
        Path(
            r"/xai_api\.Chat/GetDeferredCompletion/(?P<id>[^/]+)",
            "chat",
            example="/xai_api.Chat/GetDeferredCompletion/1",
            is_retrieval=True,
        ),
        Path(
            r"/xai_api\.Sample/(?:SampleText|(?P<stream>SampleTextStreaming))",
            "text_completion",
            example="/xai_api.Sample/SampleText",
        ),
        Path(
            r"/xai_api\.(?:Image/GenerateImage|Video/(?:GenerateVideo|ExtendVideo))",
            "generate_content",
            example="/xai_api.Image/GenerateImage",
        ),
        Path(
            r"/xai_api\.Video/GetDeferredVideo/(?P<id>[^/]+)",
            "generate_content",
            example="/xai_api.Video/GetDeferredVideo/1",
            is_retrieval=True,
        ),
        Path(r"/xai_api\.Embedder/Embed", "embeddings", example="/xai_api.Embedder/Embed"),
    ),
    request=RequestKeys(
        model="model",
        stream="",
        user=("safetyIdentifier", "user"),
        call=frozenset({"model"}),
    ),
    estimate=NoEstimate("every chunk of a stream has the counts so far"),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((b'"usage"', b'"finishReason"')),
    reader=lambda: read,
    usage=UsageKeys(
        at=("usage", "response.usage"),
        read=(
            "promptTokens", "completionTokens", "totalTokens", "cachedPromptTextTokens",
            "promptImageTokens", "reasoningTokens", "numSourcesUsed",
            "costInUsdTicks",
        ),
        harmless={
            "promptTextTokens": "the input without its images, which are read",
            "serverSideToolsUsed": "names of tools: the reader counts each, or names it as unread",
        },
        beside={"serviceTier": "read as the tier"},
    ),
    read_headers=None,
    read_request=None,
)  # fmt: skip
