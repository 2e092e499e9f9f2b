"""Changes the code in one place at a time, and counts the changes that no test notices.

    python bench/mutants.py [--part resolution] [--mutants 60] [--seed 1]
    python bench/mutants.py --part ingest --modules FILE --tests FILE  # one file against its tests

Parts, their tests and the threshold are in `mutants.toml`. The changes are those of cosmic-ray
(`pip install 'tallyspan[mutants]'`), one at each of the places that the seed draws, in a copy of
the tree. Prints the changes that survived, and how many of each part were killed. Exit code 1
below the threshold.
"""

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
FOLDERS = ("instrumentation", "collector", "clickhouse", "grafana")
PYTEST = (
    sys.executable,
    "-m",
    "pytest",
    "-q",
    "-x",
    "-n",
    "0",
    "-p",
    "no:cacheprovider",
    "-m",
    "fast",
)
PATIENCE = 5
"""A change that makes the tests take so many times longer is noticed."""
SETTINGS = """
[cosmic-ray]
module-path = "{modules}"
timeout = {timeout}
excluded-modules = []
test-command = "{command}"
[cosmic-ray.distributor]
name = "local"
"""
SURVIVED = "SURVIVED"


def copy_tree(to: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, to / name, follow_symlinks=False)


def seconds_of(command: Sequence[str], tree: Path, environment: dict[str, str]) -> float:
    """Return how long the tests take on the code as it is. They must pass."""
    began = time.monotonic()
    subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def draw(session: Path, mutants: int, seed: int) -> None:
    """Leave so many changes in the session, each in a place of its own."""
    with closing(sqlite3.connect(session)) as file:
        places: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
        for job, *place in file.execute(
            "SELECT job_id, module_path, start_pos_row, start_pos_col FROM mutation_specs"
            " ORDER BY module_path, start_pos_row, start_pos_col, operator_name, occurrence"
        ):
            places[tuple(place)].append(job)
        chance = random.Random(seed)
        drawn = chance.sample([*places.values()], min(mutants, len(places)))
        kept = [(chance.choice(jobs),) for jobs in drawn]
        file.execute("CREATE TEMP TABLE kept (job_id)")
        file.executemany("INSERT INTO kept VALUES (?)", kept)
        for table in ("mutation_specs", "work_items"):
            file.execute(f"DELETE FROM {table} WHERE job_id NOT IN (SELECT job_id FROM kept)")
        file.commit()


def killed(
    part: str, about: dict[str, Any], tree: Path, mutants: int, seed: int
) -> tuple[int, int]:
    """Return how many changes of a part its tests noticed, and how many there were."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(tree / each) for each in FOLDERS)}
    command = [*PYTEST, *about["tests"]]
    timeout = 30 + PATIENCE * seconds_of(command, tree, environment)
    settings, session = tree / f"{part}.toml", tree / f"{part}.sqlite"
    settings.write_text(
        SETTINGS.format(modules=about["modules"], timeout=timeout, command=" ".join(command))
    )
    for action in ("init", "exec"):
        subprocess.run(
            ["cosmic-ray", action, settings, session], cwd=tree, env=environment, check=True
        )
        if action == "init":
            draw(session, mutants, seed)
    with closing(sqlite3.connect(session)) as file:
        results = file.execute("SELECT test_outcome, diff FROM work_results").fetchall()
    survivors = [diff for outcome, diff in results if outcome == SURVIVED]
    print(*survivors, sep="\n")
    return len(results) - len(survivors), len(results)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=CONFIG["parts"], action="append")
    parser.add_argument("--mutants", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--modules")
    parser.add_argument("--tests", action="append")
    options = parser.parse_args()
    arguments = {"modules": options.modules, "tests": options.tests}
    instead = {name: value for name, value in arguments.items() if value}
    if shutil.which("cosmic-ray") is None:
        parser.error("cosmic-ray is not installed: pip install 'tallyspan[mutants]'")
    print(f"seed {options.seed}")
    is_enough = True
    with TemporaryDirectory(prefix="tallyspan-mutants-") as folder:
        copy_tree(Path(folder))
        for part in options.part or CONFIG["parts"]:
            about = CONFIG["parts"][part] | instead
            noticed, tried = killed(part, about, Path(folder), options.mutants, options.seed)
            print(
                f"mutants_killed_{part} {100 * noticed / tried:.0f} percent ({noticed} of {tried})"
            )
            is_enough &= 100 * noticed >= CONFIG["threshold_percent"] * tried
    return 0 if is_enough else 1


if __name__ == "__main__":
    sys.exit(main())
