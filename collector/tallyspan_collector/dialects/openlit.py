"""OpenLIT. Its Anthropic input, and its total, leave the cache out.

Source: openlit/openlit sdk/python, instrumentation/anthropic/utils.py.
"""

from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Basis

DIALECT = extend(
    name="openlit",
    scopes=("openlit*",),
    keys=("gen_ai.application_name", "gen_ai.sdk.version"),
    wrapper_providers=frozenset({"crewai", "langchain", "langgraph", "llamaindex", "haystack"}),
    texts={"user_id": ("user.id", "gen_ai.request.user"), "agent_name": ("gen_ai.agent.name",)},
    total=("gen_ai.usage.total_tokens", "gen_ai.client.token.usage"),
    basis={"": Basis.INCLUSIVE, "anthropic": Basis.EXCLUSIVE, "aws.bedrock": Basis.UNDECIDED},
    trust=4,
)
