"""Metric families of several processes as one."""

from collections.abc import Iterable
from itertools import chain

from prometheus_client import Metric

Labels = tuple[tuple[str, str], ...]


def sum_of(processes: Iterable[Iterable[Metric]]) -> list[Metric]:
    """Return one family for each name; each of its samples is the sum over the processes.

    The `_created` samples are left out: a sum of points in time means nothing.
    """
    families: dict[str, Metric] = {}
    sums: dict[tuple[str, str, Labels], float] = {}
    for family in chain.from_iterable(processes):
        families.setdefault(
            family.name, Metric(family.name, family.documentation, family.type, family.unit)
        )
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                key = (family.name, sample.name, tuple(sorted(sample.labels.items())))
                sums[key] = sums.get(key, 0) + sample.value
    for (family_name, sample_name, labels), value in sums.items():
        families[family_name].add_sample(sample_name, dict(labels), value)
    return list(families.values())
