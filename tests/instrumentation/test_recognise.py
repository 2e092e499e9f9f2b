import pytest

from tallyspan.formats import PROVIDERS
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
        (
            "aws-external-anthropic.eu-west-1.api.aws",
            "/v1/messages",
            "aws.anthropic",
            "chat",
            "",
        ),
        ("api.minimax.io", "/anthropic/v1/messages", "minimax", "chat", ""),
        ("api.minimaxi.com", "/v1/text/chatcompletion_v2", "minimax", "chat", ""),
        ("ai-gateway.vercel.sh", "/v1/messages", "vercel.ai_gateway", "chat", ""),
        ("api.portkey.ai", "/v1/prompts/pp-x-1/completions", "portkey", "chat", ""),
        ("models.github.ai", "/inference/chat/completions", "github.models", "chat", ""),
        ("models.github.ai", "/orgs/o/inference/chat/completions", "github.models", "chat", ""),
        ("dashscope.aliyuncs.com", "/compatible-mode/v1/chat/completions", "dashscope", "chat", ""),
        ("api.ai21.com", "/studio/v1/chat/completions", "ai21", "chat", ""),
        (
            "api.cloudflare.com",
            "/client/v4/accounts/a/ai/v1/chat/completions",
            "cloudflare",
            "chat",
            "",
        ),
        (
            "dbc-a1b2345c-d6e7.cloud.databricks.com",
            "/serving-endpoints/databricks-gpt-oss-120b/invocations",
            "databricks",
            "chat",
            "databricks-gpt-oss-120b",
        ),
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
    ("host", "provider"),
    [
        ("ai-gateway.helicone.ai", "helicone"),
        ("ai-gateway.vercel.sh", "vercel.ai_gateway"),
        ("eu.ai-gateway.vercel.sh", "vercel.ai_gateway"),
        ("aihubmix.com", "aihubmix"),
        ("adb-1234567890123456.7.azuredatabricks.net", "databricks"),
        ("adb-1234567890123456.7.databricks.azure.us", "databricks"),
        ("dbc-a1b2345c-d6e7.cloud.databricks.com", "databricks"),
        ("1234567890123456.7.gcp.databricks.com", "databricks"),
        ("api-inference.modelscope.cn", "modelscope"),
        ("api.ai21.com", "ai21"),
        ("api.aimlapi.com", "aiml"),
        ("api.arcee.ai", "arcee"),
        ("api.avian.io", "avian"),
        ("api.cloudflare.com", "cloudflare"),
        ("api.cognition.ai", "cognition"),
        ("api.cortecs.ai", "cortecs"),
        ("api.deepinfra.com", "deepinfra"),
        ("api.doubleword.ai", "doubleword"),
        ("api.empiriolabs.ai", "empiriolabs"),
        ("api.featherless.ai", "featherless_ai"),
        ("api.friendli.ai", "friendliai"),
        ("api.gmi-serving.com", "gmi"),
        ("api.hyperbolic.xyz", "hyperbolic"),
        ("api.inceptionlabs.ai", "inception"),
        ("api.inference.wandb.ai", "wandb"),
        ("api.jina.ai", "jina_ai"),
        ("api.lambda.ai", "lambda_ai"),
        ("api.lambdalabs.com", "lambda_ai"),
        ("api.llama.com", "meta_llama"),
        ("api.meta.ai", "meta"),
        ("api.minimax.io", "minimax"),
        ("api.minimax.chat", "minimax"),
        ("api.minimaxi.com", "minimax"),
        ("api.morphllm.com", "morph"),
        ("api.novita.ai", "novita"),
        ("api.parasail.io", "parasail"),
        ("api.poe.com", "poe"),
        ("api.portkey.ai", "portkey"),
        ("api.publicai.co", "publicai"),
        ("api.reka.ai", "reka"),
        ("api.sambanova.ai", "sambanova"),
        ("api.sarvam.ai", "sarvam"),
        ("api.scaleway.ai", "scaleway"),
        ("api.siliconflow.cn", "siliconflow"),
        ("api.siliconflow.com", "siliconflow"),
        ("api.studio.nebius.ai", "nebius"),
        ("api.studio.nebius.com", "nebius"),
        ("api.tokenfactory.us-central1.nebius.com", "nebius"),
        ("api.synthetic.new", "synthetic"),
        ("api.typesafe.ai", "typesafe"),
        ("api.v0.dev", "v0"),
        ("api.venice.ai", "veniceai"),
        ("api.xiaomimimo.com", "xiaomi_mimo"),
        ("ark.ap-southeast.bytepluses.com", "volcengine"),
        ("ark.cn-beijing.volces.com", "volcengine"),
        ("aws-external-anthropic.us-west-2.api.aws", "aws.anthropic"),
        ("codestral.mistral.ai", "mistral_ai"),
        ("api.eu.mistral.ai", "mistral_ai"),
        ("api.us.mistral.ai", "mistral_ai"),
        ("dashscope-intl.aliyuncs.com", "dashscope"),
        ("dashscope-us.aliyuncs.com", "dashscope"),
        ("dashscope.aliyuncs.com", "dashscope"),
        ("cn-hongkong.dashscope.aliyuncs.com", "dashscope"),
        ("gigachat.devices.sberbank.ru", "gigachat"),
        ("inference.api.nscale.com", "nscale"),
        ("inference.baseten.co", "baseten"),
        ("inference.do-ai.run", "gradient_ai"),
        ("integrate.api.nvidia.com", "nvidia_nim"),
        ("kymaapi.com", "kyma"),
        ("llm.chutes.ai", "chutes"),
        ("models.github.ai", "github.models"),
        ("models.inference.ai.azure.com", "github.models"),
        ("nano-gpt.com", "nano-gpt"),
        ("oai.endpoints.kepler.ai.cloud.ovh.net", "ovhcloud"),
        ("gpt-oss-20b.endpoints.kepler.ai.cloud.ovh.net", "ovhcloud"),
        ("us-south.ml.cloud.ibm.com", "ibm.watsonx.ai"),
        ("api.aleph-alpha.com", "aleph_alpha"),
        ("open.bigmodel.cn", "zhipuai"),
        ("vanchin.streamlake.ai", "streamlake"),
    ],
)
def test_a_provider_has_its_own_host(host: str, provider: str) -> None:
    endpoint = recognise("POST", host, None, "/v1/chat/completions")

    assert endpoint is not None
    assert (endpoint.provider, endpoint.is_certain) == (provider, True)
    stranger = recognise("POST", f"{host}.example.com", None, "/v1/chat/completions")
    assert stranger is not None
    assert not stranger.is_certain


