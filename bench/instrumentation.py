"""What instrumentation adds to a call and to a streamed chunk, ours and others', in one run.

    python bench/instrumentation.py [--generations 10] [--rounds 8]

Every client, bare and with each package, is a process of its own. In each round all of them make
the same calls, one process after another, within a second: what a round's instrumented client took
longer than its bare one is one difference. Processes are started anew for every generation: where
a process lies in memory makes two of the same kind differ by 2 %, which is 2 us a chunk with the
openai SDK. So a generation counts once, with the median of its rounds. Printed is the median over
the generations, and half the width of its 95 % interval (`.spread`); `.cpu` is of the calling
thread, which neighbours on the machine disturb less than the time on the clock; `.later` is CPU
time of other threads and of exporting the spans. A chunk's figure is a stream's divided by its
chunks: what opening and closing the span costs is in it.

The others' packages live in a virtual environment of their own, build/bench, made at the first run.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import venv
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / "build" / "bench"
PACKAGES = (
    "aiohttp",
    "httpx",
    "openai",
    "openinference-instrumentation-openai",
    "opentelemetry-instrumentation-genai-openai",
    "opentelemetry-instrumentation-httpx",
    "opentelemetry-instrumentation-openai",
)
VARIANTS = (
    ("httpx", "nothing"),  # how far the figures can be trusted
    ("httpx", "tallyspan"),
    ("httpx", "otel-httpx"),
    ("openai", "nothing"),
    ("openai", "tallyspan"),
    ("openai", "otel-genai-openai"),
    ("openai", "openinference"),
    ("openai", "openllmetry"),
    ("aiohttp", "tallyspan"),
)
BARE = "bare"
CALLS, STREAMS = 40, 2
"""Made by each client in a round."""

Sample = dict[str, float]


def environment() -> Path:
    """Return the Python that has ours and the others' packages; make it if it is not there."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / ".installed").exists():
        print(f"installing the packages to compare with into {ENVIRONMENT}", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--editable", str(ROOT), *PACKAGES], check=True)
        (ENVIRONMENT / ".installed").touch()
    return python


def print_versions(python: Path) -> None:
    """Say on stderr what is measured with."""
    show = "import sys, importlib.metadata as m\nfor n in sys.argv[1:]: print(n, m.version(n))"
    versions = subprocess.run([python, "-c", show, *PACKAGES], check=True, capture_output=True)
    print(sys.version.split()[0], versions.stdout.decode().replace("\n", ", "), file=sys.stderr)


class Client:
    """A process that makes calls when told to."""

    def __init__(self, python: Path, client: str, package: str, url: str) -> None:
        script = ROOT / "bench" / "instrumentation_client.py"
        self._process = subprocess.Popen(
            [python, script, client, package, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def measure(self, kind: str, times: int) -> Sample:
        """Return microseconds of one call or stream: `wall` and `cpu`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the client was started without pipes")
        print(kind, times, file=stdin, flush=True)
        sample: Sample = json.loads(stdout.readline())
        return sample


def generation(python: Path, url: str, rounds: int, chunks: int) -> dict[str, list[float]]:
    """Return the differences to the bare client by `client.package.figure`, one a round."""
    names = [*dict.fromkeys((client, BARE) for client, _ in VARIANTS), *VARIANTS]
    added: defaultdict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        clients = {name: stack.enter_context(Client(python, *name, url)) for name in names}
        for client in clients.values():
            client.measure("call", CALLS)
            client.measure("stream", STREAMS)
        for _ in range(rounds):
            for figure, kind, times, parts in (
                ("call", "call", CALLS, 1),
                ("chunk", "stream", STREAMS, chunks),
            ):
                took = {name: each.measure(kind, times) for name, each in clients.items()}
                for client_name, package in VARIANTS:
                    name = f"{client_name}.{package}.{figure}"
                    more = _difference(took[client_name, package], took[client_name, BARE])
                    added[name].append(more["wall"] / parts)
                    added[name + ".cpu"].append(more["cpu"] / parts)
                    added[name + ".later"].append(more["later"] / parts)
    return added


def _difference(sample: Sample, bare: Sample) -> Sample:
    return {clock: sample[clock] - bare[clock] for clock in sample}


def spread(samples: list[float]) -> float:
    """Return half the width of the 95 % interval of the median, by order statistics."""
    ranked = sorted(samples)
    aside = 0.98 * math.sqrt(len(ranked))
    low = max(0, math.floor(len(ranked) / 2 - aside))
    high = min(len(ranked) - 1, math.ceil(len(ranked) / 2 + aside))
    return (ranked[high] - ranked[low]) / 2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--generations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    python = environment()
    print_versions(python)
    server = [python, ROOT / "bench" / "llm_endpoint.py"]
    added: defaultdict[str, list[float]] = defaultdict(list)
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None:
            raise RuntimeError("the server was started without a pipe")
        port, chunks = process.stdout.readline().split()
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(options.generations):
                round_samples = generation(python, url, options.rounds, int(chunks))
                for figure, samples in round_samples.items():
                    added[figure].append(statistics.median(samples))
        finally:
            process.terminate()
    for figure, samples in added.items():
        print(f"instrumentation.{figure} {statistics.median(samples):.2f} us")
        print(f"instrumentation.{figure}.spread {spread(samples):.2f} us")


if __name__ == "__main__":
    main()
