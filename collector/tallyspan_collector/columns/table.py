"""The spans of a batch as one table: columns of all parts, brought into the one token convention.

What `convention.settle` does with the counts of one call is done here for all of them, as far as
the emitter's rule explains them; a row that needs another explanation is `odd`. `Table.call` is the
plain form of a row: whatever the columns say of a row that is not odd, it says too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallyspan.usage import TOKEN_FIELDS, Usage
from tallyspan_collector.columns.part import ID_BYTES, Part
from tallyspan_collector.columns.shapes import RULE_BITS, TOTAL, Sort
from tallyspan_collector.dialects import interpreter, values
from tallyspan_collector.dialects.convention import PARTS, settle
from tallyspan_collector.dialects.reading import Kind, Reading
from tallyspan_collector.read.call import Call, Flag
from tallyspan_collector.read.received import (
    AHEAD_NS,
    BEHIND_NS,
    FIRST_CALL_NS,
    NS_PER_MS,
    Receipt,
    as_received,
)

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Counts = list[Integers | None]
"""Token counts in the order of `Usage`; None: no row has the count; -1 in it: this row has not."""

FLAGS = (
    Flag.INPUT_BASIS_CORRECTED,
    Flag.INPUT_BASIS_ASSUMED,
    Flag.OUTPUT_BASIS_CORRECTED,
    Flag.CONTRADICTORY,
    Flag.INFERRED,
)
"""What the bits of `Table.flags` mean, from the lowest; they follow the flags of the row's sort."""
_CORRECTED, _ASSUMED, _OUTPUT_CORRECTED, _CONTRADICTORY, _INFERRED = (
    np.uint8(1 << at) for at in range(len(FLAGS))
)
_INPUT, _OUTPUT, _READ, _WRITE, _REASONING = (
    TOKEN_FIELDS.index(f"{name}_tokens")
    for name in ("input", "output", "cache_read", "cache_write", "reasoning")
)
_TAG = "tag:"


@dataclass(slots=True)
class Settled:
    """Counts in our convention. `is_odd`: the emitter's rule does not explain the row's total."""

    counts: Counts
    flags: Bytes
    is_odd: Booleans


@dataclass(slots=True)
class Table:
    """Calls, and the spans around them, a row each, in the order of the parts.

    `sort` is the number of a row's sort in `sorts`; a sort has all that is not here. `ids` has
    ID_BYTES columns. Times are nanoseconds since 1970, `request` numbers `receipts`. `counts` are
    settled, `counts_as_sent` and `total` (-1: none) not. `texts` by field of `Call`; what is
    missing there is in the sort. `tags`, `first_chunk_us` (-1: not known) and `claimed` are None
    where no row has one. `odd` rows are not what the columns say (an impossible clock, a call of
    another trace, counts that need a closer look): `call` has the truth of them.
    """

    rows: int
    sorts: list[Sort]
    sort: Integers
    is_call: Booleans
    ids: Bytes
    start: Integers
    end: Integers
    is_error: Booleans
    request: NDArray[np.int32]
    receipts: Sequence[Receipt]
    counts: Counts
    counts_as_sent: Counts
    total: Integers | None
    flags: Bytes
    texts: dict[str, list[str]]
    tags: list[dict[str, str]] | None
    first_chunk_us: Integers | None
    claimed: list[int | None] | None
    odd: Booleans

    def call(self, row: int) -> Call:
        """Return a row as the call that is read of its span alone."""
        sort = self.sorts[self.sort[row]]
        draft = sort.fields.copy()
        ids = self.ids[row].tobytes()
        draft["trace_id"], draft["span_id"] = ids[:16].hex(), ids[16:24].hex()
        draft["parent_span_id"] = ids[24:32].hex() if ids[32] else ""
        draft["start_time_ns"], draft["end_time_ns"] = int(self.start[row]), int(self.end[row])
        for name, column in self.texts.items():
            draft[name] = column[row]
        if self.tags is not None:
            draft["tags"] = self.tags[row]
        draft["is_error"] = bool(self.is_error[row])
        if self.first_chunk_us is not None and self.first_chunk_us[row] >= 0:
            draft["time_to_first_chunk_us"] = int(self.first_chunk_us[row])
        if self.claimed is not None:
            draft["claimed_cost_picousd"] = self.claimed[row]
        counts = [_count(column, row) for column in self.counts_as_sent]
        total = _count(self.total, row)
        flags = settle(counts, total, sort.rule, is_settled=sort.is_settled)
        draft["usage"] = Usage(*counts)
        if sort.fails_with_zeros:
            interpreter.forget_zeros(draft)
        if sort.is_inferred:
            flags = (*flags, Flag.INFERRED)
        draft["quality_flags"] = (*draft["quality_flags"], *flags)
        return as_received(draft, self.receipts[self.request[row]])

    def text(self, name: str, row: int) -> str:
        """Return a text of a row by the name of the field."""
        column = self.texts.get(name)
        text: str = self.sorts[self.sort[row]].fields[name] if column is None else column[row]
        return text

    def inheriting(self, sources: Mapping[tuple[str, ...], Integers]) -> "Table":
        """Return the table with texts of rows taken from other rows; -1: from none."""
        texts = dict(self.texts)
        for names, source in sources.items():
            rows = np.nonzero(source >= 0)[0]
            pairs = [*zip(rows.tolist(), source[rows].tolist(), strict=True)]
            for name in names:
                of_sorts = [sort.fields[name] for sort in self.sorts]
                own = self.texts.get(name) or [of_sorts[number] for number in self.sort.tolist()]
                column = texts[name] = [*own]
                for row, of in pairs:
                    column[row] = own[of]
        return replace(self, texts=texts)

    def reading(self, row: int) -> Reading:
        """Return a row as what is read of its span alone."""
        sort = self.sorts[self.sort[row]]
        return Reading(sort.kind, sort.fields["dialect"], sort.reason, self.call(row))


