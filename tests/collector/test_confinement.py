from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from running import running_collector
from tallyspan_clickhouse import confinement, landlock

REASON = "this kernel has no Landlock, or it is switched off"


@pytest.mark.store
def test_a_local_store_that_is_not_confined_is_among_the_first_lines_and_on_readyz(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with capture_logs() as lines, running_collector(tmp_path) as collector:
        health = httpx.get(f"{collector.ready.admin}/readyz").json()
        confined = collector.metric("tallyspan_store_confined")

    reasons = {"reason": REASON, "meaning": confinement.NOT_CONFINED}
    assert {"event": "store.not_confined", "log_level": "warning", **reasons} in lines[:2]
    assert (health["ready"], health["warnings"], confined) == (
        True, [f"the local store is not confined: {REASON}"], 0
    )  # fmt: skip
