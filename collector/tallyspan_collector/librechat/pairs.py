"""Halves of LibreChat's ledger -> the calls they are of."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from tallyspan_collector.librechat.transactions import KINDS, Half


@dataclass(frozen=True, slots=True)
class Pair:
    """A call as LibreChat's ledger has it; it is known by the `_id` of its prompt."""

    prompt: Half
    answer: Half

    @property
    def at(self) -> datetime:
        """Return when its prompt was written (UTC, whole seconds)."""
        return self.prompt.at

    @property
    def kind(self) -> str:
        """Return what spans call it in `call_kind`; empty: a call of the turn."""
        return self.prompt.context if self.prompt.context in KINDS else ""

    @property
    def group(self) -> tuple[str, str]:
        """Return turn and kind, which spans know too."""
        return self.prompt.message, self.kind

    @property
    def value_picousd(self) -> int | None:
        """Return what LibreChat charged for it; None: it does not say."""
        values = (self.prompt.value_picousd, self.answer.value_picousd)
        return None if None in values else sum(value or 0 for value in values)


def paired(halves: Iterable[Half]) -> tuple[list[Pair], list[Half]]:
    """Return the calls in order of their prompts, and halves whose other half is not there.

    A process writes both halves of a call at once, with numbers that follow each other: that
    decides. What is left is paired by what both have in common, the first with the first.
    """
    in_order = sorted(halves, key=lambda half: half.id)
    by_id = {half.id: half for half in in_order if half.side == "completion"}
    pairs: list[Pair] = []
    rest: dict[tuple[str, ...], tuple[deque[Half], deque[Half]]] = defaultdict(
        lambda: (deque(), deque())
    )
    taken: set[str] = set()
    for half in in_order:
        if half.side == "prompt":
            answer = by_id.get(_next(half.id))
            if answer is not None and answer.key == half.key:
                pairs.append(Pair(half, answer))
                taken |= {half.id, answer.id}
    for half in in_order:
        if half.id not in taken:
            rest[half.key][half.side == "completion"].append(half)
    orphans: list[Half] = []
    for prompts, answers in rest.values():
        while prompts and answers:
            pairs.append(Pair(prompts.popleft(), answers.popleft()))
        orphans += [*prompts, *answers]
    return sorted(pairs, key=lambda pair: pair.prompt.id), sorted(orphans, key=lambda x: x.id)


def groups_of(pairs: Sequence[Pair]) -> dict[tuple[str, str], list[Pair]]:
    """Return the calls by turn and kind."""
    groups: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.group].append(pair)
    return groups


def turns_in(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Yield the calls of each turn and kind together; without a message each call by itself."""
    for (message, _), calls in groups_of(pairs).items():
        if message:
            yield calls
        else:
            yield from ([call] for call in calls)


def _next(number: str) -> str:
    """Return the `_id` that a process makes after this one within the same second.

    The last three bytes count up; what comes before them is the second and the process.
    """
    counter = (int(number[18:], 16) + 1) & 0xFFFFFF
    return f"{number[:18]}{counter:06x}"
