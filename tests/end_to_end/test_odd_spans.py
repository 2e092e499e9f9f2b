"""What an id, a time or a count can be at its worst, from OTLP to SQL."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from otlp_spans import CHAT, START_NS, request, span
from running import running_collector
from shared_store import SharedStore

ODD = [
    "o'neill",
    '"; DROP TABLE llm_calls; --',
    "\\' \\",
    "nul\0inside",
    "🙂 e\u0301",
    "x" * 10_000,
]
YEAR_NS = 365 * 86_400 * 10**9


def test_odd_ids_and_huge_counts_arrive_as_they_are_and_far_times_are_flagged(
    tmp_path: Path, empty_store: SharedStore
) -> None:
    spans: list[Any] = [
        span(number, {**CHAT, "user.id": text, "gen_ai.conversation.id": text})
        for number, text in enumerate(ODD, 1)
    ]
    huge = span(50, {**CHAT, "user.id": "huge", "gen_ai.usage.input_tokens": 2**33})
    far = span(60, {**CHAT, "user.id": "far"})
    far.start_time_unix_nano = START_NS + 170 * YEAR_NS
    far.end_time_unix_nano = far.start_time_unix_nano + 10**9
    with running_collector(tmp_path, store=empty_store.url) as collector:
        answer = httpx.post(
            f"http://{collector.ready.otlp_http}/v1/traces",
            content=request(*spans, huge, far),
            headers={"content-type": "application/x-protobuf"},
        )
        assert answer.status_code == 200
        rows = collector.rows("SELECT * FROM token_usage ORDER BY log_id")
        by_user = {row["user_id"]: row for row in rows}

        assert set(ODD) <= set(by_user)
        assert all(by_user[text]["conversation_id"] == text for text in ODD)
        assert by_user["huge"]["prompt_tokens"] == 2**33
        for view in ("usage_daily", "usage_by_model", "usage_by_conversation"):
            [total] = collector.rows(
                f"SELECT sum(calls) AS calls, sum(input_tokens) AS n FROM {view}"
            )
            assert total == {
                "calls": len(rows),
                "n": sum(row["prompt_tokens"] or 0 for row in rows),
            }, view
        [booked] = collector.rows("SELECT * FROM calls WHERE user_id = 'far'")
        assert booked["quality_flags"] == ["clock_off"]
        assert booked["tags"]["said_start_time"].startswith("2196-")
        assert abs(booked["start_time"] - datetime.now(UTC)) < timedelta(minutes=5)
        assert len(rows) == len(ODD) + 2
