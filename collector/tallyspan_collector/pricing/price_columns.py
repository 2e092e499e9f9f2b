"""Costs of many calls at once, as array expressions over their counts.

What a `Price` works out for one call (`price.py`) is here a matrix of its integer factors, one row
a band, that the counts of all calls are multiplied with. The rule of whoever uses this: it may
refuse a call, which is then priced by itself, and never differs from `Price.cost`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tallyspan.usage import TOKEN_FIELDS
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import (
    INCONSISTENT_USAGE,
    MAX_COST_PICOUSD,
    UNKNOWN_USAGE,
    UNPRICED_UNIT,
    Unpriced,
    UnpricedReason,
)
from tallyspan_collector.pricing.match import Conditions
from tallyspan_collector.pricing.price import REQUESTS, Price, is_of_cache
from tallyspan_collector.pricing.timeline import Compiled

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Counts = Sequence[Integers | None]
"""Token counts in the order of `Usage`, a value a call, -1: unknown; None: unknown for all."""
KindKey = tuple[str, str, str, str, Conditions]
"""Provider, endpoint, model, service tier and conditions of a call."""

REASONS = ("", *(each.value for each in UnpricedReason))
"""Why a call has no cost, by number; 0: it has one."""
_REASON_AT = {reason: number for number, reason in enumerate(REASONS)}
_UNKNOWN, _INCONSISTENT, _UNIT = (
    _REASON_AT[each.reason.value] for each in (UNKNOWN_USAGE, INCONSISTENT_USAGE, UNPRICED_UNIT)
)
_AT = {name: number for number, name in enumerate(TOKEN_FIELDS)}
_INPUT, _OUTPUT, _READ, _WRITE, _HOUR, _READ_AUDIO, _REASONING = (
    _AT[name]
    for name in (
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "cache_read_audio_tokens",
        "reasoning_tokens",
    )
)
_PARTS = (
    (_HOUR, _WRITE),
    (_READ_AUDIO, _READ),
    *(
        (_AT[f"{whole}_{kind}_tokens"], _AT[f"{whole}_tokens"])
        for whole in ("input", "output")
        for kind in ("audio", "image")
    ),
)
_OF_CACHE = frozenset(at for name, at in _AT.items() if is_of_cache(name))
_WIDTH = len(TOKEN_FIELDS)
MAX_PRICES = 4_096
"""Prices whose factors are kept; then all are forgotten."""
MAX_STRETCHES = 4
"""Stretches of time of one kind of calls that a batch is priced in; calls of others are refused."""
_MAX_SUM = 1 << 62
_MAX_FACTOR = 1 << 60
_MAX_NS = 1 << 62
_REFUSED, _OPEN = -1, -2


@dataclass(slots=True)
class CostColumns:
    """Costs in pico-dollars, a value a call.

    `reason` is the number of why there is none (`REASONS`). `price` is the number of the price in
    `prices`: id, source and flags. `other` is the cost if what the flags doubt is decided the other
    way, `saved` what the cache saved; they count where `has_other` and `has_saved` are set.
    """

    cost: Integers
    input: Integers
    output: Integers
    reason: Integers
    price: Integers
    prices: Sequence[tuple[str, str, tuple[str, ...]]]
    other: Integers
    has_other: Booleans
    saved: Integers
    has_saved: Booleans


_NO_BAND = [0] * (2 * _WIDTH) + [0, 1, 0, 0]


@dataclass(slots=True)
class _Entry:
    """A price among the matrices: its first band, and what else its costs go by.

    `most` is how large a count may be, so that no sum can be too large for 64 bits.
    """

    price: Compiled | Unpriced
    first: int = 0
    above: Sequence[int] = ()
    reason: int = 0
    other: int = _OPEN
    most: int = _MAX_SUM
    exact: Price | None = None


@dataclass(slots=True)
class _Amounts:
    cost: Integers
    input: Integers
    output: Integers
    reason: Integers


@dataclass(slots=True)
class PriceColumns:
    """Prices by columns what a price book prices call by call; used by one thread."""

    book: PriceBook
    _entries: list[_Entry] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)
    _bands: list[list[int]] = field(default_factory=list)

    def costs(
        self,
        kinds: Sequence[KindKey],
        kind: Integers,
        start_ns: Integers,
        counts: Counts,
        give_way: Callable[[], None] = lambda: None,
    ) -> tuple[CostColumns, Booleans]:
        """Return the costs of calls, and which calls are refused: they are priced by themselves.

        `kind` is the place of each call's kind in `kinds`. The calls have no meters beside the
        counts of `Usage`, and their totals are explained. `give_way` is called between the steps.
        """
        if len(self._entries) >= MAX_PRICES:
            self._entries, self._numbers, self._bands = [], {}, []
        number = self._numbers_of(kinds, kind, start_ns)
        is_refused = number < 0
        number = np.maximum(number, 0)
        if not self._entries:  # every call was refused
            return _nothing(len(kind)), is_refused
        entries = self._entries
        matrix = np.array(self._bands or [_NO_BAND], np.int64)
        most = np.array([each.most for each in entries], np.int64)[number]
        for column in counts:
            if column is not None:
                is_refused |= column > most
        give_way()
        amounts = self._amounts(number, counts, matrix)
        give_way()
        is_priced = amounts.reason == 0
        used = _zero_or(counts[_READ], len(kind)) + _zero_or(counts[_WRITE], len(kind)) > 0
        has_saved = used & is_priced
        saved = np.zeros(len(kind), np.int64)
        if has_saved.any():
            plain = [
                None if each is None else np.zeros_like(each) if at in _OF_CACHE else each
                for at, each in enumerate(counts)
            ]
            without = self._amounts(number, plain, matrix)
            has_saved &= without.reason == 0
            saved = np.where(has_saved, without.cost - amounts.cost, 0)
        give_way()
        others = np.array([each.other for each in entries], np.int64)[number]
        has_other = is_priced & (others != _OPEN)
        other = np.zeros(len(kind), np.int64)
        if has_other.any():
            is_refused |= has_other & (others == _REFUSED)
            instead = self._amounts(np.maximum(others, 0), counts, matrix)
            has_other &= instead.reason == 0
            other = np.where(has_other, instead.cost, 0)
        prices = [_named(each.price) for each in entries]
        return (
            CostColumns(
                amounts.cost,
                amounts.input,
                amounts.output,
                amounts.reason,
                number,
                prices,
                other,
                has_other,
                saved,
                has_saved,
            ),
            is_refused,
        )

    def _numbers_of(self, kinds: Sequence[KindKey], kind: Integers, start_ns: Integers) -> Integers:
        """Return the number of each call's price, below 0: the call is refused."""
        number = np.full(len(kind), _OPEN, np.int64)
        if self.book.file.commitments:
            return number  # which of several pays is a question for one call at a time
        from_ns, to_ns, price = (np.zeros(len(kinds), np.int64) for _ in range(3))
        for _ in range(MAX_STRETCHES):
            open_ = np.nonzero(number == _OPEN)[0]
            if not len(open_):
                break
            numbers, firsts = np.unique(kind[open_], return_index=True)
            for at, row in zip(numbers.tolist(), open_[firsts].tolist(), strict=True):
                first, last, match = self.book.stretch(kinds[at], int(start_ns[row]))
                from_ns[at], to_ns[at] = max(first, -_MAX_NS), min(last, _MAX_NS)
                price[at] = self._number(match)
            of_kind = kind[open_]
            holds = (start_ns[open_] >= from_ns[of_kind]) & (start_ns[open_] < to_ns[of_kind])
            number[open_[holds]] = price[of_kind[holds]]
        return number

    def _number(self, price: Compiled | Unpriced) -> int:
        """Return the number of a price; `_REFUSED`: its costs are no sums of whole factors."""
        number = self._numbers.get(id(price))
        if number is None:
            number = self._added(price)
            self._numbers[id(price)] = number
        return number

    def _added(self, price: Compiled | Unpriced) -> int:
        entry = _Entry(price)
        if isinstance(price, Unpriced):
            entry.reason = _REASON_AT[price.reason.value]
        else:
            rows = _rows(price)
            if rows is None or not isinstance(price, Price):
                self._entries.append(entry)  # kept, so that no other price gets its id
                return _REFUSED
            entry.above = [band.above for band in price.bands[1:]]
            largest = max(abs(factor) for row in rows for factor in row[: 2 * _WIDTH])
            entry.most = _MAX_SUM // (max(largest, 1) * 2 * _WIDTH)
            entry.exact = None if price.is_plain else price
            if price.flags and price.other is not None:
                other = price.other
                entry.other = self._number(other) if isinstance(other, Price) else _REFUSED
                if entry.other != _REFUSED:
                    entry.most = min(entry.most, self._entries[entry.other].most)
            entry.first = len(self._bands)
            self._bands += rows
        self._entries.append(entry)
        return len(self._entries) - 1

    def _amounts(self, number: Integers, counts: Counts, matrix: Integers) -> _Amounts:
        rows = len(number)
        entries = self._entries
        prompt_tokens, answer_tokens = (_zero_or(counts[at], rows) for at in (_INPUT, _OUTPUT))
        band = np.array([each.first for each in entries], np.int64)[number]
        used = np.unique(number).tolist()
        for at in used:
            if entries[at].above:
                mine = number == at
                band[mine] += np.searchsorted(entries[at].above, prompt_tokens[mine], side="left")
        prompt, answer = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        for amount, first in ((prompt, 0), (answer, _WIDTH)):
            for at, column in enumerate(counts):
                factors = matrix[:, first + at]
                if column is not None and factors.any():
                    np.add(amount, np.maximum(column, 0) * factors[band], out=amount)
        beside, scale, has_input, has_output = matrix[:, 2 * _WIDTH :].T
        reason = np.array([each.reason for each in entries], np.int64)[number]
        lacks = (prompt_tokens > 0) & (has_input[band] == 0)
        lacks |= (answer_tokens > 0) & (has_output[band] == 0)
        input_tokens = counts[_INPUT]
        is_known = np.zeros(rows, bool) if input_tokens is None else input_tokens >= 0
        for number_of_reason, applies in (
            (_UNKNOWN, ~is_known),
            (_INCONSISTENT, _is_inconsistent(counts, rows)),
            (_INCONSISTENT, self._is_refused_exactly(used, number, counts)),
            (_UNIT, lacks),
        ):
            reason[applies & (reason == 0)] = number_of_reason
        cost = prompt + answer + beside[band]
        if (scale[band] != 1).any():
            by = scale[band]
            cost, prompt, answer = (_rounded(each, by) for each in (cost, prompt, answer))
        reason[(reason == 0) & (cost >= MAX_COST_PICOUSD)] = _INCONSISTENT
        return _Amounts(cost, prompt, answer, reason)

    def _is_refused_exactly(
        self, used: Sequence[int], number: Integers, counts: Counts
    ) -> Booleans:
        """Return which calls contradict their price's needs and limits."""
        rows = len(number)
        is_refused = np.zeros(rows, bool)
        for at in used:
            price = self._entries[at].exact
            if price is None:
                continue
            mine = number == at
            for need in price.needs:
                column = _column(counts, need.meter)
                lacks = mine if column is None else mine & (column < 0)
                for other in need.others:
                    lacks = lacks & (_zero_or(_column(counts, other), rows) > 0)
                is_refused |= lacks
            for form in price.limits:
                left = np.zeros(rows, np.int64)
                for name, factor in form:
                    left += int(factor) * _zero_or(_column(counts, name), rows)
                is_refused |= mine & (left < 0)
        return is_refused


