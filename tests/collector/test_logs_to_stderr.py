"""Log lines of a process whose reader is gone cost no work: the thread that logs goes on."""

import os
import subprocess
import sys

import pytest

LOGGING_THREAD = """
import threading, time
import structlog
from tallyspan_collector.server.logs import log_to_stderr

def work():
    for number in range(100):
        structlog.get_logger().warning("insert.failed", error="x" * 1000)
    print("done")

log_to_stderr()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.process
@pytest.mark.parametrize("is_read", [True, False])
def test_a_thread_that_logs_goes_on_when_nobody_reads_the_log(is_read: bool) -> None:
    reader, writer = os.pipe()
    if not is_read:
        os.close(reader)
    child = subprocess.Popen(
        [sys.executable, "-c", LOGGING_THREAD], stdout=subprocess.PIPE, stderr=writer, text=True
    )
    os.close(writer)
    lines = 0
    if is_read:
        with os.fdopen(reader) as log:
            lines = sum("level=warning event=insert.failed" in line for line in log)
    output, _ = child.communicate(timeout=60)

    assert output == "done\n"  # and no line of the log is among the results
    assert lines == (100 if is_read else 0)
