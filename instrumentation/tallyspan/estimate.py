"""Token counts where the provider sent none: a stream without usage, or one that was cut.

The texts of the request and of the answer so far are counted by tokenizer, in a thread of our own:
the caller never waits for it. The result is marked as an estimate. Pictures, sound and files are
not counted.
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
from tallyspan.semconv import CALL_OPERATIONS
from tallyspan.wire_format import Estimate, Format

TOKENS_A_MESSAGE = 4
"""Role and separators of a chat message; OpenAI's models of 2023 to 2026, by recordings."""
TOKENS_A_REQUEST = 3
"""What primes the answer."""
MAX_WAITING = 1000
"""Estimates that may wait; above it a call is written as unknown, and counted."""
FLUSH_SECONDS = 5.0

_NOT_TEXT = {"data", "url", "image_url", "input_audio", "file_data", "file", "inlineData", "source"}


def is_possible(wire_format: Format, operation: str) -> bool:
    """Whether such a call is billed by the tokens of its text, and we know where its texts are."""
    return isinstance(wire_format.estimate, Estimate) and operation in CALL_OPERATIONS


def input_tokens(body: bytes, wire_format: Format, model: str) -> int | None:
    """Return the prompt tokens of a JSON request; None if it cannot be read."""
    keys = wire_format.estimate
    try:
        content = mapping(json.loads(body))
    except ValueError:
        return None
    if not content or not isinstance(keys, Estimate):
        return None
    messages = next((content[key] for key in keys.prompt if key in content), None)
    count = len(messages) if isinstance(messages, list) else 1
    parts = list(_strings(messages))
    parts += [text for key in keys.system for text in _strings(content.get(key))]
    if content.get(keys.tools):
        parts.append(json.dumps(content[keys.tools], ensure_ascii=False))
    counted = sum(tokenizer.count(part, model) for part in parts)
    return counted + count * TOKENS_A_MESSAGE + TOKENS_A_REQUEST


def output_tokens(events: Iterable[Json], wire_format: Format, model: str) -> int:
    """Return the tokens that the model generated in the events of a stream."""
    if not isinstance(wire_format.estimate, Estimate):
        return 0
    texts = wire_format.estimate.answer
    return tokenizer.count("".join(text for event in events for text in texts(event)), model)


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
        if self._jobs.qsize() >= MAX_WAITING:
            failures["estimate tokens: too many wait"] += 1
            return False
        if not self.start():
            failures["estimate tokens: no thread"] += 1
            return False
        self._jobs.put(job)
        return True

    def start(self) -> bool:
        """Start the thread, unless it runs; False if this process gets no more threads."""
        if self._thread is None and self._starting.acquire(blocking=False):
            try:
                thread = threading.Thread(target=self._run, name="tallyspan", daemon=True)
                thread.start()
                self._thread = thread
                # Of what is registered the last runs first: before the tracer provider's own
                # shutdown.
                atexit.unregister(self.flush)
                atexit.register(self.flush)
            except RuntimeError:  # or it is about to end
                return False
            finally:
                self._starting.release()
        return True

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
