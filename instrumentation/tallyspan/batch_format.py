"""The two shapes of a wire format of batches: what says of a batch, and the files of its results.

Neither is a call: nothing is counted, streamed or asked for in them.
"""

from collections.abc import Callable

from tallyspan.answer import Answer, Json, items
from tallyspan.framing import EVERYTHING, Framing, Interest
from tallyspan.framing.batch_lines import BatchLines
from tallyspan.guard import note
from tallyspan.providers import Provider
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path, Read, RequestKeys

MAX_LISTED = 200
"""Batches that are read of one list."""
_NO_KEYS = RequestKeys(model="", stream="", user=(), call=frozenset())
_ELSEWHERE = UsageKeys(at=(), read=())
"""The readers of the answers inside the results look at their usage themselves."""


def of_state(
    name: str,
    provider: Provider,
    paths: tuple[Path, ...],
    read: Read,
    *,
    no_estimate: str,
    request: RequestKeys = _NO_KEYS,
    usage: UsageKeys = _ELSEWHERE,
    read_request: Read | None = None,
    lists: str = "",
    framing: Callable[[Interest], Framing] | None = None,
) -> Format:
    """Return the format of what says that a batch was created, or its state.

    `no_estimate`: why nothing is counted. `lists`: the key of an answer that is a list of batches,
    which it has them at; a list that stands alone is read in any case. `framing` as of `Format`.
    """
    return Format(
        name=name,
        provider=provider,
        paths=paths,
        request=request,
        estimate=NoEstimate(no_estimate),
        usage_option=None,
        opens_with_usage=False,
        interest=EVERYTHING,
        reader=lambda: _read_each(read, usage, lists),
        usage=usage,
        read_headers=None,
        read_request=read_request,
        framing=framing,
    )


def _read_each(read: Read, usage: UsageKeys, lists: str) -> Read:
    """Return what reads an answer of one batch, or of a list of them."""

    def read_all(body: Json, answer: Answer) -> None:
        is_list = isinstance(body.get(lists), list)
        if not is_list and answer.batch is None:
            read(body, answer)
            return
        # Where the list stands alone, this is called with one of its elements after another.
        for each in items(body[lists]) if is_list else [body]:
            if len(answer.listed) >= MAX_LISTED:
                note("read all of a list of batches", ValueError(f"more than {MAX_LISTED}"))
                return
            one = Answer()
            read(each, one)
            usage.name_unread(each, one)
            if one.batch is not None:
                answer.listed.append(one.batch)

    return read_all


def of_results(name: str, provider: Provider, path: Path, read: Read, *needles: bytes) -> Format:
    """Return the format of files with a result a line; a line with one of the needles is read."""
    return Format(
        name=name,
        provider=provider,
        paths=(path,),
        request=_NO_KEYS,
        estimate=NoEstimate("every result has its counts"),
        usage_option=None,
        opens_with_usage=False,
        interest=Interest(needles),
        reader=lambda: read,
        usage=_ELSEWHERE,
        read_headers=None,
        read_request=None,
        framing=BatchLines,
    )
