"""The two shapes of a wire format of batches: what says of a batch, and the files of its results.

Neither is a call: nothing is counted, streamed or asked for in them.
"""

from tallyspan.framing import EVERYTHING, Interest
from tallyspan.framing.batch_lines import BatchLines
from tallyspan.providers import Provider
from tallyspan.usage_keys import UsageKeys
from tallyspan.wire_format import Format, NoEstimate, Path, Read, RequestKeys

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
) -> Format:
    """Return the format of what says that a batch was created, or its state.

    `no_estimate`: why nothing is counted.
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
        reader=lambda: read,
        usage=usage,
        read_headers=None,
        read_request=read_request,
    )


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
