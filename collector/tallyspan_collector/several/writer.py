"""Which traces a collector tells the others of, because they may have a part of them too.

- traces of which the ledger has calls that it booked and calls that another one booked;
- calls of several collectors with one answer's id, or of a coding agent with the same counts;
- traces that another one tells of, or told of before the calls came, if it has spans of them;
- traces of which it has only spans around calls: their calls may have come to another one;
- traces that it has told of before, when more spans of them come.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

from tallyspan_clickhouse.answers import tuples_of
from tallyspan_clickhouse.moments import sql_moment
from tallyspan_collector.resolution.identity import Identities
from tallyspan_collector.resolution.meeting import ID_CHARACTERS, MAX_NODES
from tallyspan_collector.resolution.node import LAYOUT, Trace
from tallyspan_collector.several import parts
from tallyspan_collector.several.parts import TABLE, TraceId

AT_ONCE = 256
"""Traces that are looked up and written together; the thread that books calls waits for it."""
_IN_BOUNDS = f"start_time >= {sql_moment('first')} AND start_time <= {sql_moment('last')}"
_IS_RECENT = (
    f"ingested_at >= {sql_moment('since')} AND ingested_at < {sql_moment('until')}"
    f" AND entry_kind = 'call' AND {_IN_BOUNDS}"
)
_OWNER = "if(source = '', '', tenant) AS owner"
_IS_SHARED = "uniqExact(collector) > 1 AND has(groupUniqArray(collector), {name:String})"
_BY_TRACE = f"""
SELECT {_OWNER}, toString(trace_id) FROM llm_calls
WHERE {_IN_BOUNDS} AND entry_kind = 'call' AND trace_id IN (
    SELECT trace_id FROM llm_calls WHERE {_IS_RECENT})
GROUP BY owner, trace_id
HAVING {_IS_SHARED} AND uniqExact(span_id, user_id, department, agent_id, conversation_id,
    model_name, input_tokens, output_tokens) > 1
"""  # noqa: S608  own text
_BY_ANSWER = f"""
SELECT owner, toString(arrayJoin(traces)) FROM (
    SELECT {_OWNER}, groupUniqArray({MAX_NODES + 1})(trace_id) AS traces FROM llm_calls
    WHERE {_IN_BOUNDS} AND entry_kind = 'call' AND response_id IN (
        SELECT response_id FROM llm_calls
        WHERE {_IS_RECENT} AND length(response_id) >= {ID_CHARACTERS})
    GROUP BY owner, response_id
    HAVING length(traces) BETWEEN 2 AND {MAX_NODES} AND {_IS_SHARED})
"""  # noqa: S608  own text
_OF_CODING_AGENTS = "(scope_name LIKE 'com.anthropic.claude_code%' OR scope_name LIKE 'codex%')"
_BY_COUNTS = f"""
SELECT owner, toString(arrayJoin(traces)) FROM (
    SELECT {_OWNER}, groupUniqArray({MAX_NODES + 1})(trace_id) AS traces FROM llm_calls
    WHERE {_IN_BOUNDS} AND entry_kind = 'call' AND {_OF_CODING_AGENTS}
        AND (input_tokens, output_tokens) IN (
            SELECT input_tokens, output_tokens FROM llm_calls
            WHERE {_IS_RECENT} AND {_OF_CODING_AGENTS})
    GROUP BY owner, input_tokens, output_tokens
    HAVING length(traces) BETWEEN 2 AND {MAX_NODES} AND {_IS_SHARED})
"""  # noqa: S608  own text
_OF_OTHERS = f"""
SELECT DISTINCT tenant, toString(trace_id) FROM {TABLE}
WHERE collector != {{name:String}} AND at >= {sql_moment("since")} AND at < {sql_moment("until")}
"""  # noqa: S608  own text
_BEFORE_THEIR_CALLS = f"""
SELECT DISTINCT tenant, toString(trace_id) FROM {TABLE}
WHERE collector != {{name:String}} AND trace_id IN (
    SELECT trace_id FROM llm_calls WHERE {_IS_RECENT} AND collector = {{name:String}})
"""  # noqa: S608  own text
_OWN = f"SELECT tenant, toString(trace_id) FROM {TABLE} WHERE collector = {{name:String}}"  # noqa: S608
Traces = Callable[[Collection[int]], Mapping[int, Trace]]
"""Returns those of the traces, by their numbers, that the collector remembers."""


class Writer:
    """Writes the parts of the collector `name` of which `traces` and `identities` are."""

    def __init__(self, client: Client, name: str, identities: Identities, traces: Traces) -> None:
        self._client = client
        self._name = name
        self._identities = identities
        self._traces = traces
        self._written: dict[int, bytes] | None = None
        """Number of a trace -> digest of its part as it was written."""
        self._callless: set[int] = set()

    def write(self, recent: Mapping[str, Any], touched: set[int], callless: set[int]) -> int:
        """Write what is new; return of how many traces.

        `recent` has the parameters since and until, of what was booked or written lately, and first
        and last, of when those calls began. `touched` and `callless` are the numbers of traces that
        new spans are of, and of those that only spans around calls are of.
        """
        if self._written is None:
            own = tuples_of(self._client, _OWN, {"name": self._name})
            self._written = dict.fromkeys((self._number(*row) for row in own), b"")
        # what is written changes only with more spans
        numbers = {self._number(*each) for each in self._shared(recent)} - self._written.keys()
        numbers |= touched & self._written.keys()
        # a call mostly follows what is around it within seconds: that waits for the next time
        wanted = sorted(numbers | self._callless)
        written = 0
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            fresh: dict[TraceId, Trace] = {}
            digests: dict[int, bytes] = {}
            for number, trace in self._traces(some).items():
                if number in numbers or not any(node.is_call for node in trace.nodes.values()):
                    for id_, part in parts.parts_of(trace).items():
                        digest = hashlib.blake2b(part.dump() + LAYOUT.encode(), digest_size=8)
                        of = self._number(*id_)
                        if self._written.get(of) != digest.digest():
                            fresh[id_], digests[of] = part, digest.digest()
            parts.write(self._client, self._name, fresh)
            self._written |= digests
            written += len(fresh)
        self._callless = callless
        return written

    def _number(self, tenant: str, trace_id: str) -> int:
        return self._identities.trace(tenant, trace_id)

    def _shared(self, recent: Mapping[str, Any]) -> Iterator[TraceId]:
        parameters = {**recent, "name": self._name}
        queries = [_OF_OTHERS]
        if "first" in recent:
            queries += [_BEFORE_THEIR_CALLS, _BY_TRACE, _BY_ANSWER, _BY_COUNTS]
        for query in queries:
            for tenant, trace_id in tuples_of(self._client, query, parameters):
                yield TraceId(str(tenant), str(trace_id))
