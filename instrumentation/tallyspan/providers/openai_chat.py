"""OpenAI Chat Completions and legacy Completions, and everything that speaks like them.

`usage.prompt_tokens` includes cached and written tokens, `completion_tokens` includes reasoning.
A stream has usage in its last event, and only if the request set `stream_options.include_usage`
(others always send it); it may repeat growing values, so the last one said wins.
"""

import re

from tallyspan.answer import Answer, Json, Part, count, failure, items, mapping, text, total
from tallyspan.framing import Interest, spelled, spelled_oddly
from tallyspan.usage import Usage

INTEREST = Interest(
    (b'"error"', *spelled("finish_reason", '"')),
    b'_tokens"',
    re.compile(rb'_tokens"\s*:\s*"?[0-9]'),
    spelled_oddly("finish_reason"),
)
"""`usage`, Groq's `x_groq.usage` and whoever states growing values have these keys in common."""


def read(body: Json, answer: Answer) -> None:
    """Take what a chat completion, or one chunk of a stream, says."""
    answer.identify(body)
    answer.service_tier = text(body.get("service_tier")) or answer.service_tier
    for choice in items(body.get("choices")):
        answer.finished(choice.get("finish_reason"))
    usage = mapping(body.get("usage"))
    if not usage and "chunk" in text(body.get("object")):
        # Groq's own place in streams; in a JSON answer x_groq.usage is about memory, not tokens.
        usage = mapping(mapping(body.get("x_groq")).get("usage"))
    if usage:
        answer.usage = read_usage(usage) or answer.usage
        _share_out(body, answer)
        answer.service_tier = text(usage.get("service_tier")) or answer.service_tier
        answer.reported_cost_usd = reported_cost(usage) or answer.reported_cost_usd
    elif answer.usage is None:
        answer.usage = _timed(mapping(body.get("timings")))
    answer.billed("pages", mapping(body.get("usage_info")).get("pages_processed"))  # Mistral OCR
    answer.error_type = failure(body, "code", "type") or answer.error_type


def _share_out(body: Json, answer: Answer) -> None:
    """Give the models inside one of Groq's compound systems what each used; `usage` is the sum.

    Streams of 2025 state the sum for each of them: then nobody can tell, and it stays the system's.
    """
    said = body.get("usage_breakdown") or mapping(body.get("x_groq")).get("usage_breakdown")
    models = items(mapping(said).get("models"))
    if not models or answer.usage is None:
        return
    used = [(text(each.get("model")), read_usage(mapping(each.get("usage")))) for each in models]
    parts = [Part("compound", model, usage) for model, usage in used if usage is not None]
    given = total(*(part.usage.input_tokens for part in parts))
    made = total(*(part.usage.output_tokens for part in parts))
    if (given, made) == (answer.usage.input_tokens, answer.usage.output_tokens):
        answer.parts = parts
        answer.usage = Usage(input_tokens=0, output_tokens=0)


def _timed(timings: Json) -> Usage | None:
    """Return the counts that llama.cpp states with its timings, in streams without usage too."""
    found = Usage(
        input_tokens=total(count(timings.get("prompt_n")), count(timings.get("cache_n"))),
        output_tokens=count(timings.get("predicted_n")),
        cache_read_tokens=count(timings.get("cache_n")),
    )
    return found or None


def read_usage(usage: Json) -> Usage | None:
    """Return the counts of a `usage` object; None if it states none."""
    prompt = count(usage.get("prompt_tokens"))
    completion = count(usage.get("completion_tokens"))
    stated_total = count(usage.get("total_tokens"))
    # xAI and Gemini's compatible path leave thinking out of completion_tokens; only the total has
    # it. Voyage states nothing but the total.
    if prompt is None and completion is None:
        prompt = stated_total
    hidden = None
    if (
        stated_total is not None
        and prompt is not None
        and stated_total > prompt + (completion or 0)
    ):
        hidden = stated_total - prompt - (completion or 0)
        completion = stated_total - prompt
    prompt_details = mapping(usage.get("prompt_tokens_details"))
    completion_details = mapping(usage.get("completion_tokens_details"))
    found = Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_tokens=_first(
            prompt_details.get("cached_tokens"),
            usage.get("prompt_cache_hit_tokens"),  # DeepSeek
            usage.get("num_cached_tokens"),  # Mistral
            usage.get("cached_tokens"),  # Together
        ),
        cache_write_tokens=count(prompt_details.get("cache_write_tokens")),
        reasoning_tokens=_first(
            completion_details.get("reasoning_tokens"), usage.get("reasoning_tokens"), hidden
        ),
        input_audio_tokens=count(prompt_details.get("audio_tokens")),
        output_audio_tokens=count(completion_details.get("audio_tokens")),
        input_image_tokens=count(prompt_details.get("image_tokens")),
        output_image_tokens=count(completion_details.get("image_tokens")),
    )
    return found or None


def reported_cost(usage: Json) -> str:
    """Return the billed cost in USD as decimal text where the provider states it, else ''.

    OpenRouter: `usage.cost` in credits of one dollar. Perplexity: `usage.cost.total_cost`.
    xAI: `usage.cost_in_usd_ticks`, ten thousand million to the dollar. With a key of your own
    (`is_byok`) OpenRouter's figure is its fee only: the model's bill goes elsewhere.
    """
    ticks = count(usage.get("cost_in_usd_ticks"))
    if ticks is not None:
        return f"{ticks // 10**10}.{ticks % 10**10:010d}"
    cost = usage.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    if usage.get("is_byok") or isinstance(cost, bool) or not isinstance(cost, int | float):
        return ""
    return f"{cost:.12f}" if cost >= 0 else ""


def _first(*values: object) -> int | None:
    for value in values:
        said = count(value)
        if said is not None:
            return said
    return None
