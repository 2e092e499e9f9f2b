"""The model that the name of a cloud's SKU is about.

Names are written for billing, `USE1-Claude4.6Opus-cache-read-input-token-count-cross-region-global`
or `gpt 4o mini0718 BatchOutp DataZone Tokens` or `Gemini 2.5 Flash GA Text Input - Predictions`:
the model first, then what of it is billed, in words of their own.
"""

import re
from functools import lru_cache

_OF_TOKENS = re.compile(r"token|prediction", re.IGNORECASE)
_WORDS = (
    "text|txt|audio|aud|image|img|video|thinking|ga|mantle|cached|cache|cchd|cd|batch|input|inpt"
    "|inp|in|output|outpt|outp|opt|out|global|glbl|gl|regional|regnl|data|zone|dzone|dz|tokens"
    "|token|1m|1k|shortco|longco|long|short|priority|flex|ft|fine|cross|region|latency|custom"
    "|standard|count|write|read|generate|predictions|prediction"
)
_WHAT = re.compile(rf"(?<=\w)[\s_-]+(?:{_WORDS})+(?=[\s_-]|$)", re.IGNORECASE)
_REGION = re.compile(r"^[A-Z]{2,4}\d?-")
_WORDS_OF_AWS = re.compile(
    r"(?<=[a-z])(?=[A-Z][a-z])|(?<=\d)(?=[A-Z][a-z])|(?<=[a-z])(?=\d[\d.]*[A-Z])"
)
"""Where Claude4.6Opus is three words; Llama3-3-70B keeps its own."""
_EDITION = re.compile(r"([^:]+?) \(Amazon Bedrock Edition\)")
_MONTH_AND_DAY = re.compile(r"[\s-]?(?:0[1-9]|1[0-2])[0-3]\d$")


def model_of(sku: str) -> str:
    """Return the model that a SKU of tokens names; empty for a SKU of anything else."""
    if not _OF_TOKENS.search(sku):
        return ""
    start = sku.lower().find("gemini")  # "Generate content input token count Gemini 2.5 Pro short"
    sku = sku[max(start, 0) :].strip()
    what = _WHAT.search(sku)
    name = sku[: what.start()] if what else ""
    name = _MONTH_AND_DAY.sub("", name) or name  # Azure: gpt 4o 1120, of 2024-11-20
    if name[:1].isdigit():  # Azure: 5.4 nano Inp Gl 1M Tokens
        name = f"gpt-{name}"
    return "-".join(name.lower().split())


@lru_cache(maxsize=4096)
def model_of_any(sku: str, *texts: str) -> str:
    """Return the model that the SKU, or else one of the further texts about it, names."""
    return next((model for text in (sku, *texts) if (model := model_of(text))), "")


@lru_cache(maxsize=4096)
def model_of_aws(*texts: str) -> str:
    """Return the model that a usage type among the texts, or what the marketplace sells, names."""
    types = [text for text in texts if text and " " not in text]
    if not any(_OF_TOKENS.search(text) for text in types):
        return ""
    edition = next((match for text in texts if (match := _EDITION.search(text))), None)
    if edition:
        return "-".join(edition[1].lower().split())
    own = (_WORDS_OF_AWS.sub("-", _REGION.sub("", text)) for text in types if ":" not in text)
    return next((name for text in own if (name := model_of(text))), "")
