"""A method of a library, wrapped so that it can be put back even if others wrap it too.

Other instrumentations wrap the same methods with the same package, before us and after us.
"""

from collections.abc import Callable
from typing import Any

import wrapt


class _Ours(wrapt.FunctionWrapper[Any, Any]):
    """Our wrapper, recognised by its type; where it cannot be removed it is switched off."""

    def __init__(self, wrapped: Any, sender: Callable[..., Any]) -> None:
        super().__init__(wrapped, sender, self.is_on)
        self._self_is_on = True

    def is_on(self) -> bool:
        return self._self_is_on

    def switch_off(self) -> None:
        self._self_is_on = False


def wrap(owner: type, name: str, sender: Callable[..., Any]) -> None:
    """Replace the owner's method by the sender, unless a sender of ours is there already."""
    if _find(owner, name)[1] is None:
        setattr(owner, name, _Ours(owner.__dict__[name], sender))


def unwrap(owner: type, name: str) -> None:
    """Remove our wrapper, and leave those that others have put around it."""
    around, ours = _find(owner, name)
    if ours is None:
        return
    ours.switch_off()  # a wrapper around it may hold a reference, and call it
    if around is None:
        setattr(owner, name, ours.__wrapped__)
    elif isinstance(around, wrapt.FunctionWrapper):
        around.__wrapped__ = ours.__wrapped__


def _find(owner: type, name: str) -> tuple[Any, Any]:
    """Return the wrapper directly around ours, and ours; None where there is none."""
    around, inner = None, owner.__dict__.get(name)
    while inner is not None:
        if type(inner) is _Ours and inner.is_on():
            return around, inner
        around, inner = inner, getattr(inner, "__wrapped__", None)
    return None, None
