"""OpenLIT. Input of Anthropic and Bedrock is without the cache, output of Google without thoughts.

Its total is its own sum of the two, so it proves nothing and is not read. Source: openlit/openlit
1.45.0, instrumentation/{anthropic,bedrock,google_ai_studio}/utils.py.
"""

from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.table import Basis

DIALECT = extend(
    name="openlit",
    scopes=("openlit*",),
    keys=("gen_ai.application_name", "gen_ai.sdk.version"),
    wrapper_providers=frozenset({"crewai", "langchain", "langgraph", "llamaindex", "haystack"}),
    texts={"user_id": ("user.id", "gen_ai.request.user"), "agent_name": ("gen_ai.agent.name",)},
    total=(),
    basis={"": Basis.INCLUSIVE, "anthropic": Basis.EXCLUSIVE, "aws.bedrock": Basis.EXCLUSIVE},
    reasoning_outside=frozenset({"gcp.gemini", "gcp.vertex_ai"}),
    trust=4,
)
