"""Settings that are kept as text with what was read by them, and read again with it."""

import json
from dataclasses import asdict, fields
from typing import Any, Self, cast


class KeptSettings:
    """Base of a dataclass that has `providers`, a tuple, among what JSON can have."""

    __slots__ = ()

    def to_json(self) -> str:
        """Return it as text, to be read by `from_json`."""
        return json.dumps(asdict(cast("Any", self)), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote; what another version wrote beside it is left out."""
        values = json.loads(text)
        names = {each.name for each in fields(cast("Any", cls))}
        of_ours = {name: value for name, value in values.items() if name in names}
        settings: Self = cast("Any", cls)(**of_ours | {"providers": tuple(values["providers"])})
        return settings
