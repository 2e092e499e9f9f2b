"""Calls that are over, and wait for a thread of ours to read their answers and end their spans.

Reading an answer costs several times as much between two requests, where none of our code is in the
processor's caches, as it does many at a time; and the caller need not wait for it. What waits is
bounded in calls, bytes and time; what finds no room is read by its caller.
"""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from tallyspan.guard import ours

MAX_WAITING = 1000
"""Calls."""
MAX_WAITING_BYTES = 4 << 20
"""Of their requests and answers."""
DELAY_SECONDS = 0.2
"""From the first call that waits until all that wait are read."""
CALLS_BETWEEN_PAUSES = 10
"""Read without letting the application's threads go on."""
PAUSE_SECONDS = 50e-6


class Backlog:
    """Runs what is put into it in its order, in a daemon thread that the first call starts.

    `start_others` starts the threads that reading may need: at the end of a process, where what
    waits is read too, Python starts no more of them.
    """

    def __init__(self, start_others: Callable[[], object]) -> None:
        self._start_others = start_others
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # What waits at a fork is the parent's to read. A call may end in the garbage collector,
        # which may come while this very thread puts another one here: `put` waits for no lock.
        self._calls: deque[Callable[[], None]] = deque()
        self._bytes = 0
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_awake = False
        self._reading = threading.RLock()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, read: Callable[[], None], size_bytes: int) -> bool:
        """Take what reads a call for later; False if there is no room, or no thread for it."""
        waiting = self._bytes + size_bytes
        if len(self._calls) >= MAX_WAITING or waiting > MAX_WAITING_BYTES:
            return False
        if self._thread is None and not self._start():
            return False
        self._bytes = waiting  # two threads at once may count one call only: the next round forgets
        self._calls.append(read)
        if not self._is_awake:
            self._is_awake = True
            self._wake.put(None)
        return True

    def read(self, pause_seconds: float = 0.0) -> None:
        """Read what waits; return when that is done, by this thread or by another one."""
        with self._reading:
            self._bytes = 0
            done = 0
            while self._calls:
                read = self._calls.popleft()
                with ours("end a call"):
                    read()
                done += 1
                if pause_seconds and not done % CALLS_BETWEEN_PAUSES:
                    time.sleep(pause_seconds)

    def _start(self) -> bool:
        if not self._starting.acquire(blocking=False):
            return self._thread is not None
        try:
            if self._thread is None:
                self._start_others()
                thread = threading.Thread(target=self._run, name="tallyspan-read", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError:  # no more threads for this process, or it is about to end
            return False
        finally:
            self._starting.release()
        return True

    def _run(self) -> None:
        while True:
            self._wake.get()
            time.sleep(DELAY_SECONDS)
            self._is_awake = False
            self.read(PAUSE_SECONDS)
