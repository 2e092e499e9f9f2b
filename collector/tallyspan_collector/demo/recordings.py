"""The recorded exchanges that come with the package; their origin is in each of them."""

import gzip
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Recording:
    """A request to a provider and its answer; `expected`: what a simple reader sees in it."""

    id: str
    url: str
    request_body: dict[str, Any]
    status: int
    response_headers: dict[str, str]
    response_body: str
    expected: dict[str, Any]

    @property
    def path(self) -> str:
        """Path of the request, without the query."""
        return urlsplit(self.url).path

    @property
    def origin(self) -> str:
        """Scheme and host of the provider."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events."""
        return bool(self.expected.get("stream"))


def load() -> list[Recording]:
    """Return all recordings, in a fixed order."""
    packed = resources.files(__package__).joinpath("recordings.jsonl.gz").read_bytes()
    recordings = []
    for line in gzip.decompress(packed).splitlines():
        values = json.loads(line)
        recordings.append(Recording(**{name: values[name] for name in Recording.__slots__}))
    return recordings
