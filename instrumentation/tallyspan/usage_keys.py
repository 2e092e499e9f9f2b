"""Which keys of a provider's usage a format reads, so that every other one is named, not dropped.

A provider may bill for something new any day. It then stands in the usage under a key that no rule
reads: the span says which, and the call is flagged. Only the path of a key is written, never its
value, and a key whose value is nothing (null, 0, false, empty) bills nothing and is left out.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tallyspan.answer import MAX_TOKENS, Answer, Json

MAX_UNREAD = 16
"""Paths named of one answer."""
MAX_PATH_CHARACTERS = 120
MAX_KEYS = 500
"""Keys of an object, and items of a list, that are looked at: a sender may make up any number."""
_MAX_DEPTH = 6
_ODD = re.compile(r"[^A-Za-z0-9_.\[\]-]")
_OF_A_PRICE = re.compile(
    r"tier|geo(?:$|_)|region|billing|billed|billable|credit|cost|price|pricing|usage|speed"
    r"|tokens(?:$|_)|[tT]okenCount|token_count",
    re.IGNORECASE,
)
"""Keys beside the usage whose name is about money, its conditions, or tokens."""
_ANYTHING = "*"
_ITSELF = frozenset({""})
_Tree = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UsageKeys:
    """The keys of a format's usage, as paths: `a.b` inside another, `a[].b` in a list's items.

    `at`: where usage stands in an answer or event; `a.` is an object that has its counts among
    other keys, and "." the whole answer. `read`: paths in the usage that the reader reads.
    `harmless`: those that bill nothing, with all that is inside them -> why not. `beside`: keys
    next to the usage that are about prices, and are read or harmless -> how or why. Raises
    `ValueError` for a reason that is empty.
    """

    at: tuple[str, ...]
    read: tuple[str, ...]
    harmless: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)
    _tree: _Tree = field(init=False, repr=False)
    _places: tuple[tuple[tuple[str, ...], str], ...] = field(init=False, repr=False)
    _ordinary: frozenset[str] = field(init=False, repr=False)
    """Keys beside the usage that need no look."""

    def __post_init__(self) -> None:
        for path, reason in (*self.harmless.items(), *self.beside.items()):
            if not reason:
                raise ValueError(f"usage key {path!r}: say why it is harmless")
        anything = (f"{path}.{_ANYTHING}" for path in self.harmless)
        object.__setattr__(self, "_tree", _tree((*self.read, *anything)))
        places = (at.rpartition(".") for at in self.at)
        object.__setattr__(
            self,
            "_places",
            tuple((tuple(filter(None, outer.split("."))), key) for outer, _, key in places),
        )
        beside = {*self.beside, *(key for _, key in self._places)}
        if any(not key for _, key in self._places):
            beside |= {path.partition(".")[0].removesuffix("[]") for path in self.read}
            beside |= self.harmless.keys()
        object.__setattr__(self, "_ordinary", frozenset(beside))

    def name_unread(self, body: Json, answer: Answer) -> None:
        """Name in the answer what the body's usage has and nobody reads."""
        seen: list[Json] = []
        for holders, key in self._places:
            holder: Any = body
            for name in holders:
                holder = holder.get(name) if isinstance(holder, dict) else None
            if not isinstance(holder, dict):
                continue
            if not any(holder is each for each in seen):
                seen.append(holder)
                self._look_beside(holder, answer)
            usage = holder.get(key) if key else None
            if isinstance(usage, dict):
                for path in _unread(usage, self._tree, 0):
                    leave_unread(answer, f"{key}.{path}")

    def _look_beside(self, holder: Json, answer: Answer) -> None:
        ordinary = self._ordinary
        for count, (key, value) in enumerate(holder.items()):
            if count >= MAX_KEYS:
                return
            if (
                value
                and key not in ordinary
                and _is_of_a_price(key[:MAX_PATH_CHARACTERS])
                and has_value(value)
            ):
                leave_unread(answer, key)


@lru_cache(maxsize=1024)
def _is_of_a_price(key: str) -> bool:
    return _OF_A_PRICE.search(key) is not None


def leave_unread(answer: Answer, path: str) -> None:
    """Name a path in the answer, once; characters that no key has are replaced."""
    if len(answer.unread) < MAX_UNREAD:
        plain = _ODD.sub("?", path[:MAX_PATH_CHARACTERS])
        if plain not in answer.unread:
            answer.unread.append(plain)


def has_value(value: object, depth: int = 0) -> bool:
    """Whether a value, or one inside it, is anything but null, 0, false and empty."""
    if depth < _MAX_DEPTH:
        if isinstance(value, dict):
            return any(has_value(each, depth + 1) for each in value.values())
        if isinstance(value, list):
            return any(has_value(each, depth + 1) for each in value)
    return bool(value)


def _unread(usage: Json, tree: _Tree, depth: int) -> Iterator[str]:
    for count, (key, value) in enumerate(usage.items()):
        if count >= MAX_KEYS:
            yield "[more]"
            return
        branch = tree.get(key, {})
        if not value or _ANYTHING in branch:
            continue
        if isinstance(value, dict) and branch.keys() - _ITSELF and depth < _MAX_DEPTH:
            yield from (f"{key}.{path}" for path in _unread(value, branch, depth + 1))
        elif isinstance(value, list) and branch.keys() - _ITSELF and depth < _MAX_DEPTH:
            yield from _unread_of_list(key, value, branch, depth)
        # A count that has become an object, and an object that has become a count, too.
        elif not (branch.keys() >= _ITSELF and _is_plain(value)) and has_value(value):
            yield key


def _unread_of_list(key: str, values: list[Any], tree: _Tree, depth: int) -> Iterator[str]:
    for value in values[:MAX_KEYS]:
        if isinstance(value, dict):
            yield from (f"{key}[].{path}" for path in _unread(value, tree, depth + 1))
        elif has_value(value):
            yield f"{key}[]"
    if len(values) > MAX_KEYS:
        yield f"{key}[more]"


def _is_plain(value: object) -> bool:
    """Whether a value can have been read as a count, an amount or a name."""
    if isinstance(value, int | float):
        return 0 <= value < MAX_TOKENS
    return isinstance(value, str)


def _tree(paths: tuple[str, ...]) -> _Tree:
    """Return the paths as branches by key; one that is read itself has the key of `_ITSELF`."""
    tree: _Tree = {}
    for path in paths:
        branch = tree
        for name in path.replace("[]", "").split("."):
            branch = branch.setdefault(name, {})
        branch.update(dict.fromkeys(_ITSELF))
    return tree
