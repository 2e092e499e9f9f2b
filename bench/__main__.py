"""Runs the benchmarks: `python bench [NAME ...]`, all of them without a name.

Each is a script of its own that prints one figure a line as `name value unit`, and what it measured
with on stderr. `attacks` and `soak` are scripts beside them, which are run by themselves.
"""

import subprocess
import sys
from pathlib import Path

BENCHES = ("light", "instrumentation", "sockets", "collector", "readers", "pricing", "what_if",
           "focus", "inserts", "store", "console", "node")  # fmt: skip
FOLDER = Path(__file__).resolve().parent


def main(names: list[str]) -> int:
    """Run the named benchmarks one after another; return the number of those that failed."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.exit(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHES)}")
    scripts = [FOLDER / f"{name}.py" for name in names or BENCHES]
    return sum(
        subprocess.run([sys.executable, script], check=False).returncode != 0 for script in scripts
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
