"""What a dialect is: a table of attribute names, which spans are calls, and a token rule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.read.call import FIELDS, Draft

Attributes = Mapping[str, object]
Names = tuple[str, ...]
"""Names of attributes; the first one that has a value wins."""


class Basis(StrEnum):
    """Whether the input that an emitter reports includes the cache reads and writes.

    UNDECIDED: the emitter's rule is not documented; the counts decide, and where they cannot, the
    call is flagged.
    """

    INCLUSIVE = "inclusive"
    EXCLUSIVE = "exclusive"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Counted:
    """Token counts as an emitter reports them, by field of `Usage`, before any conversion.

    `is_settled`: input and output are totals already, so no token rule is applied.
    """

    counts: dict[str, int | None]
    total: int | None = None
    is_settled: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one emitter describes a call. Patterns end in `*` to match a prefix.

    Recognition: `scopes` and `services` (service.name) first, over all dialects, then `keys`.
    With `needs` one such key must be there besides the scope.

    Kind: the first attribute of `operation` decides (its text after `operation_after`), by `calls`
    (value -> operation name) and `wrappers`; `span_names` decide where no attribute does. A key of
    `wrapper_keys` or a provider of `wrapper_providers` makes it a wrapper whatever else it has.

    Data: `texts` field of `Call` -> names; `tokens` field of `Usage` -> names; `total` the
    emitter's sum; `added` counts that are billed on top. A name `key#path` is a place within the
    JSON (or Python literal) that an attribute holds. `tags` are prefixes of free tags, `units` of
    what is billed beside tokens. `claimed_cost` is the emitter's own cost in USD; `reported_cost`
    what the provider itself bills, by name with the pico-dollars of one unit of it; `cache_hit`
    names of "a gateway answered from its cache".

    `usage` are patterns of the names that hold usage (`*` for any text, `key#path` for places in
    a blob). What is there, has a value and is read by nothing is unread, but for the patterns of
    `harmless`: each with the reason why no cost depends on it.

    `basis` by provider ("" the rest); `is_reasoning_outside` if output is without reasoning.
    `count` replaces `tokens` where usage is no flat list, and reads the patterns of `counted`;
    `refine` changes a call's draft where no
    table can describe it. `runs_its_agents`: an agent's calls are always reported, so its sum is
    never charged. `trust` orders reports of one call: the tokens of the lowest are taken.
    Raises `ValueError` for a field that `Call` or `Usage` does not have.
    """

    name: str
    scopes: Names = ()
    services: Names = ()
    keys: Names = ()
    needs: Names = ()
    operation: Names = ()
    operation_after: str = ""
    span_names: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, str] = field(default_factory=dict)
    wrappers: frozenset[str] = frozenset()
    wrapper_keys: Names = ()
    wrapper_providers: frozenset[str] = frozenset()
    texts: Mapping[str, Names] = field(default_factory=dict)
    tokens: Mapping[str, Names] = field(default_factory=dict)
    total: Names = ()
    added: Mapping[str, Names] = field(default_factory=dict)
    tags: Names = ()
    units: Names = ()
    claimed_cost: Names = ()
    reported_cost: Mapping[str, int] = field(default_factory=dict)
    usage: Names = ()
    harmless: Mapping[str, str] = field(default_factory=dict)
    cache_hit: Names = ()
    runs_its_agents: bool = False
    basis: Mapping[str, Basis] = field(default_factory=dict)
    is_reasoning_outside: bool = False
    count: Callable[[Attributes], Counted] | None = None
    counted: Names = ()
    refine: Callable[[Draft, Attributes], None] | None = None
    trust: int = 5

    def __post_init__(self) -> None:
        """Refuse a field that does not exist."""
        unknown = self.texts.keys() - set(FIELDS)
        unknown |= (self.tokens.keys() | self.added.keys()) - set(TOKEN_FIELDS)
        if unknown:
            raise ValueError(f"dialect {self.name}: unknown fields {sorted(unknown)}")


def matches(pattern: str, text: str) -> bool:
    """Whether the text is the pattern, or starts with it where the pattern ends in `*`."""
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern
