"""Token counts where the provider sent none: a stream without usage, or one that was cut.

The texts of the request and of the answer so far are counted by tokenizer, in a thread of our own:
the caller never waits for it. What comes out is marked as an estimate. Pictures, sound and files
are not counted.
"""

import atexit
import json
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator

from tallyspan import tokenizer
from tallyspan.answer import Json, mapping
from tallyspan.guard import failures, ours

TOKENS_A_MESSAGE = 4
"""Role and separators of a chat message; OpenAI's models of 2023 to 2026, by recordings."""
TOKENS_A_REQUEST = 3
"""What primes the answer."""
WAITING_LIMIT = 1000
"""Estimates that may wait; above it a call is written as unknown, and counted."""
FLUSH_SECONDS = 5.0

COUNTABLE = {
    "openai_chat",
    "openai_responses",
    "anthropic_messages",
    "anthropic_complete",
    "gemini",
    "cohere",
    "lm_studio",
    "ollama",
    "tgi",
}
"""Formats whose requests and answers are billed by the tokens of their text."""

_ASKED = ("messages", "input", "inputs", "contents", "prompt")
_NOT_TEXT = {"data", "url", "image_url", "input_audio", "file_data", "file", "inlineData", "source"}
_SPOKEN = {
    "openai_chat": ("choices",),
    "anthropic_messages": ("delta", "content_block"),
    "anthropic_complete": ("completion",),
    "gemini": ("candidates",),
    "cohere": ("delta", "text", "message"),
    "lm_studio": ("content",),
    "ollama": ("message", "response"),
    "tgi": ("token",),
}
"""Where an answer, or one event of a stream, has what the model said, by format."""
_SAID_KEYS = {
    "content",
    "text",
    "reasoning",
    "reasoning_content",
    "refusal",
    "name",
    "arguments",
    "partial_json",
    "thinking",
    "completion",
    "response",
}


def input_tokens(body: bytes, model: str) -> int | None:
    """Return the prompt tokens of a JSON request; None if it cannot be read."""
    try:
        said = mapping(json.loads(body))
    except ValueError:
        return None
    if not said:
        return None
    messages = next((said[key] for key in _ASKED if key in said), None)
    count = len(messages) if isinstance(messages, list) else 1
    parts = list(_strings(messages))
    parts += [
        text
        for key in ("system", "system_prompt", "instructions", "systemInstruction")
        for text in _strings(said.get(key))
    ]
    if said.get("tools"):
        parts.append(json.dumps(said["tools"], ensure_ascii=False))
    counted = sum(tokenizer.count(part, model) for part in parts)
    return counted + count * TOKENS_A_MESSAGE + TOKENS_A_REQUEST


def output_tokens(events: Iterable[Json], wire_format: str, model: str) -> int:
    """Return the tokens of what the model said in the events of a stream."""
    said = "".join(text for event in events for text in _spoken(event, wire_format))
    return tokenizer.count(said, model)


def _spoken(event: Json, wire_format: str) -> Iterator[str]:
    if wire_format == "openai_responses":
        delta = event.get("delta")
        if isinstance(delta, str):
            yield delta
        return
    for root in _SPOKEN.get(wire_format, ()):
        yield from _values(event.get(root), root)


def _values(value: object, key: str) -> Iterator[str]:
    if isinstance(value, str):
        if key in _SAID_KEYS:
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _values(item, name)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _NOT_TEXT and key not in {"type", "role", "id", "cache_control"}:
                yield from _strings(item)


class Estimator:
    """Runs jobs one after another in a daemon thread that the first job starts."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # Streams nobody reads end in the garbage collector, which may come while this very thread
        # hands a job over: nothing here may wait for a lock.
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], None]) -> bool:
        """Take a job for later; False if too many wait, or nobody is there to do it."""
        if self._jobs.qsize() >= WAITING_LIMIT:
            failures["estimate tokens: too many wait"] += 1
            return False
        if self._thread is None and self._starting.acquire(blocking=False):
            try:
                self._start()
            except RuntimeError:  # no more threads for this process, or it is about to end
                failures["estimate tokens: no thread"] += 1
                return False
            finally:
                self._starting.release()
        self._jobs.put(job)
        return True

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="tallyspan", daemon=True)
        thread.start()
        self._thread = thread
        # Of what is registered the last runs first: before the tracer provider's own shutdown.
        atexit.unregister(self.flush)
        atexit.register(self.flush)

    def flush(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait until the jobs of before are done, at most so long."""
        if self._thread is not None:
            done = threading.Event()
            if self.submit(done.set):
                done.wait(seconds)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            with ours("estimate tokens"):
                job()


estimator = Estimator()
