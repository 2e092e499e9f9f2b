"""What the price of a call depends on beside its model, its tier and its time: a line each.

Formats and dialects take the value from an answer, a request or a host; an administrator can set
one that nobody reports (`conditions` in `models_pricing.yaml`). Price files name conditions by
these names. A new condition is a line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

PREFIX = "tallyspan.condition."


class Unknown(StrEnum):
    """What becomes of a call with a value that no price knows."""

    UNPRICED = "unpriced"
    """It has no price: taking the standard one would be a guess."""
    FLAGGED = "flagged"
    """It has the standard price, and a flag."""
    STANDARD = "standard"
    """The standard price is right wherever no other one is known."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A fact that a price may depend on; values are in lower case.

    `standard`: values that mean the price without the condition. `unknown`: what becomes of a call
    with another value that no price names. `apart`: beginnings of values that nowhere have the
    standard price. `is_of_answer`: it is about this answer alone, and not about model calls inside
    it. `is_of_collector`: worked out there, and not taken from a sender.
    """

    name: str
    comment: str
    standard: frozenset[str] = frozenset()
    unknown: Unknown = Unknown.UNPRICED
    is_of_answer: bool = False
    apart: tuple[str, ...] = ()
    is_of_collector: bool = False

    def unknown_of(self, value: str) -> Unknown:
        """Return what becomes of a call with the value, if no price names it."""
        if value in self.standard:
            return Unknown.STANDARD
        return Unknown.UNPRICED if value.startswith(self.apart) else self.unknown

    @property
    def attribute(self) -> str:
        """Return the span attribute that has the value."""
        return PREFIX + self.name


REGION = Condition("region", "Region that served the call, from its host or path",
                   frozenset({"global"}), Unknown.STANDARD, apart=("us-gov-", "cn-"))  # fmt: skip
ALLOWANCE = Condition("allowance", "Whose free allowance the call took something of (the collector says)",
                      unknown=Unknown.STANDARD, is_of_answer=True, is_of_collector=True)  # fmt: skip
COMMITMENT = Condition("commitment", "Commitment that pays for the call (the collector says)",
                       unknown=Unknown.STANDARD, is_of_answer=True, is_of_collector=True)  # fmt: skip
CONDITIONS: tuple[Condition, ...] = (
    Condition("geo", "Where the answer was worked out, as it says itself (Anthropic: inference_geo)",
              frozenset({"global", "not_available"})),
    REGION,
    ALLOWANCE,
    COMMITMENT,
    Condition("deployment", "Kind of an Azure deployment: global, data-zone or regional",
              frozenset({"global"})),
    Condition("refusal", "before_output: the model declined and generated nothing",
              unknown=Unknown.FLAGGED, is_of_answer=True),
    Condition("fallback_credit", "redeemed: a retry on another model, billed as if it had run there before",
              frozenset({"none", "not_applied", "not_redeemed", "not_available", "not_eligible", "unavailable"}),
              Unknown.FLAGGED, is_of_answer=True),
    Condition("resolution", "Size of a generated video, as the request has it",
              frozenset({"720p", "1280x720", "720x1280"}), Unknown.FLAGGED),
    Condition("picture", "Size and quality of a picture billed apiece, as the request has them",
              frozenset({"1024x1024", "1024x1024 auto", "1024x1024 standard"}), Unknown.FLAGGED),
    Condition("sound", "silent: a video was generated without sound", unknown=Unknown.FLAGGED),
    Condition("search_context", "How much a search puts before the model: low, medium or high",
              frozenset({"medium"}), Unknown.FLAGGED),
)  # fmt: skip

BY_NAME: Mapping[str, Condition] = MappingProxyType({each.name: each for each in CONDITIONS})
SHARED_ATTRIBUTES = frozenset(each.attribute for each in CONDITIONS if not each.is_of_answer)
"""Attributes that model calls inside an answer have in common with it."""

if len(CONDITIONS) != len(BY_NAME):
    raise ValueError("two conditions have the same name")
