"""xAI's SDK for Python, which speaks gRPC and traces itself.

Input includes the cache, output is without the reasoning. What was billed is in ticks of 10^-10
USD. Source: xai-sdk 1.21.0, chat.py, image.py, video.py, cost.py; its usage.proto.
"""

from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.usage_object import PICOUSD_OF_TICK

DIALECT = extend(
    name="xai_sdk",
    scopes=("xai_sdk*",),
    tokens={
        "cache_read_tokens": ("gen_ai.usage.cached_prompt_text_tokens",),
        "input_image_tokens": ("gen_ai.usage.prompt_image_tokens",),
    },
    harmless={"gen_ai.usage.prompt_text_tokens": "the input without its images, which are read"},
    reported_cost={"gen_ai.usage.cost_in_usd_ticks": PICOUSD_OF_TICK},
    reasoning_outside=frozenset({""}),
    trust=2,
)