def _count(column: Integers | None, row: int) -> int | None:
    return None if column is None or column[row] < 0 else int(column[row])


def table(parts: Sequence[Part], receipts: Sequence[Receipt]) -> Table:
    """Return one table of the parts' rows; `receipts` by the number of the request."""
    sizes = [part.rows for part in parts]
    sorts = [sort for part in parts for sort in part.shape.sorts]
    starts = np.cumsum([0, *(len(part.shape.sorts) for part in parts)])
    sort = _joined((part.sorts for part in parts), np.int32)
    used, sort = in_use(sort + np.repeat(starts[:-1], sizes), len(sorts))
    sorts = [sorts[number] for number in used.tolist()]
    rules = _joined((part.shape.rules.tobytes() for part in parts), np.int32)[used]
    times = _joined((part.times for part in parts), np.int64).reshape(-1, 2)
    start, end = times[:, 0].copy(), times[:, 1].copy()
    request = _joined((part.requests for part in parts), np.int32)
    counts: Counts = [_counts(parts, at) for at in range(len(TOKEN_FIELDS))]
    total = _counts(parts, TOTAL)
    settled = settle_columns(counts, total, rules[sort])
    is_call = np.fromiter((each.kind is Kind.CALL for each in sorts), bool, len(sorts))
    is_inferred = np.fromiter((each.is_inferred for each in sorts), bool, len(sorts))
    settled.flags[is_inferred[sort]] |= _INFERRED
    texts = _texts(parts)
    received = np.fromiter((each.received_ms for each in receipts), np.int64, len(receipts))
    odd = settled.is_odd | _is_clock_off(start, end, received[request] * NS_PER_MS)
    if "same_call_id" in texts:
        odd |= np.fromiter(map(bool, texts["same_call_id"]), bool, len(odd))
    is_error = _joined((part.errors for part in parts), np.bool_)
    has_error_type = np.fromiter((bool(each.fields["error_type"]) for each in sorts), bool)
    is_error = is_error | has_error_type[sort]
    may_be_zeros = np.fromiter((each.fails_with_zeros for each in sorts), bool, len(sorts))
    odd |= is_error & may_be_zeros[sort]
    return Table(
        rows=sum(sizes),
        sorts=sorts,
        sort=sort,
        is_call=is_call[sort],
        ids=_joined((part.ids for part in parts), np.uint8).reshape(-1, ID_BYTES),
        start=start,
        end=end,
        is_error=is_error,
        request=request,
        receipts=receipts,
        counts=settled.counts,
        counts_as_sent=counts,
        total=total,
        flags=settled.flags,
        texts=texts,
        tags=_tags(parts),
        first_chunk_us=_first_chunk_us(parts),
        claimed=_claimed(parts),
        odd=odd,
    )


