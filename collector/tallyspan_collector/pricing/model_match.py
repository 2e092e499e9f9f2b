"""Whether a model of the price data is the one that a call names, or only a neighbour of it.

The package matches many names by how they begin or what they contain, so that a variant with a
price of its own (`gemini-3.8-flash-cyber`) looks like its base. What a name has beside the model's
own may only be of the kinds that stand here.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    MatchLogic,
    ModelInfo,
)

HARMLESS_BEFORE: tuple[tuple[str, str], ...] = (
    (r"(?:[\w.@-]+/)+", "a path: publishers/google/models/, bedrock/us-east-1/, anthropic/"),
    (r"(?:us|global|regional)\.(?=[a-z0-9-]+\.)", "the places that prices at Bedrock are of"),
    (
        r"(?:eu|apac|jp|au|in|ca|sa|me|af|mx)\.(?=anthropic\.)",
        "Claude costs the same in all of them: https://platform.claude.com/docs/en/about-claude/pricing",
    ),
    (
        r"(?:amazon|anthropic|deepseek|google|meta|mistral|moonshotai|nvidia|openai|qwen|writer|zai)\.",
        "who made it, in the names of Bedrock",
    ),
)
"""What may stand before a model's name, and what it is."""

DEARER_PLACES: tuple[tuple[str, str], ...] = (
    (r"us-gov\.", "GovCloud, 1.2 times the price: https://aws.amazon.com/bedrock/pricing"),
    (
        r"(?:eu|apac|jp)\.amazon\.",
        "up to 1.3 times the price of the United States: https://aws.amazon.com/bedrock/pricing",
    ),
)
"""Bedrock's inference profiles that the package has at the price of another place."""

HARMLESS_AFTER: tuple[tuple[str, str], ...] = (
    (r"[-@](?:latest|default)", "an alias for the version that is current"),
    (r"-v\d+(?::\d+)?", "a version at Bedrock: -v1:0"),
    (r":\d+k?", "a version, or the context of provisioned throughput, at Bedrock: :0, :300k"),
    (r"[-@]20\d{2}-?[01]\d-?[0-3]\d", "the day of a snapshot: -2026-01-31, @20260131"),
    (r"-[01]\d-20\d{2}", "the month of a snapshot: -09-2025"),
    (r"-[01]\d-[0-3]\d", "the day of a snapshot without its year: -05-20"),
    (r"[-@]\d{3,4}", "a version or a month: -001, -0125, -2507"),
    (
        r"-(?:preview|exp)-[01]\d-(?:[0-3]\d|20\d{2})",
        "a preview of a day or month; the package has it among the names of the model",
    ),
    (r"-maas", "model as a service: Vertex's ending of its partners' models"),
    (r"(?<=[\d-]):[\w-]*:[\w-]*:[\w-]*", "organisation, name and id of a fine-tuned model"),
    (r"\.ft-\w*", "the id of a model that was fine-tuned at Azure"),
)
"""What may stand after a model's name, and what it is."""

