"""Which keys of a provider's usage a format reads, so that every other one is named, not dropped.

A provider may bill for something new any day. It then stands in the usage under a key that no rule
reads: the span says which, and the call is flagged. Only the path of a key is written, never its
value, and a key whose value is nothing (null, 0, false, empty) bills nothing and is left out.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tallyspan.answer import DECIMAL, MAX_TOKENS, Answer, Json, amount, count

MAX_UNREAD = 16
"""Paths named of one answer."""
MAX_PATH_CHARACTERS = 120
MAX_KEYS = 500
"""Keys of an object, and items of a list, that are looked at: a sender may make up any number."""
MAX_ORDINARY = 1000
"""Keys beside a format's usage that are remembered not to be about money."""
_MAX_DEPTH = 6
_TIER = "service_tier"
"""Beside the usage it is read as a text."""
_ODD = re.compile(r"[^A-Za-z0-9_.\[\]-]")
_OF_A_PRICE = re.compile(
    r"tier|geo(?:$|_)|region|billing|billed|billable|credit|cost|price|pricing|usage|speed"
    r"|tokens(?:$|_)|[tT]okenCount|token_count",
    re.IGNORECASE,
)
"""Keys beside the usage whose name is about money, its conditions, or tokens."""


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
    _tree: "_Tree" = field(init=False, repr=False)
    _places: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = field(init=False, repr=False)
    """Keys to an object, and those in it that have usage."""
    _ordinary: set[str] = field(init=False, repr=False)
    """Keys beside the usage that need no look: those named here, and those seen that are not about
    money."""

    def __post_init__(self) -> None:
        for path, reason in (*self.harmless.items(), *self.beside.items()):
            if not reason:
                raise ValueError(f"usage key {path!r}: say why it is harmless")
        tree = _tree(self.read, self.harmless)
        keys_at: dict[tuple[str, ...], tuple[str, ...]] = {}
        ordinary = set(self.beside)
        for at in self.at:
            outer, _, key = at.rpartition(".")
            place = tuple(filter(None, outer.split(".")))
            keys_at[place] = (*keys_at.get(place, ()), *filter(None, [key]))
            ordinary |= {key} if key else tree.keys()
        object.__setattr__(self, "_tree", tree)
        object.__setattr__(self, "_places", tuple(keys_at.items()))
        object.__setattr__(self, "_ordinary", ordinary)

    def name_unread(self, body: Json, answer: Answer) -> None:
        """Name in the answer what the body's usage has and nobody reads."""
        for outer, keys in self._places:
            holder: Any = body
            for name in outer:
                holder = holder.get(name) if isinstance(holder, dict) else None
            if isinstance(holder, dict):
                self._look_beside(holder, answer)
                for key in keys:
                    usage = holder.get(key)
                    if isinstance(usage, dict):
                        _name_unread(usage, self._tree, f"{key}.", answer)
                    elif usage and has_value(usage):
                        leave_unread(answer, key)

    def _look_beside(self, holder: Json, answer: Answer) -> None:
        ordinary = self._ordinary
        if not isinstance(holder.get(_TIER, ""), str | None):
            leave_unread(answer, _TIER)
        if holder.keys() <= ordinary:
            return  # as of all answers of a provider but the first
        for key in islice(holder, MAX_KEYS):
            if key in ordinary:
                continue
            if _OF_A_PRICE.search(key[:MAX_PATH_CHARACTERS]) is None:
                if len(ordinary) < MAX_ORDINARY and len(key) <= MAX_PATH_CHARACTERS:
                    ordinary.add(key)
            elif has_value(holder[key]):
                leave_unread(answer, key)


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


def _name_unread(usage: Json, tree: "_Tree", before: str, answer: Answer, depth: int = 0) -> None:
    for key, value in usage.items() if len(usage) <= MAX_KEYS else islice(usage.items(), MAX_KEYS):
        if not value:
            continue
        branch = tree.get(key, _UNKNOWN)
        # The usual case first: this is looked at for each count of each answer.
        if branch.is_read and value.__class__ is int and 0 < value < MAX_TOKENS:
            continue
        if branch.is_harmless:
            continue
        if branch.inner and isinstance(value, dict) and depth < _MAX_DEPTH:
            _name_unread(value, branch.inner, f"{before}{key}.", answer, depth + 1)
        elif branch.inner and isinstance(value, list) and depth < _MAX_DEPTH:
            for item in value[:MAX_KEYS]:
                if isinstance(item, dict):
                    _name_unread(item, branch.inner, f"{before}{key}[].", answer, depth + 1)
                elif has_value(item):
                    leave_unread(answer, f"{before}{key}[]")
        # A count that has become an object, and an object that has become a count, too.
        elif not (branch.is_read and branch.is_readable(value)) and has_value(value):
            leave_unread(answer, before + key)
    if len(usage) > MAX_KEYS:
        leave_unread(answer, f"{before}[more]")


def _is_count(value: object) -> bool:
    return count(value) is not None


def _is_amount(value: object) -> bool:
    is_text = isinstance(value, str) and DECIMAL.fullmatch(value) is not None
    return is_text or amount(value) is not None


def _is_plain(value: object) -> bool:
    """Whether a value can have been read as an amount or a name."""
    return isinstance(value, str) or _is_amount(value) or value is True


_KINDS: tuple[tuple[str, Callable[[object], bool]], ...] = (
    ("token", _is_count),
    ("cost", _is_amount),
)
"""What is in the name of a key -> whether a value can have been read, if it is a number at all."""


@dataclass(slots=True)
class _Branch:
    """What there is to do with a key, and with those inside it."""

    name: str = ""
    is_read: bool = False
    is_harmless: bool = False
    inner: "_Tree" = field(default_factory=dict)
    is_readable: Callable[[object], bool] = field(init=False)

    def __post_init__(self) -> None:
        low = self.name.lower()
        self.is_readable = next((check for word, check in _KINDS if word in low), _is_plain)


_Tree = dict[str, _Branch]
_UNKNOWN = _Branch()


def _tree(read: Iterable[str], harmless: Iterable[str]) -> _Tree:
    root = _Branch()
    for paths, are_read in ((read, True), (harmless, False)):
        for path in paths:
            branch = root
            for name in path.replace("[]", "").split("."):
                branch = branch.inner.setdefault(name, _Branch(name))
            branch.is_read |= are_read
            branch.is_harmless |= not are_read
    return root.inner
