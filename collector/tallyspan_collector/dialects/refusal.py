"""A refusal of Claude's before it generated anything: what that costs depends on who serves it.

No emitter reports it by that name: the reason why the answer ended tells, and that it has no
output. SDKs with one set of reasons for all providers call it a content filter; Anthropic's own API
has no other one. A count of 1, as AWS has it, is not taken for none.
"""

from tallyspan.usage import Usage
from tallyspan_collector.read.call import Draft

_REASONS = frozenset({"refusal", "content_filter", "content-filter"})
_PLAIN = "refusal"


def note_refusal(draft: Draft) -> None:
    """Set the condition of a draft that is one; a sender's own condition stays."""
    reason: str = draft["finish_reason"]
    if reason not in _REASONS or (reason != _PLAIN and draft["provider_name"] != "anthropic"):
        return
    usage: Usage = draft["usage"]
    if usage.output_tokens == 0:
        draft["conditions"] = {"refusal": "before_output", **draft["conditions"]}