@pytest.mark.parametrize(
    ("path", "provider", "operation"),
    [
        ("/compat/chat/completions", "cloudflare", "chat"),
        ("/workers-ai/v1/chat/completions", "cloudflare", "chat"),
        ("/openai/chat/completions", "openai", "chat"),
        ("/openai/responses", "openai", "chat"),
        ("/anthropic/v1/messages", "anthropic", "chat"),
        ("/azure-openai/our-resource/our-gpt/chat/completions", "azure.ai.openai", "chat"),
        ("/google-ai-studio/v1/models/gemini-4:generateContent", "gcp.gemini", "generate_content"),
        (
            "/aws-bedrock/bedrock-runtime/us-east-1/model/amazon.nova/converse",
            "aws.bedrock",
            "chat",
        ),
        ("/grok/v1/chat/completions", "x_ai", "chat"),
        ("/groq/chat/completions", "groq", "chat"),
        ("/mistral/v1/chat/completions", "mistral_ai", "chat"),
        ("/openrouter/v1/chat/completions", "openrouter", "chat"),
    ],
)
def test_a_gateways_path_names_the_service_behind_it(
    path: str, provider: str, operation: str
) -> None:
    endpoint = recognise("POST", "gateway.ai.cloudflare.com", None, f"/v1/account/gateway{path}")

    assert endpoint is not None
    assert (endpoint.provider, endpoint.operation) == (provider, operation)
    assert endpoint.endpoint_id == "gateway.ai.cloudflare.com"


def test_every_route_leads_to_a_provider() -> None:
    assert {name for each in PROVIDERS.values() for _, name in each.routes} <= PROVIDERS.keys()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses"),
        ("POST", "/v1/messages/count_tokens"),
        ("GET", "/v1/messages/batches"),
        ("POST", "/v1/batches/batch_1/cancel"),
        ("POST", "/v1/responses/input_tokens"),
        ("POST", "/v1beta/models/gemini-2.5-pro:countTokens"),
        ("POST", "/v1/projects/p/publishers/anthropic/models/count-tokens:rawPredict"),
        ("POST", "/model/anthropic.claude/count-tokens"),
        ("POST", "/v1beta/models/nothing-known:predictLongRunning"),
        ("GET", "/v1beta/models/veo-3/operations"),
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
