"""What Tallyspan weighs on its user: an import, a start, a collector that has nothing to do.

    python bench/light.py [--rounds 5] [--idle-seconds 20]

`import` is CPU time of `import tallyspan` and of `tallyspan.instrument()` above that of a process
that imports OpenTelemetry's SDK, its OTLP exporter and its instrumentation of httpx, the packages
of a service that traces without us; medians of processes in turn. `start` is from the command to
the line that says the collector is ready, on the clock: with a data folder that is new (the engine
creates its tables), and with one that is there; the CPU time of all its processes stands beside it.
`idle` is memory after a while without a request, of the collector and of the engine apart: pages of
its own and its part of shared ones (PSS), where the kernel tells, else RSS.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OTEL = """
import opentelemetry.sdk.trace.export
import opentelemetry.exporter.otlp.proto.http.trace_exporter
import opentelemetry.instrumentation.httpx
"""
PROGRAMS = {
    "otel": OTEL,
    "import_tallyspan": OTEL + "import tallyspan",
    "instrument": OTEL + "import httpx, tallyspan; tallyspan.instrument()",
    "otel_instrument": OTEL
    + "import httpx; opentelemetry.instrumentation.httpx.HTTPXClientInstrumentor().instrument()",
}
CPU = "\nimport os, time; print(time.process_time(), flush=True); os._exit(0)"
FREE = "127.0.0.1:0"
TICKS = os.sysconf("SC_CLK_TCK")


def figure(name: str, value: float, unit: str) -> None:
    """Print one figure."""
    print(f"{name} {value:.2f} {unit}", flush=True)


def cpu_ms(program: str) -> float:
    """Return CPU milliseconds of a Python that runs the program."""
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    done = subprocess.run(
        [sys.executable, "-c", program + CPU],
        stdout=subprocess.PIPE, text=True, check=True, env=environment,
    )  # fmt: skip
    return float(done.stdout) * 1000


def imports(rounds: int) -> None:
    """Print what an import adds."""
    for program in PROGRAMS.values():
        cpu_ms(program)  # compiles, and fills the disk's cache
    times = [{name: cpu_ms(program) for name, program in PROGRAMS.items()} for _ in range(rounds)]
    figure("import.otel.cpu", statistics.median(each["otel"] for each in times), "ms")
    for name, base in (("import_tallyspan", "otel"), ("instrument", "otel_instrument")):
        added = statistics.median(each[name] - each[base] for each in times)
        figure(f"import.{name}.added_cpu", added, "ms")


@contextmanager
def collector(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """Run a collector with its local store; yield it and the seconds until it was ready."""
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "tallyspan", "up", "--data-dir", str(data_dir), "--otlp-grpc", FREE,
         "--otlp-http", FREE, "--admin", FREE],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        json.loads(process.stdout.readline())
        yield process, time.monotonic() - start
    finally:
        process.terminate()
        process.wait(60)


def family(pid: int) -> list[int]:
    """Return the process and its descendants."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(child) for file in children for child in file.read_text().split()]
    return [pid, *(each for child in pids for each in family(child))]


def megabytes(pid: int) -> float:
    """Return the memory of a process."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        kilobytes = next(line for line in text.splitlines() if line.startswith("Pss:"))
    except OSError:
        text = Path(f"/proc/{pid}/status").read_text()
        kilobytes = next(line for line in text.splitlines() if line.startswith("VmRSS:"))
    return int(kilobytes.split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def starts(rounds: int, idle_seconds: float) -> None:
    """Print starts, and memory and CPU of the last one when idle."""
    samples: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for turn in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("new_folder", "cold"):
                with collector(Path(folder)) as (process, ready):
                    cpu = sum(map(cpu_seconds, family(process.pid)))
                    samples[name].append((ready, cpu))
                    if turn == rounds - 1 and name == "cold":
                        idle(process.pid, idle_seconds)
    for name, values in samples.items():
        figure(f"start.{name}", statistics.median(ready for ready, _ in values), "s")
        figure(f"start.{name}.cpu", statistics.median(cpu for _, cpu in values), "s")


def idle(pid: int, seconds: float) -> None:
    """Print what a collector and its engine have, and use, while nothing is sent."""
    before = {each: cpu_seconds(each) for each in family(pid)}
    time.sleep(seconds)
    ours, engine = [pid], [each for each in family(pid) if each != pid]
    for name, pids in (("collector", ours), ("engine", engine)):
        figure(f"idle.{name}.memory", sum(map(megabytes, pids)), "MB")
        used = sum(cpu_seconds(each) - before.get(each, 0.0) for each in pids)
        figure(f"idle.{name}.cpu", 100 * used / seconds, "%")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle-seconds", type=float, default=20)
    options = parser.parse_args()
    one, five, _ = os.getloadavg()
    print(f"load of the machine {one:.1f} ({five:.1f}), {os.cpu_count()} cores", file=sys.stderr)
    imports(options.rounds)
    starts(options.rounds, options.idle_seconds)


if __name__ == "__main__":
    main()
