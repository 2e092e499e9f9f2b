"""The dialects know every provider that the instrumentation knows, by today's name."""

import pytest

from tallyspan.formats import PROVIDERS
from tallyspan_collector.dialects.providers import provider


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_keeps_its_name_and_is_concluded_from_a_models_prefix(name: str) -> None:
    assert provider(name, "", "some-model") == (name, False)
    assert provider("", "", f"{name}/some-model") == (name, True)


def test_a_providers_own_host_decides_over_what_compatible_clients_claim() -> None:
    assert provider("openai", "api.groq.com", "llama") == ("groq", False)
    assert provider("openai", "gateway.internal", "llama") == ("openai", False)
