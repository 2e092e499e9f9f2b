"""Who may read what calls cost."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True, frozen=True)
class AdminKeys:
    """Names of admin keys and the SHA-256 digests of the keys; the keys themselves are not kept."""

    digests: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, keys: Mapping[str, str]) -> Self:
        """Return what recognises the given keys, by name."""
        return cls({name: hashlib.sha256(key.encode()).digest() for name, key in keys.items()})

    def __bool__(self) -> bool:
        """Whether there is any key at all."""
        return bool(self.digests)

    def name_of(self, key: bytes) -> str | None:
        """Return the name of the key, None for a wrong one; takes as long for either."""
        presented = hashlib.sha256(key).digest()
        found = None
        for name, digest in self.digests.items():
            if hmac.compare_digest(presented, digest):
                found = name
        return found

    def holds(self, digest: bytes) -> bool:
        """Return whether a key with this SHA-256 digest is (still) among them."""
        return digest in self.digests.values()
