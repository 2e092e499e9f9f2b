"""Ollama: `eval_count` and its like at the root of the last object; JSON lines by default."""

from tallyspan.answer import Answer, Json, count, failure, text
from tallyspan.framing import Interest, spelled, spelled_oddly
from tallyspan.providers import Provider
from tallyspan.usage import Usage
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import USER_KEYS, Estimate, Format, Path, RequestKeys, texts_under


def read(body: Json, answer: Answer) -> None:
    """Take what an answer, or one line of a stream, says."""
    answer.model = answer.model or text(body.get("model"))
    answer.finished(body.get("done_reason"))
    answer.error_type = failure(body) or answer.error_type
    counts = Usage(
        input_tokens=count(body.get("prompt_eval_count")),
        output_tokens=count(body.get("eval_count")),
        cache_read_tokens=count(body.get("prompt_eval_cached_count")),
    )
    answer.usage = counts or answer.usage


FORMAT = Format(
    name="ollama",
    provider=Provider("ollama", (r"^ollama\.com",), port=11434),
    paths=(
        Path("/api/chat", "chat"),
        Path("/api/generate", "text_completion"),
        Path("/api/embed(?:dings)?", "embeddings", example="/api/embeddings"),
    ),
    request=RequestKeys(
        model="model",
        stream="stream",
        user=USER_KEYS,
        call=frozenset({"messages", "prompt", "input"}),
    ),
    estimate=Estimate(
        prompt=("messages", "input", "prompt"),
        system=("system",),
        answer=texts_under("message", "response"),
    ),
    usage_option=None,
    opens_with_usage=False,
    interest=Interest((*spelled("done", "true"), b'"error"'), odd_needles=spelled_oddly("done")),
    reader=lambda: read,
    usage=UsageKeys(
        at=(".",),
        read=("prompt_eval_count", "eval_count", "prompt_eval_cached_count"),
    ),
    read_headers=None,
    read_request=None,
)
