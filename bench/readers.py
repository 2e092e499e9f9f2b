"""What reading spans costs: CPU a span of LZ4, decoding, dialects and token rule, reader by reader.

    python bench/readers.py [--rounds 6]

A batch of 32 requests with 512 spans each, as the spool has them: the load of `bench/collector.py`,
all of it LLM calls or half of it, calls of which five are one trace, and agents with four calls
in each. `one_by_one` is how spans
are read that cannot be said in columns. Rounds alternate; the median of the rounds is printed.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lz4.block

sys.path.insert(0, str(Path(__file__).resolve().parent))
import otlp_load

from tallyspan_collector.columns.reader import PYTHON, SpanReader, compiled
from tallyspan_collector.columns.shapes import Shapes
from tallyspan_collector.columns.table import table
from tallyspan_collector.dialects import Reader
from tallyspan_collector.ingest.door import admit
from tallyspan_collector.read import otlp
from tallyspan_collector.read.received import Receipt

REQUESTS, SPANS = 32, 512
Way = Callable[[list[bytes]], None]


def spooled(bodies: list[bytes]) -> list[bytes]:
    """Return the bodies with trace ids nobody has seen, as the spool has them."""
    size = len(otlp_load.MARK)
    return [
        lz4.block.compress(admit(body.replace(otlp_load.MARK, os.urandom(size))).blob)
        for body in bodies
    ]


def in_columns(reader: SpanReader) -> Way:
    """Return how a batch is read into a table."""
    decoder = reader.decoder(Shapes())

    def read(bodies: list[bytes]) -> None:
        leaving = [
            raw
            for number, body in enumerate(bodies)
            for raw in decoder.add(lz4.block.decompress(body), number)
        ]
        table(decoder.take(), [Receipt(time.time_ns() // 10**6)] * len(bodies))
        if leaving:
            raise ValueError(f"spans left the columns: {decoder.refused}")

    return read


def one_by_one() -> Way:
    """Return how a batch is read into calls."""
    reader = Reader()

    def read(bodies: list[bytes]) -> None:
        receipt = Receipt(time.time_ns() // 10**6)
        for body in bodies:
            for span in otlp.decode(lz4.block.decompress(body)):
                reader.read(span, receipt)

    return read


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    fastest = compiled()
    ways = {"python": in_columns(PYTHON), "one_by_one": one_by_one()}
    if isinstance(fastest, SpanReader):
        ways["compiled"] = in_columns(fastest)
    else:
        print(f"no compiled reader: {fastest}; run python hatch_build.py", file=sys.stderr)
    for name, load in otlp_load.LOADS.items():
        bodies = [load(SPANS, seed, time.time_ns()) for seed in range(REQUESTS)]
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            batch = spooled(bodies)
            for way, read in ways.items():
                started = time.thread_time()
                read(batch)
                seconds[way].append(time.thread_time() - started)
        for way, taken in seconds.items():
            cost = statistics.median(taken) / (REQUESTS * SPANS) * 1e6
            print(f"readers.{name}.{way} {cost:.2f} us/span", flush=True)


if __name__ == "__main__":
    main()
