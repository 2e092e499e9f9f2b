"""What LibreChat's other collections know of a call: endpoint, agent, provider, who counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tallyspan.formats import PROVIDERS
from tallyspan_collector.dialects.librechat import decode_agent
from tallyspan_collector.dialects.providers import is_known, provider
from tallyspan_collector.librechat.mongo import Document, Mongo
from tallyspan_collector.librechat.pairs import Pair
from tallyspan_collector.librechat.transactions import (
    API_MESSAGES,
    IMAGES,
    INCOMPLETE,
    MAX_CHARACTERS,
)

AGENTS = "agents"
ASSISTANTS = {"assistants": "openai", "azureAssistants": "azure.ai.openai"}
"""Endpoints whose runs report their usage always, and whose messages never have it."""
_BUILT_IN = {"openAI", "azureOpenAI", "anthropic", "google", "bedrock"}
_CACHE_APART = "aws.bedrock"
"""The provider whose input LibreChat gets without its cache."""
_FIRST_HAND = frozenset({"openai", "anthropic", "gcp.gemini"})


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a conversation; empty text: LibreChat does not know, or not any more.

    `is_counted`: its message has the usage that the provider sent; None: there is no message, or
    this version keeps none. `is_failed`: it ended with an error. `is_sampled_out`: LibreChat chose
    to send no spans of it.
    """

    endpoint: str = ""
    agent_id: str = ""
    agent_name: str = ""
    is_counted: bool | None = None
    is_failed: bool = False
    is_sampled_out: bool = False

    @property
    def is_phantom(self) -> bool:
        """Whether calls of it are LibreChat's estimate of what the provider refused."""
        return self.is_failed and not self.is_counted


def has_no_span(pair: Pair, turn: Turn) -> bool:
    """Whether LibreChat's exporter sends no span of such calls: runs of Assistants, pictures."""
    return pair.kind == IMAGES or turn.endpoint in ASSISTANTS


class Origin(NamedTuple):
    """Where a call went and how its tokens were counted, as our ledger names it."""

    provider: str
    endpoint: str
    usage_source: str
    input_tokens: int


def turns_of(mongo: Mongo, pairs: Sequence[Pair]) -> dict[tuple[str, str], Turn]:
    """Return what is known of the turns of these calls, by conversation and message.

    Raises as `Mongo.find`. Messages that are gone (their time is over, their user was deleted)
    leave what their conversation knows.
    """
    wanted = sorted({(pair.prompt.conversation, pair.prompt.message) for pair in pairs})
    messages = _by(mongo, "messages", "messageId", [message for _, message in wanted])
    conversations = _by(mongo, "conversations", "conversationId", [each for each, _ in wanted])
    keeps_usage = any(_has_usage(each) for each in messages.values()) or _keeps_usage(mongo, pairs)
    documents = {key: (messages.get(key[1], {}), conversations.get(key[0], {})) for key in wanted}
    agents = _by(
        mongo,
        "agents",
        "id",
        [agent for message, conversation in documents.values()
         if (agent := _agent_of(message, conversation)[0])],
    )  # fmt: skip
    return {
        key: _turn(message, conversation, agents, keeps_usage=keeps_usage)
        for key, (message, conversation) in documents.items()
    }


def origin_of(pair: Pair, turn: Turn) -> Origin:
    """Return where a call went; a model of another provider than the turn's went there."""
    model = pair.prompt.model
    if pair.kind == IMAGES:  # a tool's own call, whatever the agent runs on
        return Origin(provider("", "", model)[0], "", "provider", pair.prompt.tokens)
    name = ASSISTANTS.get(turn.endpoint) or _provider_of(turn.endpoint, model)
    of_model, _ = provider("", "", model)
    endpoint = turn.endpoint
    if name in _FIRST_HAND and of_model in _FIRST_HAND and turn.endpoint in _BUILT_IN:
        endpoint = turn.endpoint if of_model == name else ""
        name = of_model
    input_tokens = _input_tokens(pair, name)
    is_corrected = input_tokens != pair.prompt.tokens
    usage_source = "estimated" if is_corrected else _usage_source(pair, turn)
    return Origin(name, endpoint, usage_source, input_tokens)


def _input_tokens(pair: Pair, provider_name: str) -> int:
    """Return the input of a call, its cache counted once.

    The Agents API of LibreChat keeps no provider with the usage, and so adds the cache to an input
    that has it already.
    """
    prompt = pair.prompt
    once = prompt.tokens - prompt.cached_tokens
    is_twice = prompt.message.startswith(API_MESSAGES) and provider_name != _CACHE_APART
    return once if is_twice and once >= prompt.cached_tokens else prompt.tokens


def _usage_source(pair: Pair, turn: Turn) -> str:
    """Return who counted: LibreChat estimates where a provider sent no usage, and does not say so.

    It keeps in the turn's message what the provider sent; a title has no message of its own.
    """
    if INCOMPLETE in {pair.prompt.context, pair.answer.context}:
        return "estimated"
    if pair.kind or turn.endpoint in ASSISTANTS or turn.is_counted is not False:
        return "provider"
    return "estimated"


def _provider_of(endpoint: str, model: str) -> str:
    """Return the provider of an endpoint; LibreChat calls any other one as if it were OpenAI."""
    if not endpoint:
        return provider("", "", model)[0]
    if endpoint in _BUILT_IN or is_known(endpoint):
        return provider(endpoint, "", model)[0]
    return PROVIDERS["openai"].name


def _turn(
    message: Document,
    conversation: Document,
    agents: dict[str, Document],
    *,
    keeps_usage: bool,
) -> Turn:
    agent_id, endpoint = _agent_of(message, conversation)
    agent = agents.get(agent_id, {})
    is_counted = _has_usage(message) if message and keeps_usage else None
    return Turn(
        endpoint=_text(agent, "provider") or endpoint,
        agent_id=agent_id,
        agent_name=_text(agent, "name"),
        is_counted=is_counted,
        is_failed=bool(message.get("error")),
        is_sampled_out=message.get("langfuseSampled") is False,
    )


def _agent_of(message: Document, conversation: Document) -> tuple[str, str]:
    """Return agent and endpoint; of an agent that was made up for the turn the endpoint only."""
    endpoint = _text(message, "endpoint") or _text(conversation, "endpoint")
    if endpoint in ASSISTANTS:
        return _text(message, "model"), endpoint
    if endpoint != AGENTS:
        return "", endpoint
    agent, of_agent = decode_agent(_text(message, "model") or _text(conversation, "agent_id"))
    return agent, of_agent


def _keeps_usage(mongo: Mongo, pairs: Sequence[Pair]) -> bool:
    """Return whether this version keeps usage in messages: whether some message then has it."""
    if not pairs:
        return False
    until = {"createdAt": {"$lte": max(pair.at for pair in pairs)}}
    return any(map(_has_usage, mongo.find("messages", until, 500, order=("createdAt", -1))))


def _has_usage(message: Document) -> bool:
    metadata = message.get("metadata")
    return isinstance(metadata, dict) and isinstance(metadata.get("usage"), dict)


def _by(mongo: Mongo, collection: str, name: str, values: Sequence[str]) -> dict[str, Document]:
    wanted = sorted({value for value in values if value})
    return {_text(each, name): each for each in mongo.with_values(collection, name, wanted)}


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return value[:MAX_CHARACTERS] if isinstance(value, str) else ""
