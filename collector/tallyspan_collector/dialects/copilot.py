"""GitHub Copilot: the CLI, the app, VS Code. A model call's span has what it was billed.

Since 2026-06-01 use is billed in AI credits of 0.01 USD; the span of a call has them in billionths.
The span of the agent around repeats the sum of its calls. Calls of the CLI's sub-agents may lack
them, and are without a price. Input includes the cache. Sources: microsoft/vscode,
extensions/copilot/docs/monitoring/agent_monitoring.md; GitHub docs, Copilot CLI command reference.
The CLI was run with keys of a user's own: 1.0.102.
"""

import re

from tallyspan_collector.dialects.otel_genai import extend
from tallyspan_collector.dialects.providers import provider
from tallyspan_collector.dialects.table import Attributes
from tallyspan_collector.read.call import Draft, Flag

PICOUSD_OF_NANO_CREDIT = 10
"""0.01 USD are 10^9 of them."""


_OF_GITHUB = re.compile(r"(?:^|\.)(?:github(?:copilot|usercontent)?\.com|ghe\.com)$")


def _seller(draft: Draft, _: Attributes) -> None:
    """Name who bills: Copilot, unless the user's own key at a provider was used.

    The CLI calls any server that speaks like OpenAI `github`: then its host tells.
    """
    if draft["provider_name"] not in {"", "github"}:
        return
    host = draft["server_address"]
    if draft["reported_cost_picousd"] is not None or not host or _OF_GITHUB.search(host):
        draft["provider_name"] = "github-copilot"
        return
    model = draft["response_model"] or draft["request_model"]
    draft["provider_name"], is_inferred = provider("", host, model)
    if is_inferred:
        draft["quality_flags"] = (*draft["quality_flags"], Flag.PROVIDER_INFERRED)


DIALECT = extend(
    name="copilot",
    scopes=("copilot-chat*", "github.copilot*", "github-copilot*"),
    services=("copilot-chat", "github-copilot"),
    keys=("github.copilot.*", "copilot_chat.*"),
    wrappers=frozenset({"execute_hook", "permission"}),
    texts={
        "user_id": ("user.email", "user.name", "user.id"),
        "conversation_id": (
            "gen_ai.conversation.id", "copilot_chat.chat_session_id", "copilot_chat.session_id",
        ),
    },
    reported_cost={
        "github.copilot.nano_aiu": PICOUSD_OF_NANO_CREDIT,
        "copilot_chat.copilot_usage_nano_aiu": PICOUSD_OF_NANO_CREDIT,
    },
    runs_its_agents=True,
    refine=_seller,
    trust=3,
)  # fmt: skip
