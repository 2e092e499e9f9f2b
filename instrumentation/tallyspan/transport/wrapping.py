"""A method of a library, wrapped so that it can be put back whoever wraps it too.

Other instrumentations wrap the same methods with the same package, before us and after us.
"""

from collections.abc import Callable
from typing import Any

import wrapt


class _Ours(wrapt.FunctionWrapper[Any, Any]):
    """Our wrapper, told from anybody else's by its type, and switched off where it must stay."""

    def __init__(self, wrapped: Any, sender: Callable[..., Any]) -> None:
        super().__init__(wrapped, sender, self.is_on)
        self._self_is_on = True

    def is_on(self) -> bool:
        return self._self_is_on

    def switch_off(self) -> None:
        self._self_is_on = False


def wrap(owner: type, name: str, sender: Callable[..., Any]) -> None:
    """Have the sender called in the place of the owner's method, unless one of ours is already."""
    if _find(owner, name)[1] is None:
        setattr(owner, name, _Ours(owner.__dict__[name], sender))


def unwrap(owner: type, name: str) -> None:
    """Take ours out, and leave what others have put around it."""
    around, ours = _find(owner, name)
    if ours is None:
        return
    ours.switch_off()  # whoever wraps it may call it still
    if around is None:
        setattr(owner, name, ours.__wrapped__)
    elif isinstance(around, wrapt.FunctionWrapper):
        around.__wrapped__ = ours.__wrapped__


def _find(owner: type, name: str) -> tuple[Any, Any]:
    """Return the wrapper directly around ours, and ours; None for what is not there."""
    around, found = None, owner.__dict__.get(name)
    while found is not None:
        if type(found) is _Ours and found.is_on():
            return around, found
        around, found = found, getattr(found, "__wrapped__", None)
    return None, None
