"""What more than one part's tests need: fixtures, the marks of the tests, what a run left out."""

import gc
import sys
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, settings
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import tallyspan
from running import Running, running_collector
from shared_store import SharedStore
from tallyspan.guard import failures
from tallyspan_clickhouse.engine import connect

# Busy machines must not fail a property; the same examples every time keep a red run reproducible.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")
# `make fuzz`: other examples every time, and many more of them.
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=450,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)

MARKS = {
    "browser": "drives Chromium",
    "node": "runs Node",
    "store": "needs an engine of ClickHouse",
    "process": "starts other processes, but no engine",
    "slow": "takes seconds in this process",
    "fast": "pure: none of the others",
}
# `fast` is what no other mark claims; these events of the interpreter prove it wrong.
STARTS = {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec"}
ENGINES = {"chdb", "_chdb"}
LEFT_OUT = pytest.StashKey[Counter[str]]()
fast_test = ""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-point",
        action="store_true",
        help="faults at every point where there could be one, not at a sample of them",
    )
    parser.addoption(
        "--must-run",
        action="append",
        choices=tuple(MARKS),
        default=[],
        help="tests of this mark fail where they would be left out",
    )


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    config.stash[LEFT_OUT] = Counter()
    sys.addaudithook(_refuse_processes)


def _refuse_processes(event: str, arguments: tuple[Any, ...]) -> None:
    if fast_test and (event in STARTS or (event == "import" and arguments[0] in ENGINES)):
        raise RuntimeError(
            f"{fast_test} is marked fast and starts a process or an engine ({event}): let it use "
            "the fixture `store`, or mark it `process`, `store`, `node` or `browser`"
        )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while the tests are read, nor ever look at them again: they stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and {"engine", "store"} & {*item.fixturenames}:
            item.add_marker("store")
        if _mark(item) == "fast":
            item.add_marker("fast")


def _mark(item: pytest.Item) -> str:
    """Return the first of MARKS that the test has; `fast` if it has none."""
    return next((name for name in MARKS if item.get_closest_marker(name)), "fast")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    global fast_test  # noqa: PLW0603  an audit hook gets no argument of ours and is never removed
    fast_test = item.nodeid if _mark(item) == "fast" else ""
    try:
        return (yield)
    finally:
        fast_test = ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.skipped and _mark(item) in item.config.option.must_run:
        _, _, reason = report.longrepr
        report.outcome, report.longrepr = "failed", f"--must-run {_mark(item)}: {reason}"
    return report


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        item.config.stash[LEFT_OUT][_mark(item)] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    counts = session.config.stash[LEFT_OUT]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(counts)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker of xdist left out; each of them collects everything."""
    counts: Mapping[str, int] = getattr(node, "workeroutput", {}).get("left_out", {})
    node.config.stash[LEFT_OUT] = node.config.stash[LEFT_OUT] | Counter(counts)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say in a line what was left out and why: a test nobody runs looks like one that passes."""
    for name, count in config.stash[LEFT_OUT].items() if config.option.markexpr else ():
        terminalreporter.write_line(f"left out: {count} tests marked {name}: {MARKS[name]}")
    skipped: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for report in terminalreporter.stats.get("skipped", ()):
        file, _, reason = report.longrepr
        skipped[reason.removeprefix("Skipped: ")][report.nodeid.partition("::")[0] or file] += 1
    for reason, files in skipped.items():
        which = ", ".join(f"{count} of {file}" for file, count in sorted(files.items()))
        terminalreporter.write_line(f"left out: {which}: {reason}", yellow=True)


@pytest.fixture(scope="session")
def engine() -> Iterator[SharedStore]:
    """One engine a process; whoever kills, stops or upgrades one starts a LocalStore of its own."""
    with (
        TemporaryDirectory(prefix="tallyspan-tests-", dir=in_memory()) as folder,
        SharedStore(Path(folder)) as shared,
    ):
        yield shared


def in_memory() -> Path | None:
    """Return a folder without a disk, if there is one of some size: an insert there is a fifth
    less work."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and disk_usage(folder).free > 4 << 30 else None


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """An empty folder without a disk if there is one, for tests that sync thousands of times."""
    with TemporaryDirectory(prefix="tallyspan-tests-", dir=in_memory()) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def store(engine: SharedStore) -> SharedStore:
    """The engine with the whole schema and no rows, for the tests of a module."""
    engine.renew()
    return engine


@pytest.fixture(scope="module")
def client(store: SharedStore) -> Iterator[Client]:
    """A client that may do everything in the module's store."""
    with connect(store.url) as client:
        yield client


@pytest.fixture
def empty_store(store: SharedStore) -> SharedStore:
    """The module's store without a row of the tests before, for a collector of one test."""
    store.empty()
    return store


@pytest.fixture(scope="module")
def collector(store: SharedStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A collector on the module's store, for tests that know their calls from the others'."""
    with running_collector(tmp_path_factory.mktemp("collector"), store=store.url) as running:
        yield running


@pytest.fixture
def tracing() -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


@pytest.fixture
def spans(tracing: tuple[TracerProvider, InMemorySpanExporter]) -> Iterator[InMemorySpanExporter]:
    """The spans of an instrumented process; no failure of ours may happen on the way."""
    failures.clear()
    tallyspan.instrument(tracer_provider=tracing[0])
    yield tracing[1]
    tallyspan.uninstrument()
    assert not failures
