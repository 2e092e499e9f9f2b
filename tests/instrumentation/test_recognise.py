import pytest

from tallyspan.recognise import recognise


@pytest.mark.parametrize(
    ("host", "path", "provider", "operation", "model"),
    [
        ("api.openai.com", "/v1/chat/completions", "openai", "chat", ""),
        ("eu.api.openai.com", "/v1/responses", "openai", "chat", ""),
        ("api.openai.com", "/v1/embeddings", "openai", "embeddings", ""),
        (
            "r.openai.azure.com",
            "//openai/deployments/my%2Dgpt/chat/completions",
            "azure.ai.openai",
            "chat",
            "my-gpt",
        ),
        ("api.anthropic.com", "/v1/messages", "anthropic", "chat", ""),
        (
            "generativelanguage.googleapis.com",
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
            "gcp.gemini",
            "generate_content",
            "gemini-2.5-pro",
        ),
        (
            "us-central1-aiplatform.googleapis.com",
            "/v1/projects/p/locations/l/publishers/google/models/gemini-3:generateContent",
            "gcp.vertex_ai",
            "generate_content",
            "gemini-3",
        ),
        ("gateway.example.com", "/proxy/openai/chat/completions", "openai", "chat", ""),
        ("localhost", "/v1/completions", "openai", "text_completion", ""),
        (
            "bedrock-runtime.us-east-1.amazonaws.com",
            "/model/us.anthropic.claude%3A0/converse-stream",
            "aws.bedrock",
            "chat",
            "us.anthropic.claude:0",
        ),
        (
            "bedrock-runtime.us-east-1.amazonaws.com",
            "/model/amazon.nova-lite-v1%3A0/invoke",
            "aws.bedrock",
            "chat",
            "amazon.nova-lite-v1:0",
        ),
        (
            "bedrock-runtime.us-east-1.amazonaws.com",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.amazon.nova/converse",
            "aws.bedrock",
            "chat",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova",
        ),
        ("api.cohere.com", "/v2/chat", "cohere", "chat", ""),
        ("api.cohere.ai", "/v1/embed", "cohere", "embeddings", ""),
        ("ollama.com", "/api/generate", "ollama", "text_completion", ""),
        (
            "generativelanguage.googleapis.com",
            "/v1beta/models/gemini-embedding-2:batchEmbedContents",
            "gcp.gemini",
            "embeddings",
            "gemini-embedding-2",
        ),
        ("api.mistral.ai", "/v1/fim/completions", "mistral_ai", "text_completion", ""),
        ("api.mistral.ai", "/v1/agents/completions", "mistral_ai", "chat", ""),
        ("api.mistral.ai", "/v1/ocr", "mistral_ai", "generate_content", ""),
        ("api.deepseek.com", "/beta/completions", "deepseek", "text_completion", ""),
        ("api.perplexity.ai", "/chat/completions", "perplexity", "chat", ""),
        ("api.fireworks.ai", "/inference/v1/chat/completions", "fireworks", "chat", ""),
        ("openrouter.ai", "/api/v1/messages", "openrouter", "chat", ""),
        ("api.voyageai.com", "/v1/rerank", "voyageai", "rerank", ""),
        ("api.voyageai.com", "/v1/multimodalembeddings", "voyageai", "embeddings", ""),
        ("api.writer.com", "/v1/chat", "writer", "chat", ""),
        ("api.openai.com", "/v1/decisions", "openai", "chat", ""),
        ("vllm.internal", "/score", "openai", "rerank", ""),
        ("llama.internal", "/completion", "llama_cpp", "text_completion", ""),
        ("r.openai.azure.com", "/openai/v1/responses", "azure.ai.openai", "chat", ""),
        ("r.services.ai.azure.com", "/anthropic/v1/messages", "azure.ai.openai", "chat", ""),
        (
            "aiplatform.googleapis.com",
            "/v1/projects/p/locations/global/endpoints/openapi/chat/completions",
            "gcp.vertex_ai",
            "chat",
            "",
        ),
        (
            "europe-west4-aiplatform.googleapis.com",
            "/v1/projects/p/locations/l/publishers/mistralai/models/mistral-small:rawPredict",
            "gcp.vertex_ai",
            "chat",
            "mistral-small",
        ),
        (
            "generativelanguage.googleapis.com",
            "/v1beta/models/imagen-4.0-generate-001:predict",
            "gcp.gemini",
            "generate_content",
            "imagen-4.0-generate-001",
        ),
        (
            "vpce-0a1-b2.bedrock-runtime.us-east-1.vpce.amazonaws.com",
            "/model/amazon.titan-text-lite-v1/invoke",
            "aws.bedrock",
            "chat",
            "amazon.titan-text-lite-v1",
        ),
        ("bedrock-mantle.us-east-1.api.aws", "/anthropic/v1/messages", "aws.bedrock", "chat", ""),
        ("api.openai.com", "/v1/images/generations", "openai", "generate_content", ""),
    ],
)
def test_a_call_is_recognised_by_the_end_of_its_path(
    host: str, path: str, provider: str, operation: str, model: str
) -> None:
    endpoint = recognise("POST", host, None, path)

    assert endpoint is not None
    assert (endpoint.provider, endpoint.operation, endpoint.model) == (provider, operation, model)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/responses/input_tokens"),
        ("POST", "/v1beta/models/gemini-2.5-pro:countTokens"),
        ("POST", "/v1/projects/p/publishers/anthropic/models/count-tokens:rawPredict"),
        ("POST", "/model/anthropic.claude/count-tokens"),
        ("POST", "/v1beta/models/veo-3:predictLongRunning"),
        ("POST", "/v1/files"),
        ("DELETE", "/v1/chat/completions"),
    ],
)
def test_what_only_counts_tokens_or_keeps_files_is_no_call(method: str, path: str) -> None:
    assert recognise(method, "api.openai.com", None, path) is None


def test_an_unknown_host_keeps_its_address_as_endpoint() -> None:
    endpoint = recognise("POST", "llm.internal", 8000, "/v1/chat/completions")

    assert endpoint is not None
    assert (endpoint.endpoint_id, endpoint.is_certain) == ("llm.internal:8000", False)
