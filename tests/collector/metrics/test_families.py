"""Metric families of several processes are added up, whatever their labels contain."""

import pickle
from functools import partial

import pytest
from prometheus_client import CollectorRegistry, Counter, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tallyspan_collector.metrics.counters import Dropped, Metrics
from tallyspan_collector.metrics.families import sum_of


class Fleet:
    """What a registry collects from: the sum of the processes."""

    def __init__(self, *processes: CollectorRegistry) -> None:
        # As through the pipe from a worker to its parent.
        self._processes = pickle.loads(pickle.dumps([list(each.collect()) for each in processes]))

    def collect(self) -> list[Metric]:
        return sum_of(self._processes)


def exposition(*processes: CollectorRegistry) -> str:
    registry = CollectorRegistry()
    registry.register(Fleet(*processes))
    return generate_latest(registry).decode()


@pytest.mark.parametrize("label", ['a "quoted" one', "back\\slash", "two\nlines", "\\n", "a,b={c}"])
def test_labels_are_the_same_after_two_workers_were_added_up(label: str) -> None:
    workers = [CollectorRegistry(), CollectorRegistry()]
    for count, registry in enumerate(workers, 1):
        counter = Counter("tallyspan_odd", "Odd", ["which", "other"], registry=registry)
        counter.labels(label, "x").inc(count)
    (family,) = text_string_to_metric_families(exposition(*workers))
    samples = [(each.name, each.labels, each.value) for each in family.samples]

    assert samples == [("tallyspan_odd_total", {"which": label, "other": "x"}, 3.0)]


def test_the_text_of_one_worker_is_that_of_its_own_registry_but_for_times_of_creation() -> None:
    metrics = Metrics()
    metrics.watch("tallyspan_spool_bytes", "Bytes that wait", lambda: 7)
    metrics.request("accepted")
    metrics.inserted(0.2, 30)
    own = generate_latest(metrics.registry).decode().splitlines()

    assert exposition(metrics.registry).splitlines() == [
        line for line in own if "_created" not in line
    ]


def test_counters_gauges_and_histograms_are_added_up_label_by_label() -> None:
    first, second = Metrics(), Metrics()
    for metrics, number in ((first, 2), (second, 5)):
        metrics.watch("tallyspan_spool_bytes", "Bytes that wait", partial(float, number))
        metrics.dropped(Dropped.DUPLICATE, number)
        metrics.inserted(number, 10)
    second.dropped(Dropped.BURIED)
    registry = CollectorRegistry()
    registry.register(Fleet(first.registry, second.registry))
    value = registry.get_sample_value

    assert value("tallyspan_spool_bytes") == 7
    assert value("tallyspan_spans_dropped_total", {"reason": "duplicate"}) == 7
    assert value("tallyspan_spans_dropped_total", {"reason": "buried"}) == 1
    assert value("tallyspan_insert_seconds_bucket", {"le": "2.5"}) == 1
    assert value("tallyspan_insert_seconds_count") == 2
