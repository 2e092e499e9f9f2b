"""Where a call was served, from the host it went to: a price may depend on it."""

import re
from functools import lru_cache

_HOSTS = tuple(
    re.compile(host)
    for host in (
        r"(?:.+\.)?bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?(?:amazonaws\.com|api\.aws)",
        r"^(?:bedrock-mantle|aws-external-anthropic)\.([a-z0-9-]+)\.api\.aws",
        r"^([a-z0-9-]+)-aiplatform\.(?:mtls\.)?googleapis\.com",
        r"^aiplatform\.([a-z]+)\.rep\.(?:mtls\.)?googleapis\.com",
        r"^([a-z]{2})\.api\.openai\.com",
        r"^([a-z0-9-]+)\.api\.x\.ai",
        r"^api\.([a-z]{2})\.mistral\.ai",
    )
)


@lru_cache(maxsize=4096)
def region_of(host: str) -> str:
    """Return the region in the host's name (`eu-west-1`, `eu`); empty when it names none."""
    return next((match[1] for pattern in _HOSTS if (match := pattern.match(host))), "")
