"""Spoiled spans through both readers: the same columns, and the same as read one by one.

    python bench/fuzz_readers.py [--spans 10000000] [--processes 2] [--seed 1] [--plain 0.05]

Requests are made of the captures of tests/conformance and of the load of `bench/collector.py`, with
several things wrong in each. Every one is read by the compiled and by the Python reader, whose
columns must be equal byte by byte; the share `--plain` of them is also read span by span. Ends with
an error, and prints the first requests that differ, as base64.
"""

import argparse
import base64
import multiprocessing
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fixtures"))
import otlp_load
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from captured_requests import captured_requests, inside_another
from read_both_ways import BothWays, columns_of_both
from spoiled_requests import spoiled
from tallyspan_collector.columns.python_reader import Decoder as PythonDecoder
from tallyspan_collector.columns.reader import SpanReader, compiled
from tallyspan_collector.columns.shapes import Shapes

CAPTURES_A_REQUEST, SPANS_A_LOAD = 12, 40
CHANGES = 12
MAX_SHOWN = 3


def corpus() -> list[ExportTraceServiceRequest]:
    """Return the captures, alone and inside another span, and requests of the load."""
    captured = [request for _, request in captured_requests()]
    loads = [
        ExportTraceServiceRequest.FromString(load(SPANS_A_LOAD, seed, time.time_ns()))
        for load in otlp_load.LOADS.values()
        for seed in range(3)
    ]
    return [*captured, *map(inside_another, captured), *(loads * 40)]


def run(seed: int, spans: int, plain_share: float) -> tuple[int, int, int, list[str]]:
    """Fuzz so many spans; return spans, rows, spans that were also read singly, and differences."""
    reader = compiled()
    if not isinstance(reader, SpanReader):
        return 0, 0, 0, [f"no compiled reader: {reader}; run python hatch_build.py"]
    chance = random.Random(seed)
    requests = corpus()
    fast, slow = reader.decoder(Shapes()), PythonDecoder(Shapes())
    plain = [BothWays(reader.decoder), BothWays(PythonDecoder)]
    read = rows = 0
    lines: list[str] = []
    while read < spans and len(lines) < MAX_SHOWN:
        request = ExportTraceServiceRequest()
        for _ in range(chance.randrange(1, CAPTURES_A_REQUEST)):
            request.MergeFrom(chance.choice(requests))
        read += sum(
            len(scope.spans) for each in request.resource_spans for scope in each.scope_spans
        )
        body = spoiled(request, chance, CHANGES)
        differences = columns_of_both(fast, slow, body)
        rows += differences.rows
        of_request = differences.lines
        if chance.random() < plain_share or differences.as_a_whole:
            of_request = [*of_request, *(line for way in plain for line in way.differences(body))]
        if of_request:
            lines.append(f"{base64.b64encode(body).decode()} {of_request[0][:400]}")
    return read, rows, sum(way.spans for way in plain), lines


def main() -> int:
    """Fuzz in several processes, print how much, and return how many requests differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=10_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", type=float, default=0.05)
    options = parser.parse_args()
    share = 100_000
    seeds = range(options.seed, options.seed + max(1, options.spans // share))
    sums: Counter[str] = Counter()
    started = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(options.processes, maxtasksperchild=10) as pool:
        jobs = [
            pool.apply_async(run, (seed, min(share, options.spans), options.plain))
            for seed in seeds
        ]
        for job in jobs:
            spans, rows, singly, lines = job.get()
            sums.update(spans=spans, rows=rows, singly=singly, differ=len(lines))
            for line in lines:
                print(line)
            seconds = time.monotonic() - started
            print(f"  {dict(sums)} {seconds:.0f} s", file=sys.stderr, flush=True)
    for name in ("spans", "rows", "singly", "differ"):
        print(f"fuzz_readers.{name} {sums[name]} {'requests' if name == 'differ' else 'spans'}")
    return sums["differ"]


if __name__ == "__main__":
    sys.exit(min(main(), 1))
