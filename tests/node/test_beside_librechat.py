"""LibreChat's own packages with their Langfuse spans, and the preload: each call once, all of them counted."""

import pytest

from model_provider import model_provider
from preload import HERE, NODE, environment, node
from running import Running

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        not (NODE and (HERE / "librechat/node_modules/@librechat/agents").is_dir()),
        reason="no @librechat/agents: npm i --prefix tests/node/librechat --ignore-scripts",
    ),
]


def test_a_turn_is_langfuses_an_aborted_one_is_of_both_and_a_picture_is_ours(
    collector: Running,
) -> None:
    address = f"http://{collector.ready.otlp_http}"
    with model_provider() as port:
        langfuse = {
            "LANGFUSE_PUBLIC_KEY": "librechat-prod", "LANGFUSE_SECRET_KEY": "tsk_x",
            "LANGFUSE_BASE_URL": address, "LANGFUSE_PROJECT_ID": "tallyspan",
            "LANGFUSE_FLUSH_INTERVAL": "1",
        }  # fmt: skip
        ours = {"TALLYSPAN_PRELOAD_KEY": "tsk_x", "OTEL_SERVICE_NAME": "librechat"}
        done = node("librechat/turns.cjs", str(port), env=environment(address, **ours, **langfuse))
    assert (done.returncode, "tallyspan" in done.stderr) == (0, False), done.stderr
    rows = collector.rows(
        "SELECT tags['message_id'] AS message, request_model, user_id, conversation_id, agent_id,"
        " endpoint_id, input_tokens, output_tokens, cache_read_tokens, usage_source, error_type"
        " FROM calls ORDER BY message, request_model"
    )
    nobody = ("ada", "c0nv-1", "")
    said = ("ada", "c0nv-1", "agent_7Hq")

    assert [tuple(row.values()) for row in rows] == [
        ("", "gpt-image-1", "ada", "c0nv-1", "", "127.0.0.1", 50, 4160, None, "provider", ""),
        ("m-1", "gpt-4o", *said, "openAI", 1200, 80, None, "provider", ""),
        # "Be brief." and "hello": 14 characters at 4, two messages and the request; 40 streamed
        ("m-2", "gpt-4o-endless", *said, "openAI", 15, 10, None, "estimated", "AbortError"),
        # stated when it began; 70 characters streamed at 3.5
        ("m-3", "claude-sonnet-4-5-endless", *said, "anthropic", 1380, 20, 1000, "estimated",
         "AbortError"),
        ("m-4", "gpt-5-mini", *nobody, "openAI", 1200, 80, None, "provider", ""),
        # a 400: it costs nothing
        ("m-5", "refused-model", *nobody, "openAI", None, None, None, "unknown", "Error"),
        # a custom endpoint with LibreChat's default settings: nobody states its usage
        ("m-6", "llama-silent", *nobody, "local-llama", None, None, None, "unknown", ""),
        ("m-7", "gpt-4o-mini", *nobody, "openAI", 1200, 80, None, "provider", ""),
        # the other one of two turns of a model that the user aborted together
        ("m-8", "gpt-4o-endless", "ada", "c0nv-1", "agent_9Kz", "openAI", 15, 10, None, "estimated",
         "AbortError"),
        ("title-m-1", "gpt-4o", *said, "openAI", 40, 8, 16, "provider", ""),
        ("title-m-4", "gpt-5-mini", *nobody, "openAI", 40, 8, 16, "provider", ""),
    ]  # fmt: skip
    unbilled = collector.rows("SELECT request_model FROM calls WHERE cost_status = 'not_billed'")
    assert unbilled == [{"request_model": "refused-model"}]