def _rows(price: Compiled | Unpriced) -> list[list[int]] | None:
    """Return the factors of each band: of input, of output, beside, scale, has both; None: refused.

    A meter that is no field of `Usage` counts nothing, but for the request itself.
    """
    if not isinstance(price, Price):
        return None
    rows = []
    for band in price.bands:
        row = [0] * (2 * _WIDTH)
        for factors, first in ((band.input_factors, 0), (band.output_factors, _WIDTH)):
            for name, factor in factors:
                if name in _AT:
                    row[first + _AT[name]] = int(factor)
        beside = dict(band.other_factors).get(REQUESTS, 0) if not price.is_plain else 0
        row += [int(beside), price.scale, int(price.has_input), int(price.has_output)]
        if int(beside) != beside or max(map(abs, row)) >= _MAX_FACTOR:
            return None
        rows.append(row)
    return rows


def _named(price: Compiled | Unpriced) -> tuple[str, str, tuple[str, ...]]:
    if isinstance(price, Unpriced):
        return "", "", ()
    return price.price_id, price.source, price.flags


def _column(counts: Counts, meter: str) -> Integers | None:
    """Return the counts of a meter; None: calls with such a meter are not priced by columns."""
    at = _AT.get(meter)
    return None if at is None else counts[at]


def _zero_or(column: Integers | None, rows: int) -> Integers:
    return np.zeros(rows, np.int64) if column is None else np.maximum(column, 0)


def _is_inconsistent(counts: Counts, rows: int) -> Booleans:
    """Return which calls have a part that is larger than its whole, as `Price.cost` looks at it."""
    read, write = _zero_or(counts[_READ], rows), _zero_or(counts[_WRITE], rows)
    is_bad: Booleans = read + write > _zero_or(counts[_INPUT], rows)
    for part, whole in _PARTS:
        column = counts[part]
        if column is not None:
            is_bad |= column > _zero_or(counts[whole], rows)
    reasoning, output = counts[_REASONING], counts[_OUTPUT]
    if reasoning is not None:
        is_bad |= (reasoning > 0) & (True if output is None else output < 0)
    return is_bad


def _rounded(amount: Integers, scale: Integers) -> Integers:
    """Return amount / scale, half to even (`price.rounded`)."""
    whole, rest = np.divmod(amount, scale)
    up: Booleans = (2 * rest > scale) | ((2 * rest == scale) & (whole & 1 == 1))
    return whole + up


def _nothing(rows: int) -> CostColumns:
    zero, never = np.zeros(rows, np.int64), np.zeros(rows, bool)
    return CostColumns(zero, zero, zero, zero, zero, [("", "", ())], zero, never, zero, never)
