"""Blocking calls of a coroutine, on threads that do not keep the process from ending."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import ParamSpec, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


async def in_thread(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Return what the function returns, called on a daemon thread of its own.

    Unlike `asyncio.to_thread`: a call that still waits for a store when the process is to end is
    left behind, instead of being waited for.
    """
    answer: Future[Result] = Future()

    def run() -> None:
        with suppress(InvalidStateError):  # cancelled: nobody waits any more
            try:
                answer.set_result(function(*args, **kwargs))
            except Exception as error:  # noqa: BLE001  the coroutine raises it
                answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(answer)
