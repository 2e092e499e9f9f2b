"""`tallyspan demo`: a collector, a provider on this machine, and the SDKs between them."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client.parser import text_string_to_metric_families

import tallyspan
from tallyspan_clickhouse.engine import connect
from tallyspan_clickhouse.local import running_url
from tallyspan_collector import summary
from tallyspan_collector.commands.report_text import render
from tallyspan_collector.demo import oracle, provider, recordings
from tallyspan_collector.demo.recordings import Recording
from tallyspan_collector.demo.traffic import ERRORS, Sdks, sdks
from tallyspan_collector.errors import TallyspanError

USERS = (
    ("ada", "research"),
    ("grace", "research"),
    ("linus", "platform"),
    ("margaret", "platform"),
    ("edsger", "support"),
    ("barbara", "support"),
    ("alan", "sales"),
)
_PROVIDER_SUMS = """
    SELECT count() AS calls, sumIf(input_tokens, usage_source = 'provider') AS input_tokens,
        sumIf(output_tokens, usage_source = 'provider') AS output_tokens,
        sumIf(cost_usd, usage_source != 'estimated') AS cost_usd
    FROM calls WHERE start_time >= {start:DateTime64(6, 'UTC')}
"""  # without our estimates, for which no recording has a figure
WAITING = {"tallyspan_spool_requests", "tallyspan_spool_batches"}
START_SECONDS = 60
FLUSH_MILLISECONDS = 30_000


def main(*, once: bool, data_dir: Path | None) -> int:
    """Run the demo; with `once` end after the report, else serve until Ctrl-C. Returns 0 or 1."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the exit stops the collector too
    chosen = recordings.load()
    with tempfile.TemporaryDirectory(prefix="tallyspan-demo-") as temporary:
        folder = data_dir or Path(temporary)
        _say("starting a collector with its local store")
        with collector(folder) as addresses:
            started_at = datetime.now(UTC) - timedelta(seconds=1)
            _say(f"replaying {len(chosen)} recorded calls through openai, anthropic, google-genai")
            replay(chosen, addresses["otlp_grpc"])
            settle(addresses["admin"])
            url = running_url(folder, "tallyspan_reader")
            if url is None:
                raise TallyspanError("the local store is not running; see its log in --data-dir")
            with connect(url) as client:
                is_right = show(client, summary.Filters(start=started_at), chosen)
            _say(f"done in {time.monotonic() - began:.1f} s")
            if not once:
                _serve_on(addresses)
    return 0 if is_right else 1


@contextmanager
def collector(folder: Path) -> Iterator[dict[str, Any]]:
    """Run `tallyspan up` on free ports as a child process; yield the addresses it announces."""
    command = [sys.executable, "-m", "tallyspan", "up", "--data-dir", str(folder)]
    for flag in ("--otlp-grpc", "--otlp-http", "--admin"):
        command += [flag, "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            line = child.stdout.readline() if child.stdout else ""
            if not line:
                raise TallyspanError("the collector did not start; what it said is above")
            yield json.loads(line)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(START_SECONDS)


def replay(chosen: Sequence[Recording], otlp_grpc: str) -> None:
    """Make every recorded call once, as the users in turn, and send its span to the collector."""
    exporter = OTLPSpanExporter(endpoint=otlp_grpc, insecure=True)
    tracing = TracerProvider(resource=Resource.create({"service.name": "tallyspan-demo"}))
    tracing.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=65_536))
    tallyspan.instrument(tracer_provider=tracing)
    try:
        with provider.serving(chosen) as port, sdks(port) as clients:
            for number, recording in enumerate(chosen):
                _call(clients, recording, number)
                _progress(number + 1, len(chosen))
    finally:
        tallyspan.uninstrument()
        tracing.force_flush(FLUSH_MILLISECONDS)
        tracing.shutdown()


def settle(admin: str) -> None:
    """Wait until all that was acknowledged is in the ledger, and its rollups."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with urlopen(f"{admin}/metrics") as answer:  # noqa: S310  our own collector
            families = text_string_to_metric_families(answer.read().decode())
            waiting = sum(
                sample.value
                for family in families
                for sample in family.samples
                if sample.name in WAITING
            )
        if not waiting:
            return
        time.sleep(0.05)
    raise TallyspanError(f"the collector does not book what it has: see {admin}/readyz")


def _call(clients: Sdks, recording: Recording, number: int) -> None:
    user, department = USERS[number % len(USERS)]
    with (
        tallyspan.attribution(
            user_id=user,
            department=department,
            agent_id="helpdesk" if department == "support" else None,
            conversation_id=f"{user}-{number // (3 * len(USERS))}",
        ),
        suppress(*ERRORS),
    ):  # some recordings are refusals of the provider
        clients.send(recording)


def show(client: Any, filters: summary.Filters, chosen: Sequence[Recording]) -> bool:
    """Print cost by user and by model and check the sums; return whether all of them agree."""
    views = {by: summary.summarise(client, filters, [by]) for by in ("department", "user", "model")}
    for by, rows in views.items():
        sys.stdout.write(f"\nBy {by}\n")
        render(rows, [by], "table", sys.stdout)
    whole = summary.totals(client, filters)
    sums = next(client.query(_PROVIDER_SUMS, parameters={"start": filters.start}).named_results())
    expected: dict[str, int | Decimal] = {
        "calls": len(chosen),
        "input_tokens": sum(each.expected.get("input_tokens", 0) for each in chosen),
        "output_tokens": sum(each.expected.get("output_tokens", 0) for each in chosen),
        "cost_usd": sum((oracle.cost(each) for each in chosen), Decimal(0)),
    }
    checks = [
        (f"{name} = sum over the recordings", sums[name] == value)
        for name, value in expected.items()
    ]
    for by, rows in views.items():
        for name in ("calls", "total_tokens", "cost_usd"):
            added = sum((row[name] or Decimal(0) for row in rows), Decimal(0))
            checks.append((f"{name} by {by} = total", added == (whole[name] or 0)))
    sys.stdout.write("\n")
    for claim, is_true in checks:
        sys.stdout.write(f"  {'ok' if is_true else 'WRONG'}  {claim}\n")
    return all(is_true for _, is_true in checks)


def _serve_on(addresses: dict[str, Any]) -> None:
    _say(f"the admin API stays at {addresses['admin']}; key: {addresses['admin_key_file']}")
    _say(f"send your own spans: OTEL_EXPORTER_OTLP_ENDPOINT=http://{addresses['otlp_grpc']}")
    _say("Ctrl-C ends it")
    try:
        signal.pause()
    except KeyboardInterrupt:
        _say("stopping")


def _say(text: str) -> None:
    sys.stdout.write(f"demo: {text}\n")
    sys.stdout.flush()


def _progress(done: int, of: int) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(f"\rdemo: {done}/{of} calls" + ("\n" if done == of else ""))
        sys.stdout.flush()
    elif done % 50 == 0 or done == of:
        _say(f"{done}/{of} calls")
