"""What an answer says of a batch: that it was created, its sum, and its results, item by item.

A batch may have a hundred thousand results. They are gathered by what they have in common (model,
operation, conditions), and leave many in one span while the rest of the file still comes. A result
is known by the batch and by the name that the request has in it (`custom_id`), of which only a hash
is kept.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from tallyspan.usage import TOKEN_FIELDS, Usage

MAX_ITEMS = 200
"""Results in one span: some 12 kilobytes."""
MAX_GROUPS = 50
"""Groups that are gathered at a time; then the one that began first leaves."""
NOTHING = "-"
"""In a packed item: not stated."""
_PLAIN = re.compile(r"[!-~]{1,128}")


class Item(NamedTuple):
    """A result: `key` is the hash of its name, `created_s` seconds since 1970 or 0.

    `amounts` are tokens and other meters by name.
    """

    key: str
    created_s: int
    response_id: str
    amounts: Mapping[str, int | float]


class Kind(NamedTuple):
    """What results of one span have in common; `conditions` are pairs, sorted."""

    operation: str
    model: str
    conditions: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Group:
    """Results of one kind; `unread` are paths of their usage that no rule reads."""

    kind: Kind
    items: list[Item] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def packed(self) -> tuple[list[str], list[str]]:
        """Return the names of the amounts, and the items: key, time, id, amounts, with spaces."""
        names = list(dict.fromkeys(name for item in self.items for name in item.amounts))
        return names, [
            " ".join(
                (
                    item.key,
                    str(item.created_s or NOTHING),
                    item.response_id if _PLAIN.fullmatch(item.response_id) else NOTHING,
                    *(str(item.amounts.get(name, NOTHING)) for name in names),
                )
            )
            for item in self.items
        ]


def key_of(name: str) -> str:
    """Return the hash, 16 hex digits, by which a result is known in its batch."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def amounts_of(usage: Usage | None, meters: Mapping[str, int | float]) -> dict[str, int | float]:
    """Return tokens and meters by name, without those that are not stated."""
    counts = {} if usage is None else {name: getattr(usage, name) for name in TOKEN_FIELDS}
    return {name: count for name, count in counts.items() if count is not None} | dict(meters)


class Batch:
    """What one answer says of a batch.

    `id` is the batch's; empty: only the file is known that the results are in. `files` are those
    that it names; `model` is that of all its results, where these name none. `total` is what all
    its results used, where the provider states it and nothing is to come; `requests` how many
    there are in it. `each`: what a result bills where it does not say so itself, by meter and
    condition. `tier` is the one that results are billed at. `is_older`: it was created by another
    request, whatever this one looks like.
    """

    __slots__ = (
        "_full", "_groups", "each", "files", "id", "is_older", "model", "requests", "tier", "total",
    )  # fmt: skip

    def __init__(self, batch_id: str = "", tier: str = "batch", *, is_older: bool = False) -> None:
        self.id = batch_id
        self.tier = tier
        self.is_older = is_older
        self.each: dict[str, int | float | str] = {}
        self.model = ""
        self.files: tuple[str, ...] = ()
        self.total: Group | None = None
        self.requests = 0
        self._groups: dict[Kind, Group] = {}
        self._full: list[Group] = []

    @property
    def has_full(self) -> bool:
        """Whether there are results to be sent before the answer is over."""
        return bool(self._full)

    def add(self, kind: Kind, item: Item, unread: list[str]) -> None:
        """Take a result."""
        group = self._groups.get(kind)
        if group is None:
            if len(self._groups) >= MAX_GROUPS:
                self._full.append(self._groups.pop(next(iter(self._groups))))
            group = self._groups[kind] = Group(kind)
        group.items.append(item)
        group.unread += [path for path in unread if path not in group.unread]
        if len(group.items) >= MAX_ITEMS:
            self._full.append(self._groups.pop(kind))

    def take(self, *, is_over: bool) -> Iterator[Group]:
        """Yield the groups to be sent now, each once; all of them once the answer is over."""
        groups, self._full = self._full, []
        if is_over:
            groups += self._groups.values()
            self._groups = {}
        yield from groups
