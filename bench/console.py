"""The console at ROWS calls (default a million): each page in a headless Chromium, cold and again.

Prints `name value unit`: from the click to the last panel drawn, medians of REPEATS loads of a page
with everything but the figures cached, and how long the figures of a page take on their own.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store import figure, filled

from tallyspan_collector.console.dashboards import bundled

REPEATS = int(os.environ.get("REPEATS", "3"))
PAGES = [uid.removeprefix("tallyspan-") for uid in bundled()]
ANSWERS = """() => performance.getEntriesByType('resource')
    .filter((each) => each.name.includes('/panels'))
    .map((each) => each.responseEnd - each.requestStart)"""


@contextmanager
def collector(folder: Path) -> Iterator[dict[str, str]]:
    """Yield what a collector on the folder's store said when it was ready."""
    free = "127.0.0.1:0"
    process = subprocess.Popen(
        [sys.executable, "-m", "tallyspan", "up", "--data-dir", str(folder), "--otlp-grpc", free,
         "--otlp-http", free, "--admin", free],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(30)


def settled(page: Any) -> None:
    """Wait until every panel is drawn."""
    page.wait_for_selector("#page[aria-busy=false] .panel:not(.loading)")
    # No string of JavaScript: the page's Content-Security-Policy has none run.
    page.wait_for_selector(".panel.loading", state="detached")


def measure(page: Any, home: str, name: str) -> None:
    """Print how long the page takes."""
    walls, slowest = [], 0.0
    for number in range(REPEATS + 1):
        began = time.perf_counter()
        page.goto(f"{home}/d/tallyspan-{name}")
        settled(page)
        wall = (time.perf_counter() - began) * 1000
        if number:
            walls.append(wall)
            slowest = max(slowest, *page.evaluate(ANSWERS))
        else:
            figure(f"console.{name}.first", round(wall), "ms")
    figure(f"console.{name}.again", round(statistics.median(walls)), "ms")
    figure(f"console.{name}.figures", round(slowest), "ms")
    assert page.locator(".panel.failed").count() == 0


def main() -> None:
    """Fill a store, serve it, look at every page."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("no chromium: apt-get install chromium")
    kept = os.environ.get("BENCH_STORE")
    with tempfile.TemporaryDirectory(prefix="tallyspan-bench-") as temporary:
        os.environ["BENCH_STORE"] = kept or temporary
        with filled():
            pass
        with collector(Path(os.environ["BENCH_STORE"])) as ready, sync_playwright() as started:
            browser = started.chromium.launch(
                executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.goto(ready["admin"] + "/")
            page.fill("#key", Path(ready["admin_key_file"]).read_text().strip())
            page.press("#key", "Enter")
            settled(page)
            for name in PAGES:
                measure(page, ready["admin"], name)
            browser.close()


if __name__ == "__main__":
    main()
