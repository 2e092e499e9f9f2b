"""LibreChat's ledger beside ours: what explains a difference, and that not everything does."""

from decimal import Decimal
from typing import Any

from ledger import book as book_entries
from ledger import unpriced
from librechat_bench import Bench, span
from librechat_ledger import USER


def test_each_difference_has_its_reason(bench: Bench) -> None:
    bench.librechat.database.users.insert_one({"_id": USER})
    both: list[tuple[str, str, tuple[float, float], dict[str, Any]]] = [
        ("same", "message", (0.25, 2.0), {"cost_usd": Decimal("0.00046")}),
        ("dearer", "message", (0.5, 2.0), {"cost_usd": Decimal("0.00046")}),
        ("unknown-there", "message", (6.0, 6.0), {"cost_usd": Decimal("0.00046")}),
        ("cached", "message", (0.25, 2.0), {"cache_read_tokens": 1000}),
        ("cut", "incomplete", (0.25, 2.3), {"cost_usd": Decimal("0.0001")}),
        ("off", "message", (0.25, 2.0), {"input_tokens": None, "output_tokens": None}),
        ("ours-estimated", "message", (0.25, 2.0), {"input_tokens": 1, "usage_source": "estimated"}),
        ("refused", "message", (1.0, 1.0), {"input_tokens": None, "status": "error"}),
        ("odd", "message", (0.25, 2.0), {"input_tokens": 1199}),
    ]  # fmt: skip
    for number, (model, context, rates, columns) in enumerate(both):
        bench.librechat.call(f"m{number}", model=model, context=context, rates=rates)
        span(bench.client, f"m{number}", request_model=model, model_name=model, **columns)
    bench.librechat.message("n1", langfuseSampled=False)
    bench.librechat.call("n1", model="sampled")
    bench.librechat.call("n2", model="lost")
    bench.librechat.call("", model="gemini-2.5-flash-image", context="image_generation")
    bench.librechat.call("n5", (912, 282), model="run")
    span(bench.client, tags={}, input_tokens=912, output_tokens=282, cost_usd=Decimal("0.000792"))
    span(bench.client, "n3", request_model="gone", user_id="65aa0000000000000000ffff")
    span(bench.client, "n4", request_model="ours")
    code, reasons = bench.reconciled()

    assert reasons == {
        ("same", "message"): "equal",
        ("dearer", "message"): "price",
        ("unknown-there", "message"): "default_rate",
        ("cached", "message"): "cache_ignored",
        ("cut", "incomplete"): "incomplete",
        ("off", "message"): "usage_off",
        ("ours-estimated", "message"): "estimated_usage",
        ("refused", "message"): "phantom",
        ("odd", "message"): "unexplained",
        ("sampled", "message"): "sampled_out",
        ("lost", "message"): "no_span",
        ("run", "message"): "equal",
        ("gemini-2.5-flash-image", "image_generation"): "images",
        ("gone", "message"): "user_deleted",
        ("ours", "message"): "unexplained",
    }
    assert code == 1


def test_a_day_without_documents_says_that_transactions_are_off(bench: Bench) -> None:
    span(bench.client, "m1")

    assert bench.reconciled() == (0, {("gpt-5-mini", "message"): "transactions_off"})


def test_a_cache_that_the_agents_api_counts_twice_is_explained(bench: Bench) -> None:
    # the provider's input is 6,576 with its cache of 1,038 + 1,384; the ledger has 8,998
    bench.librechat.call("resp_1", (8998, 317), cached=(1038, 1384))
    span(
        bench.client,
        "resp_1",
        input_tokens=6576,
        output_tokens=317,
        cache_write_tokens=1038,
        cache_read_tokens=1384,
    )

    assert bench.reconciled() == (0, {("gpt-5-mini", "message"): "cache_twice"})


def test_a_call_that_waits_for_its_price_here_says_so(bench: Bench) -> None:
    bench.librechat.call("m1", model="new-model", rates=(1.0, 1.0))
    tags = {"message_id": "m1"}
    book_entries(
        bench.client,
        [unpriced(tags=tags, request_model="new-model", input_tokens=1200, output_tokens=80)],
    )

    assert bench.reconciled() == (0, {("new-model", "message"): "unpriced"})


def test_flags_of_bills_are_not_for_librechat_nor_its_own_for_bills(bench: Bench) -> None:
    bench.name = "reconcile"
    for arguments, flag in (
        (["librechat", "--mongo", bench.librechat.uri, "--file", "x.csv"], "--file"),
        (["csv", "--file", "x.csv", "--mongo", bench.librechat.uri], "--mongo"),
    ):
        assert bench.run(*arguments) == 2
        assert bench.err == f"tallyspan: {flag}: is not for reconcile {arguments[0]}\n"


def test_the_table_ends_with_what_is_explained(bench: Bench) -> None:
    bench.librechat.call("m1", model="lost")
    bench.name = "reconcile"
    code = bench.run("librechat", "--mongo", bench.librechat.uri, "--from", "2026-03-31", "--to", "2026-03-31")  # fmt: skip

    assert code == 0
    assert bench.out.splitlines()[-2:] == [
        "no_span: 1 call",
        "0 calls equal on both sides, 0 unexplained",
    ]
