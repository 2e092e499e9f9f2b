"""Which keys of a provider's usage a format reads, so that every other one is named, not dropped.

A provider may bill for something new any day. It then stands in the usage under a key that no rule
reads: the span says which, and the call is flagged. Only the path of a key is written, never its
value, and a key whose value is nothing (null, 0, false, empty) bills nothing and is left out.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tallyspan.answer import Answer, Json

MAX_UNREAD = 16
"""Paths named of one answer."""
MAX_PATH_CHARACTERS = 120
MAX_KEYS = 500
"""Keys of an object that are looked at: a sender may make up any number."""
_MAX_DEPTH = 6
_ODD = re.compile(r"[^A-Za-z0-9_.\[\]-]")
_OF_A_PRICE = re.compile(
    r"tier|geo(?:$|_)|region|billing|billed|credit|cost|price|usage|speed", re.IGNORECASE
)
"""Keys beside the usage whose name is about money or its conditions."""
_EVERYTHING = "*"
_Tree = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UsageKeys:
    """The keys of a format's usage, as paths: `a.b` inside another, `a[].b` in a list's items.

    `at`: where usage stands in an answer or event. `read`: paths in it that the reader reads.
    `harmless`: those that bill nothing -> why not; `a.*` is everything in `a`. `beside`: keys next
    to the usage that are about prices, and are read or harmless -> how or why. Raises `ValueError`
    for a reason that is empty.
    """

    at: tuple[str, ...]
    read: tuple[str, ...]
    harmless: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)
    _tree: _Tree = field(init=False, repr=False)
    _places: tuple[tuple[tuple[str, ...], str], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for path, reason in (*self.harmless.items(), *self.beside.items()):
            if not reason:
                raise ValueError(f"usage key {path!r}: say why it is harmless")
        object.__setattr__(self, "_tree", _tree((*self.read, *self.harmless)))
        places = tuple((tuple(at.split(".")[:-1]), at.split(".")[-1]) for at in self.at)
        object.__setattr__(self, "_places", places)

    def name_unread(self, body: Json, answer: Answer) -> None:
        """Name in the answer what the body's usage has and nobody reads."""
        for holders, key in self._places:
            holder: Any = body
            for name in holders:
                holder = holder.get(name) if isinstance(holder, dict) else None
            if not isinstance(holder, dict):
                continue
            usage = holder.get(key)
            if isinstance(usage, dict):
                for path in _unread(usage, self._tree, 0):
                    leave_unread(answer, f"{key}.{path}")
                self._look_beside(holder, key, answer)

    def _look_beside(self, holder: Json, usage_key: str, answer: Answer) -> None:
        for count, (key, value) in enumerate(holder.items()):
            if count >= MAX_KEYS:
                return
            if (
                key not in self.beside
                and key != usage_key
                and _OF_A_PRICE.search(key)
                and not any(key == name for _, name in self._places)
                and has_value(value)
            ):
                leave_unread(answer, key)


def leave_unread(answer: Answer, path: str) -> None:
    """Name a path in the answer, once; characters that no key has are replaced."""
    plain = _ODD.sub("?", path[:MAX_PATH_CHARACTERS])
    if plain not in answer.unread and len(answer.unread) < MAX_UNREAD:
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
        inner = tree.get(key)
        if inner is None:
            if has_value(value):
                yield key
        elif inner and _EVERYTHING not in inner:
            if isinstance(value, dict):
                if depth < _MAX_DEPTH:
                    yield from (f"{key}.{path}" for path in _unread(value, inner, depth + 1))
            elif isinstance(value, list):
                for item in value[:MAX_KEYS]:
                    if isinstance(item, dict) and depth < _MAX_DEPTH:
                        yield from (f"{key}[].{path}" for path in _unread(item, inner, depth + 1))


def _tree(paths: tuple[str, ...]) -> _Tree:
    tree: _Tree = {}
    for path in paths:
        branch = tree
        for name in path.replace("[]", "").split("."):
            branch = branch.setdefault(name, {})
    return tree
