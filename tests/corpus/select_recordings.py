"""Pick the recordings the repository keeps from the full corpus: small, varied, and replayable.

    python tests/corpus/select_recordings.py exchanges.jsonl.gz

Writes collector/tallyspan_collector/demo/recordings.jsonl.gz. At most SHARE of each kind (provider,
wire format, streamed, failed, features), the smallest first, so that every kind is there.
"""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SHARE = 3
BODY_LIMIT = 12_000
TARGET = Path(__file__).parents[2] / "collector/tallyspan_collector/demo/recordings.jsonl.gz"
APIS = {
    "openai.chat",
    "openai.responses",
    "openai.embeddings",
    "anthropic.messages",
    "gemini.generate",
}
PROVIDERS = {
    "openai",
    "azure.ai.openai",
    "anthropic",
    "gcp.gemini",
    "groq",
    "deepseek",
    "mistral_ai",
    "openrouter",
}
KEPT = (
    "id",
    "repo",
    "commit",
    "path",
    "method",
    "url",
    "request_body",
    "status",
    "response_headers",
    "response_body",
    "expected",
)


def kind(exchange: dict[str, Any]) -> tuple[object, ...] | None:
    said = exchange["expected"]
    body = exchange["request_body"]
    if not said.get("call") or said.get("api") not in APIS or said.get("provider") not in PROVIDERS:
        return None
    if not isinstance(body, dict) or said.get("empty_body") or not exchange.get("response_body"):
        return None
    if said.get("sub_calls") or body.get("background") or "/compact" in exchange["url"]:
        return None
    if len(json.dumps(body)) + len(exchange["response_body"]) > BODY_LIMIT:
        return None
    if said["api"] == "gemini.generate" and "contents" not in body:
        return None
    return (
        said["provider"],
        said["api"],
        said.get("stream"),
        exchange["status"] >= 400,
        bool(said.get("usage_reported")),
        bool(said.get("cache_read")),
        bool(said.get("cache_write")),
        bool(said.get("reasoning")),
        bool(said.get("service_tier")),
        urlsplit(exchange["url"]).path.endswith("messages") and "beta=true" in exchange["url"],
    )


def main() -> None:
    with gzip.open(sys.argv[1], "rt") as lines:
        exchanges = [json.loads(line) for line in lines]
    exchanges.sort(key=lambda e: (len(e.get("response_body") or ""), e["id"]))
    taken: Counter[tuple[object, ...]] = Counter()
    chosen = []
    for exchange in exchanges:
        its = kind(exchange)
        if its is not None and taken[its] < SHARE:
            taken[its] += 1
            chosen.append({key: exchange[key] for key in KEPT if key in exchange})
    chosen.sort(key=lambda e: e["id"])
    with gzip.GzipFile(TARGET, "wb", mtime=0) as out:
        for exchange in chosen:
            out.write((json.dumps(exchange, ensure_ascii=False, sort_keys=True) + "\n").encode())
    print(len(chosen), "recordings,", TARGET.stat().st_size, "bytes;", taken)  # noqa: T201


if __name__ == "__main__":
    main()
