"""Rules about calls that no span of LibreChat carries: which of them the settings turn on."""

from collections.abc import Iterator
from dataclasses import dataclass

from tallyspan_collector.librechat.check import preload
from tallyspan_collector.librechat.check.findings import Finding, Severity
from tallyspan_collector.librechat.check.in_use import InUse
from tallyspan_collector.librechat.check.settings import Settings


@dataclass(frozen=True, slots=True)
class Path:
    """A kind of calls that is in no span.

    It is turned on by one of `variables` of `.env`, by one of `keys` of `librechat.yaml` (with
    dots) unless a key of `free` has the value beside it, or by an agent with one of `tools`; if it
    `is_of_agents` nothing else uses it. `endpoints` are those of its messages. `preload` are its
    groups there; empty: `covered` says what covers it.
    """

    title: str
    calls: str
    variables: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    free: tuple[tuple[str, str], ...] = ()
    tools: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    is_of_agents: bool = False
    preload: tuple[str, ...] = ()
    covered: str = ""


PATHS = (
    Path(
        "image tools",
        "every picture that an agent makes",
        variables=(
            "DALLE_API_KEY", "DALLE3_API_KEY", "DALLE2_API_KEY", "IMAGE_GEN_OAI_API_KEY",
            "GEMINI_API_KEY", "FLUX_API_KEY", "SD_WEBUI_URL",
        ),
        tools=("dalle", "image_gen_oai", "image_edit_oai", "gemini_image_gen", "flux",
               "stable-diffusion"),
        is_of_agents=True,
        preload=("images",),
    ),
    Path(
        "speech",
        "every text that is read aloud, and every recording that is written down",
        variables=("TTS_API_KEY", "STT_API_KEY"),
        keys=("speech.tts", "speech.stt"),
        preload=("speech",),
    ),
    Path(
        "Assistants",
        "runs of assistants and the titles of their conversations",
        variables=("ASSISTANTS_API_KEY", "AZURE_ASSISTANTS_API_KEY"),
        keys=(
            "endpoints.assistants", "endpoints.azureAssistants", "endpoints.azureOpenAI.assistants",
        ),
        endpoints=("assistants", "azureAssistants"),
        preload=("assistants",),
    ),
    Path(
        "OCR",
        "every page of an uploaded file that is read",
        variables=("OCR_API_KEY",),
        keys=("ocr",),
        free=(("ocr.strategy", "document_parser"),),
        preload=("ocr",),
    ),
    Path(
        "web search",
        "every search, page and reranking",
        variables=(
            "SERPER_API_KEY", "TAVILY_API_KEY", "FIRECRAWL_API_KEY", "JINA_API_KEY",
            "COHERE_API_KEY",
        ),
        keys=("webSearch",),
        free=(("webSearch.searchProvider", "searxng"),),
        tools=("web_search",),
        preload=("search", "rerank"),
    ),
    Path(
        "file search (RAG)",
        "embeddings of uploaded files and of the questions about them, made by the RAG service",
        variables=("RAG_API_URL",),
        tools=("file_search",),
        covered='# our instrumentation in the RAG service: docs/librechat.md, "The RAG service"',
    ),
)  # fmt: skip


_ABORTS = ("aborts",)


def path_findings(settings: Settings, in_use: InUse | None) -> Iterator[Finding]:
    """Yield what is turned on and in no span."""
    for path in PATHS:
        place = _turned_on(path, settings)
        used = "" if in_use is None else in_use.of_tools(path.tools)
        if not place and not used:
            continue
        if path.preload and preload.is_counted(settings.env, path.preload):
            continue
        is_idle = path.is_of_agents and in_use is not None and not used
        usage = used or ("no agent uses it today" if is_idle else "")
        if in_use is not None and path.endpoints:
            usage = in_use.of_messages(path.endpoints)
        yield Finding(
            Severity.NOTE if is_idle else Severity.LOST,
            place or settings.env.path,
            f"{path.title}: turned on, and in no span",
            f"{path.calls} ({usage})" if usage else path.calls,
            path.covered or preload.lines(settings.env, path.preload),
        )
    yield from _aborted(settings, in_use)
    yield from _late(settings)


def _late(settings: Settings) -> Iterator[Finding]:
    env = settings.env
    if preload.is_late(env):
        yield Finding(
            Severity.INEXACT,
            env.place("NODE_OPTIONS"),
            "NODE_OPTIONS stands in .env, which LibreChat reads when Node runs already: the preload"
            " is loaded only if something else puts it into the environment of the process",
            "all that the preload is to count",
            "# docker-compose.override.yml, checked with --compose:\n"
            f"services:\n  api:\n    environment:\n      NODE_OPTIONS: {env['NODE_OPTIONS']}",
        )


def _turned_on(path: Path, settings: Settings) -> str:
    """Return the place of what turns it on; empty: nothing does."""
    for name in path.variables:
        if settings.env[name]:
            return settings.env.place(name)
    if any(settings.config.at(*text.split(".")) == value for text, value in path.free):
        return ""
    for text in path.keys:
        keys = text.split(".")
        if settings.config.at(*keys) not in (None, False):
            return settings.config.place(*keys)
    return ""


def _aborted(settings: Settings, in_use: InUse | None) -> Iterator[Finding]:
    if not settings.has_env or preload.is_counted(settings.env, _ABORTS):
        return
    usage = f" ({in_use.unfinished()})" if in_use else ""
    yield Finding(
        Severity.INEXACT,
        settings.env.place("NODE_OPTIONS"),
        "answers that a user stops are in the spans without tokens, and in no ledger of LibreChat",
        f"stopped answers: counted, of unknown cost{usage}",
        preload.lines(settings.env, _ABORTS),
    )