def in_use(numbers: NDArray[np.integer[Any]], size: int) -> tuple[Integers, Integers]:
    """Return which numbers below `size` are among those given, and those by their place there."""
    used = np.nonzero(np.bincount(numbers, minlength=size))[0]
    places = np.zeros(size, np.int64)
    places[used] = np.arange(len(used))
    return used, places[numbers]


def _joined(columns: Iterable[bytes], kind: Any) -> Any:
    return np.frombuffer(b"".join(columns), kind)


def _is_clock_off(start: Integers, end: Integers, received: Integers) -> Booleans:
    """Return where `as_received` flags or changes a call's time."""
    is_off: Booleans = (
        (start < FIRST_CALL_NS) | (end > received + AHEAD_NS) | (start < received - BEHIND_NS)
    )
    return is_off


def _counts(parts: Sequence[Part], at: int) -> Integers | None:
    if not any(at in part.shape.layout.counts for part in parts):
        return None
    columns: list[Integers] = []
    for part in parts:
        fields = part.shape.layout.counts
        if at in fields:
            columns.append(np.frombuffer(part.counts[fields.index(at)], np.int64))
        else:
            columns.append(np.full(part.rows, -1, np.int64))
    return np.concatenate(columns)


def _texts(parts: Sequence[Part]) -> dict[str, list[str]]:
    names = {name for part in parts for name in part.shape.layout.texts if _TAG not in name}
    return {name: _text(parts, name) for name in sorted(names)}


def _text(parts: Sequence[Part], name: str) -> list[str]:
    texts: list[str] = []
    for part in parts:
        own = [
            column
            for field, column in zip(part.shape.layout.texts, part.texts, strict=True)
            if field == name
        ]
        if not own:
            of_sorts = [sort.fields[name] for sort in part.shape.sorts]
            texts += [of_sorts[number] for number in memoryview(part.sorts).cast("i")]
        elif len(own) == 1:
            texts += own[0]
        else:
            texts += [next(filter(None, of_row), "") for of_row in zip(*own, strict=True)]
    return texts


def _tags(parts: Sequence[Part]) -> list[dict[str, str]] | None:
    if not any(name.startswith(_TAG) for part in parts for name in part.shape.layout.texts):
        return None
    tags: list[dict[str, str]] = []
    for part in parts:
        own = [
            (field.removeprefix(_TAG), column)
            for field, column in zip(part.shape.layout.texts, part.texts, strict=True)
            if field.startswith(_TAG)
        ]
        names = [name for name, _ in own]
        if not own:
            tags += [{} for _ in range(part.rows)]
        for of_row in zip(*(column for _, column in own), strict=True):
            tags.append(interpreter.tags_of(zip(names, of_row, strict=True)))
    return tags


def _first_chunk_us(parts: Sequence[Part]) -> Integers | None:
    if not any(part.shape.layout.has_seconds for part in parts):
        return None
    seconds = np.concatenate([
        np.frombuffer(part.seconds, np.float64)
        if part.shape.layout.has_seconds
        else np.full(part.rows, -1.0)
        for part in parts
    ])  # fmt: skip
    is_known = seconds >= 0
    seconds = np.where(is_known, seconds, 0.0)
    capped = np.minimum(seconds, values.MAX_SECONDS) * 1_000_000
    return np.where(is_known, capped.astype(np.int64), -1)


