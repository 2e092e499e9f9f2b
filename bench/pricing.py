"""What pricing a call costs: `name value unit`, best of several rounds of 20,000 calls."""

import random
import time

from tallyspan.usage import Usage
from tallyspan_collector.pricing.book import PriceBook
from tallyspan_collector.pricing.cost import Priced
from tallyspan_collector.read.call import Call

ROWS = 20_000
ROUNDS = 15
MODELS = (
    ("openai", "gpt-5-mini-2025-08-07"),
    ("openai", "gpt-5"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("gcp.gemini", "gemini-2.5-pro"),
    ("openai", "text-embedding-3-small"),
    ("openai", "no-such-model"),
)
START_NS = 1_780_000_000 * 10**9


def calls() -> list[Call]:
    """Return calls as services make them: six models, half with cache reads, over one day."""
    dice = random.Random(7)
    result = []
    for number in range(ROWS):
        provider, model = dice.choice(MODELS)
        input_tokens = dice.randrange(50, 8000)
        cached = input_tokens // 2 if dice.random() < 0.5 else None
        usage = Usage(input_tokens, 0 if "embed" in model else dice.randrange(1, 900), cached)
        at_ns = START_NS + number * 4 * 10**9
        result.append(
            Call(
                f"{number:032x}",
                f"{number:016x}",
                "",
                at_ns,
                at_ns,
                provider,
                "chat",
                model,
                usage=usage,
            )
        )
    return result


def main() -> None:
    book, rows = PriceBook(), calls()
    priced = sum(isinstance(each, Priced) for each in book.price_calls(rows))
    assert 0 < priced < ROWS
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        book.price_calls(rows)
        best = min(best, time.perf_counter() - started)
    print(f"pricing.row {best / ROWS * 1e6:.3f} us")


if __name__ == "__main__":
    main()