HARMLESS_NAMES: tuple[tuple[str, str, str], ...] = (
    ("computer-use", r"computer-use-preview(?:-2025-03-11)?", "OpenAI sells no other of them"),
    (
        "gemini-3.1-pro-preview",
        r"gemini-3\.1-pro-preview-customtools",
        "one row of https://ai.google.dev/gemini-api/docs/pricing with the model",
    ),
    (
        "gemini-3.8-live",
        r"gemini-3\.8-live-extended-thinking",
        "the same prices on https://ai.google.dev/gemini-api/docs/pricing",
    ),
    (
        "gemini-live-2.5-flash",
        r"gemini-live-2\.5-flash(?:-preview)?-native-audio(?:-\d{2}-\d{4})?",
        "the same prices on https://cloud.google.com/vertex-ai/generative-ai/pricing",
    ),
    ("gemma-3", r"gemma-3-\d+b-it", "a size; all are free at the Gemini API, and only there"),
    ("gemma-3n", r"gemma-3n-e\d+b-it", "a size; all are free at the Gemini API, and only there"),
    (
        "mistral.pixtral-large-2502-v1:0",
        r"eu\.mistral\.pixtral-large-2502-v1:0",
        "one price wherever it is: https://aws.amazon.com/bedrock/pricing",
    ),
    ("mixtral-8x7b", r"(?:open-)?mixtral-8x7b-instruct(?:-v0\.1)?", "Mistral sold no other of it"),
    ("moderation", r"(?:omni|text)-moderation(?:-[\w-]+)?", "OpenAI's moderations are all free"),
    (
        "qwen.qwen3-coder-30b-a3b-v1:0",
        r"qwen\.qwen3-coder-30b-a3b-instruct",
        "its name at bedrock-mantle, https://aws.amazon.com/bedrock/pricing",
    ),
    (
        "qwen.qwen3-coder-480b-a35b-v1:0",
        r"qwen\.qwen3-coder-480b-a35b-instruct",
        "its name at bedrock-mantle, https://aws.amazon.com/bedrock/pricing",
    ),
    (
        "qwen.qwen3-vl-235b-a22b-v1:0",
        r"qwen\.qwen3-vl-235b-a22b-instruct",
        "its name at bedrock-mantle, https://aws.amazon.com/bedrock/pricing",
    ),
)
"""A model's id, a pattern of whole names that are the same model, and why."""

_BEFORE = re.compile("|".join(f"(?:{pattern})" for pattern, _ in HARMLESS_BEFORE))
_AFTER = re.compile("(?:" + "|".join(pattern for pattern, _ in HARMLESS_AFTER) + ")$")
_CUT_VERSION = re.compile(r"-(?:0|20\d\d)?$")
"""Where the package's beginning of a name ends within a version: `claude-sonnet-4-2025`."""
_DEARER = re.compile("(?:^|/)(?:" + "|".join(pattern for pattern, _ in DEARER_PLACES) + ")")
_DOT = re.compile(r"(?<=\d)\.(?=\d)")


def is_same_model(model: ModelInfo, name: str) -> bool:
    """Return whether the name is the model's own but for what is harmless."""
    low = name.lower()
    if _DEARER.search(low) is not None:
        return False
    if any(model.id == of and re.fullmatch(pattern, low) for of, pattern, _ in HARMLESS_NAMES):
        return True
    if any(re.fullmatch(pattern, low) for pattern in _patterns(model.match)):
        return True
    return _bare(low) in _own_names(model.id, tuple(_texts(model.match)))


@lru_cache(maxsize=4096)
def _own_names(model: str, texts: tuple[str, ...]) -> frozenset[str]:
    spellings = {each.lower() for each in (model, *texts)}
    return frozenset(map(_bare, spellings | {_CUT_VERSION.sub("", each) for each in spellings}))


def _bare(name: str) -> str:
    """Return the name without what is harmless, a version's dots written as dashes."""
    while (start := _BEFORE.match(name)) is not None:
        name = name[start.end() :]
    while (end := _AFTER.search(name)) is not None:
        name = name[: end.start()]
    return _DOT.sub("-", name)


def _texts(match: MatchLogic) -> Iterator[str]:
    """Yield the names, and parts of names, that the package looks for."""
    match match:
        case ClauseOr():
            for each in match.or_:
                yield from _texts(each)
        case ClauseAnd():
            for each in match.and_:
                yield from _texts(each)
        case ClauseEquals():
            yield match.equals
        case ClauseStartsWith():
            yield match.starts_with
        case ClauseEndsWith():
            yield match.ends_with
        case ClauseContains():
            yield match.contains
        case ClauseRegex():
            return


def _patterns(match: MatchLogic) -> Iterator[str]:
    """Yield the package's regular expressions; one that spells a whole name is as good as one."""
    match match:
        case ClauseRegex():
            yield match.regex
        case ClauseOr():
            for each in match.or_:
                yield from _patterns(each)
        case ClauseAnd():
            for each in match.and_:
                yield from _patterns(each)
        case _:
            return