def _claimed(parts: Sequence[Part]) -> list[int | None] | None:
    if not any(part.amounts for part in parts):
        return None
    claimed: list[int | None] = []
    for part in parts:
        if not part.amounts:
            claimed += repeat(None, part.rows)
        for of_row in zip(*part.amounts, strict=True):
            amounts = map(values.picousd, of_row)
            claimed.append(next((each for each in amounts if each is not None), None))
    return claimed


def settle_columns(counts: Counts, total: Integers | None, rules: NDArray[np.int32]) -> Settled:
    """Return the counts of all rows in our convention, as `convention.settle` has them.

    `rules` are the rows' rules as `shapes.rule_bits` has them; `total` is -1 where there is none.
    No count is one that cannot be one. A row that the emitter's own rule does not explain is odd:
    its counts and flags mean nothing.
    """
    rows = len(rules)
    flags = np.zeros(rows, np.uint8)
    is_odd = np.zeros(rows, bool)
    columns = [*counts]
    zero = np.zeros(rows, np.int64)
    none = zero - 1
    rule = {name: (rules >> at & 1).astype(bool) for at, name in enumerate(RULE_BITS)}
    is_open = ~rule["is_settled"]

    def of(at: int) -> Integers:
        column = columns[at]
        return zero if column is None else np.maximum(column, 0)

    sent_input, sent_output = columns[_INPUT], columns[_OUTPUT]
    has_input = zero > 0 if sent_input is None else sent_input >= 0
    has_output = zero > 0 if sent_output is None else sent_output >= 0
    cache, reasoning = of(_READ) + of(_WRITE), of(_REASONING)
    inputs, outputs = of(_INPUT), of(_OUTPUT)
    by_total = is_open & has_input & ((none if total is None else total) > 0)
    by_rule = is_open & ~by_total

    own_input = inputs + np.where(rule["is_exclusive"], cache, 0)
    own_output = outputs + np.where(rule["is_reasoning_outside"], reasoning, 0)
    if total is not None:
        is_beside = rule["may_be_outside"] | rule["is_reasoning_outside"]
        is_whole = total == own_input + own_output
        is_without_cache = rule["is_exclusive"] & ~rule["is_total_whole"] & (
            total == own_input + own_output - cache
        )  # fmt: skip
        fits = (own_input >= cache) & (~is_beside | (own_output >= reasoning))
        is_odd = by_total & ~(fits & (is_whole | is_without_cache))
        is_assumed = is_whole & rule["is_undecided"] & (cache > 0) & ~rule["is_input_certain"]
        flags[by_total & is_assumed] |= _ASSUMED

    has_cache = by_rule & has_input & (cache > 0)
    is_shown = has_cache & ~rule["is_exclusive"] & (cache > inputs)
    flags[is_shown & ~rule["is_undecided"]] |= _CORRECTED
    flags[has_cache & ~is_shown & rule["is_undecided"] & ~rule["is_input_certain"]] |= _ASSUMED
    grows = (has_cache & rule["is_exclusive"]) | is_shown | by_total
    new_input = np.where(is_shown, inputs + cache, own_input)
    if sent_input is not None:
        columns[_INPUT] = np.where(grows, new_input, sent_input)

    has_reasoning = by_rule & has_output & (reasoning > 0)
    is_shown = has_reasoning & rule["may_be_outside"] & (reasoning > outputs)
    flags[is_shown & ~rule["is_reasoning_outside"]] |= _OUTPUT_CORRECTED
    grows = (has_reasoning & (rule["is_reasoning_outside"] | is_shown)) | (
        by_total & (has_output | (own_output > 0))
    )
    new_output = np.where(is_shown, outputs + reasoning, own_output)
    if sent_output is not None or grows.any():
        columns[_OUTPUT] = np.where(grows, new_output, none if sent_output is None else sent_output)

    is_bad = has_input & (cache > of(_INPUT))
    new_output_column = columns[_OUTPUT]
    has_output = zero > 0 if new_output_column is None else new_output_column >= 0
    is_bad |= has_output & (reasoning > of(_OUTPUT))
    for part, whole in PARTS:
        if columns[part] is not None:
            is_bad |= of(part) > of(whole)
    flags[is_bad] |= _CONTRADICTORY
    return Settled(columns, flags, is_odd)
