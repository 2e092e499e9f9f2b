"""`tallyspan librechat check`: what the settings of a LibreChat keep from being recorded."""

import json
import re
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from librechat_ledger import LibreChat
from tallyspan_collector.cli import main
from tallyspan_collector.errors import ConfigError
from tallyspan_collector.librechat.check import preload
from tallyspan_collector.librechat.check.findings import Severity
from tallyspan_collector.librechat.check.in_use import InUse
from tallyspan_collector.librechat.check.paths import PATHS
from tallyspan_collector.librechat.check.rules import find
from tallyspan_collector.librechat.check.settings import (
    Config,
    Environment,
    Settings,
    read_config,
    read_environment,
    with_compose,
)
from tallyspan_collector.librechat.mongo import Mongo

LOST, INEXACT, NOTE = Severity.LOST, Severity.INEXACT, Severity.NOTE
GOOD_ENV = """
# LibreChat
LANGFUSE_PUBLIC_KEY=librechat-prod
export LANGFUSE_SECRET_KEY="tsi_abc"   # ours
LANGFUSE_BASE_URL=http://tallyspan:4318
LANGFUSE_FLUSH_INTERVAL=1
LANGFUSE_TRACE_TOOL_OUTPUTS=false
NODE_OPTIONS=--max-old-space-size=4096 --require /app/tallyspan-preload.cjs
TALLYSPAN_PRELOAD=images,speech,assistants,ocr,search,rerank,aborts
TALLYSPAN_PRELOAD_URL=http://tallyspan:4318
TALLYSPAN_PRELOAD_KEY=tsi_abc
"""
GOOD_CONFIG = """
version: 1.3.1
endpoints:
  custom:
    - name: my-gateway
      baseURL: https://llm.example/v1
      addParams: &usage
        streamUsage: true
    - name: other
      addParams:
        <<: *usage
"""


def settings(tmp_path: Path, env: str = GOOD_ENV, config: str = GOOD_CONFIG) -> Settings:
    (tmp_path / "librechat.yaml").write_text(config)
    return Settings(environment(tmp_path, env), read_config(tmp_path / "librechat.yaml"))


def environment(
    tmp_path: Path, env: str, compose: str = "services: {api: {env_file: .env}}"
) -> Environment:
    """The variables of a `.env` that compose, which LibreChat is run by, passes on."""
    (tmp_path / ".env").write_text(env)
    (tmp_path / "compose.yml").write_text(compose)
    return with_compose(read_environment(tmp_path / ".env"), tmp_path / "compose.yml")


def without(name: str) -> str:
    return "\n".join(line for line in GOOD_ENV.splitlines() if name not in line)


def test_settings_that_report_everything_have_no_finding(tmp_path: Path) -> None:
    assert list(find(settings(tmp_path))) == []


@pytest.mark.parametrize(
    ("env", "severity", "what", "write"),
    [
        (without("PUBLIC_KEY"), LOST, "LANGFUSE_PUBLIC_KEY is missing", "LANGFUSE_PUBLIC_KEY=librechat-prod"),
        (without("SECRET") + "\nLANGFUSE_SECRET_KEY=", LOST, "SECRET_KEY is empty", "LANGFUSE_SECRET_KEY=<"),
        (without("SECRET") + "\nLANGFUSE_SECRET_KEY=tsa_x", LOST, "a key of the role admin", "LANGFUSE_SECRET"),
        (without("SECRET") + "\nLANGFUSE_SECRET_KEY=sk-lf-1", LOST, "a key of Langfuse", "LANGFUSE_SECRET_KEY=<"),
        (without("BASE_URL"), LOST, "spans go to Langfuse's cloud", "LANGFUSE_BASE_URL=http://tallyspan:4318"),
        (without("BASE_URL") + "\nLANGFUSE_HOST=https://cloud.langfuse.com", LOST, "Langfuse's cloud", "LANGF"),
        (GOOD_ENV + "LANGFUSE_FANOUT_COLLECTOR_URL=fanout", LOST, "is no URL: fanout", "LANGFUSE_FANOUT_COLLECTOR_URL=http"),
        (without("BASE_URL") + "\nLANGFUSE_BASE_URL=tallyspan:4318", LOST, "is no URL", "LANGFUSE_BASE_URL=http"),
        (without("BASE_URL") + "\nLANGFUSE_BASE_URL=http://t:4318/", INEXACT, "ends in a slash", "LANGFUSE_BASE_URL=http://t:4318"),
        (without("BASE_URL") + "\nLANGFUSE_BASE_URL=http://u:p@t:4318/v1/traces", INEXACT, "has the path of the spans", "LANGFUSE_BASE_URL=http://t:4318"),
        (GOOD_ENV + "LANGFUSE_TRACING_ENABLED=false", LOST, "sends no spans", "LANGFUSE_TRACING_ENABLED=true"),
        (GOOD_ENV + "LANGFUSE_SAMPLE_RATE=0.25", LOST, "is 0.25", "LANGFUSE_SAMPLE_RATE=1"),
        (GOOD_ENV + "LANGFUSE_SAMPLE_RATE=often", LOST, "is often", "LANGFUSE_SAMPLE_RATE=1"),
        (without("FLUSH"), LOST, "is not set, which is 5 seconds", "LANGFUSE_FLUSH_INTERVAL=1"),
        (without("FLUSH") + "\nLANGFUSE_FLUSH_INTERVAL=30", LOST, "is 30: what is not sent yet", "LANGFUSE_FLUSH_INTERVAL=1"),
        (GOOD_ENV + "LANGFUSE_FORCE_FLUSH_ON_DISPOSE=true", NOTE, "every turn wait", "LANGFUSE_FLUSH_INTERVAL=1"),
        (GOOD_ENV + "LANGFUSE_MEDIA_UPLOAD_ENABLED=false", INEXACT, "inside the spans", "LANGFUSE_MEDIA_UPLOAD_ENABLED=true"),
        (without("TOOL_OUTPUTS"), NOTE, "what tools return", "LANGFUSE_TRACE_TOOL_OUTPUTS=false"),
        (without("NODE_OPTIONS"), INEXACT, "answers that a user stops", "NODE_OPTIONS=--require=/app/tallyspan-preload.cjs"),
        (without("PRELOAD_URL"), INEXACT, "answers that a user stops", "TALLYSPAN_PRELOAD_URL=http://tallyspan:4318"),
        (without("PRELOAD_KEY"), INEXACT, "answers that a user stops", "TALLYSPAN_PRELOAD_KEY=<the ingest key>"),
        (GOOD_ENV.replace(",aborts", ""), INEXACT, "answers that a user stops", "TALLYSPAN_PRELOAD=images,speech,assistants,ocr,search,rerank,aborts"),
    ],
)  # fmt: skip
def test_each_variable_that_loses_calls_is_told_with_the_line_to_write(
    tmp_path: Path, env: str, severity: Severity, what: str, write: str
) -> None:
    [finding] = find(settings(tmp_path, env))

    assert finding.severity is severity
    assert what in finding.what
    assert finding.write.startswith(write)


def test_a_finding_names_file_and_line_and_the_share_that_is_lost(tmp_path: Path) -> None:
    [finding] = find(settings(tmp_path, GOOD_ENV + "LANGFUSE_SAMPLE_RATE=0.25"))

    assert finding.place == f"{tmp_path}/.env:12"
    assert finding.calls.startswith("75 of 100 turns")


@pytest.mark.parametrize(
    ("config", "severity", "what"),
    [
        ("endpoints: {custom: [{name: a}]}", LOST, "custom endpoint a: LibreChat does not ask it"),
        ("endpoints: {custom: [{baseURL: b}]}", LOST, "custom endpoint number 1"),
        ("endpoints: {custom: [{name: a, addParams: {stream_options: {include_usage: true}}}]}",
         LOST, "stream_options has no effect"),
        ("endpoints: {custom: [{name: a, addParams: {streamUsage: 'true'}}]}", LOST, "is 'true', not true"),
        ("langfuse: {enabled: false}", LOST, "langfuse.enabled is false"),
        ("langfuse: {trace: {userIdField: email}}", NOTE, "users are known by that"),
        ("langfuse: {trace: {}}", NOTE, "after 0.8.8-rc1"),
        ("transactions: {enabled: false}", INEXACT, "keeps no ledger of its own"),
        ("memory: {agent: {provider: openAI}}", NOTE, "never in LibreChat's own ledger"),
    ],
)  # fmt: skip
def test_each_key_that_loses_calls_is_told_at_its_line(
    tmp_path: Path, config: str, severity: Severity, what: str
) -> None:
    finding = find(settings(tmp_path, config=f"version: 1\n{config}"))[0]

    assert finding.severity is severity
    assert what in finding.what
    assert finding.place == f"{tmp_path}/librechat.yaml:2"


@pytest.mark.parametrize(
    "config",
    [
        "transactions: {enabled: false}\nbalance: {enabled: true}",  # which turns them on
        "memory: {disabled: true, agent: {provider: openAI}}",
        "memory: {agent: {enabled: false, provider: openAI}}",
        "ocr: {strategy: document_parser}",
        "webSearch: {searchProvider: searxng}",
        "endpoints: {custom: none}",
        "",
    ],
)
def test_what_loses_nothing_is_not_told(tmp_path: Path, config: str) -> None:
    assert list(find(settings(tmp_path, config=config))) == []


def test_keys_in_librechats_yaml_do_but_for_the_memory_agent(tmp_path: Path) -> None:
    env = without("LANGFUSE_PUBLIC").replace("LANGFUSE_SECRET_KEY", "OTHER")
    config = "langfuse: {publicKey: a, secretKey: b}"
    memory = f"{config}\nmemory: {{agent: {{provider: openAI}}}}"

    assert list(find(settings(tmp_path, env, config))) == []
    lost = [each for each in find(settings(tmp_path, env, memory)) if each.severity is LOST]
    assert [each.calls for each in lost] == ["calls of the memory agent"] * 2


def test_searches_of_a_server_of_ones_own_are_free_and_what_reranks_them_is_not(
    tmp_path: Path,
) -> None:
    env = GOOD_ENV.replace(",search,rerank", "") + "JINA_API_KEY=x"
    [finding] = find(settings(tmp_path, env, "webSearch: {searchProvider: searxng}"))

    assert finding.what.startswith("web search")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.title)
def test_each_way_to_turn_on_what_no_span_has_is_found_until_the_preload_counts_it(
    tmp_path: Path, path: Any
) -> None:
    quiet = GOOD_ENV.replace("images,speech,assistants,ocr,search,rerank,", "")
    ways = [(f"{quiet}{name}=x", "") for name in path.variables]
    for key in path.keys:
        *above, last = key.split(".")
        nested: Any = {last: {"url": "x"}}
        for name in reversed(above):
            nested = {name: nested}
        ways.append((quiet, json.dumps(nested)))
    for env, config in ways:
        [finding] = find(settings(tmp_path, env, config))
        counted = find(settings(tmp_path, env.replace("=aborts", "=all"), config))

        assert (finding.severity, finding.what) == (
            LOST,
            f"{path.title}: turned on, and in no span",
        )
        assert finding.write == (
            path.covered or f"TALLYSPAN_PRELOAD={','.join(('aborts', *path.preload))}"
        )
        assert bool(counted) == bool(path.covered)


def test_the_preload_has_every_group_and_variable_that_the_check_writes() -> None:
    text = (Path(__file__).parents[3] / "instrumentation/node" / preload.FILE).read_text()
    [listed] = re.findall(r"^const GROUPS = \[(.*?)\];", text, re.MULTILINE | re.DOTALL)
    groups = {each for path in PATHS for each in path.preload} | {"aborts"}

    assert groups <= set(re.findall(r"'(\w+)'", listed))
    assert all(f"env.{name}" in text for name in (preload.GROUPS, preload.URL, preload.KEY))


def test_with_the_database_it_is_told_how_much_is_lost(
    tmp_path: Path, librechat: LibreChat
) -> None:
    librechat.database.agents.insert_many(
        [
            {"id": "agent_1", "provider": "my-gateway", "tools": ["image_gen_oai"]},
            {"id": "agent_2", "provider": "openAI", "tools": ["web_search"]},
        ]
    )
    now = datetime.now(UTC)
    answers: list[tuple[str, str, int, dict[str, Any]]] = [
        ("my-gateway", "llama", 1, {}),
        ("agents", "agent_1", 2, {}),
        ("agents", "agent_1", 3, {"unfinished": True}),
        ("my-gateway", "llama", 31, {}),
        ("my-gateway", "llama", 1, {"isCreatedByUser": True}),
        ("agents", "agent_2", 1, {}),
        ("assistants", "asst_1", 1, {}),
    ]
    for number, (endpoint, model, days, more) in enumerate(answers):
        at = now - timedelta(days=days)
        librechat.message(f"m{number}", endpoint=endpoint, model=model, at=at, **more)
    config = "endpoints: {custom: [{name: my-gateway}, {name: idle}]}"
    env = without("TALLYSPAN_PRELOAD") + "\nASSISTANTS_API_KEY=user_provided\n"
    found = settings(tmp_path, env, config)

    with Mongo(librechat.uri) as mongo:
        findings = find(found, InUse.read(mongo))

    assert [(each.severity, each.calls.partition(" (")[2].rstrip(")")) for each in findings] == [
        (LOST, "1 agent, 3 answers in 30 days"),  # my-gateway
        (LOST, "0 answers in 30 days"),  # idle
        (LOST, "1 agent, 2 answers in 30 days"),  # pictures
        (LOST, "1 answer in 30 days"),  # Assistants
        (LOST, "1 agent, 1 answer in 30 days"),  # web search
        (INEXACT, "1 answer in 30 days"),  # stopped
    ]


def test_a_tool_of_agents_that_no_agent_has_loses_nothing(
    tmp_path: Path, librechat: LibreChat
) -> None:
    env = GOOD_ENV.replace("images,", "") + "DALLE_API_KEY=x"
    with Mongo(librechat.uri) as mongo:
        [finding] = find(settings(tmp_path, env), InUse.read(mongo))

    assert (finding.severity, finding.calls[-24:]) == (NOTE, "(no agent uses it today)")


def test_the_command_shows_findings_and_ends_with_1_if_calls_are_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(tmp_path, config="endpoints: {custom: [{name: a}]}")
    compose = ["--compose", f"{tmp_path}/compose.yml"]
    env = ["--env", f"{tmp_path}/.env"]
    files = ["--config", f"{tmp_path}/librechat.yaml", *env, *compose]

    assert main(["librechat", "check", *files]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"LOST  {tmp_path}/librechat.yaml:1: custom endpoint a: LibreChat does not ask it for usage",
        "    calls: streamed calls: booked without tokens and cost, unless its server sends them unasked",
        "    write: addParams:",
        "    write:   streamUsage: true",
        "1 LOST, 0 INEXACT, 0 notes",
    ]
    assert main(["librechat", "check", *files, "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["severity"] == "lost"
    assert main(["librechat", "check", *env]) == 0
    assert capsys.readouterr().out.endswith("0 LOST, 1 INEXACT, 0 notes\n")
    assert main(["librechat", "check", *env, *compose]) == 0
    assert capsys.readouterr().out == "0 LOST, 0 INEXACT, 0 notes\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name LibreChat's settings: --config librechat.yaml --env .env"),
        (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
        (["--config", "librechat.yaml", "--collector", "http://x"], "stands in --env FILE"),
    ],
)
def test_wrong_arguments_are_told(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["librechat", "check", *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("a: [", "librechat.yaml:1: not YAML"), ("- a", "must be a mapping"), ("a: b: c", "not YAML")],
)
def test_a_file_that_is_no_settings_is_refused_with_its_line(
    tmp_path: Path, text: str, sentence: str
) -> None:
    path = tmp_path / "librechat.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=sentence):
        read_config(path)


def test_values_of_an_env_file_are_read_as_dotenv_reads_them(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A='x # y' # z\nB=x#y # z\n#C=1\nD=\nE=a\nE=b\n bad line\nF = \"q\"\n")

    assert read_environment(path).values == {
        "A": "x # y", "B": "x#y", "D": "", "E": "b", "F": "q",
    }  # fmt: skip


PRELOAD_URL = "TALLYSPAN_PRELOAD_URL"


@pytest.mark.parametrize(
    ("compose", "expected", "line"),
    [
        (f"{{{PRELOAD_URL}: 'http://a:1'}}", "http://a:1", 1),
        (f"['{PRELOAD_URL}=http://a:1']", "http://a:1", 1),
        (f"[\n{PRELOAD_URL}]", "http://b:2", 2),  # passed on
        (f"{{{PRELOAD_URL}: }}", "http://b:2", 1),
        (f"{{{PRELOAD_URL}: '${{OTHER}}'}}", "http://c:3", 1),
        (f"{{{PRELOAD_URL}: 1}}", "1", 1),
        (f"{{{PRELOAD_URL}: true}}", "true", 1),
        (f"{{{PRELOAD_URL}: '${{NONE:-http://d:4}}'}}", "http://d:4", 1),
        ("{}", "http://b:2", None),
    ],
)
def test_the_environment_of_a_compose_file_goes_before_that_of_the_env_file(
    tmp_path: Path, compose: str, expected: str, line: int | None
) -> None:
    file = f"services: {{librechat: {{environment: {compose}}}}}"
    read = environment(tmp_path, f"{PRELOAD_URL}=http://b:2\nOTHER=http://c:3\n", file)

    assert read[PRELOAD_URL] == expected
    place = f"{tmp_path}/.env:1" if line is None else f"{tmp_path}/compose.yml:{line}"
    assert read.place(PRELOAD_URL) == place


def test_node_options_that_only_librechat_reads_are_told(tmp_path: Path) -> None:
    late = environment(tmp_path, GOOD_ENV, "services: {api: {}}")
    [finding] = find(Settings(late, Config()))
    set_by_compose = environment(
        tmp_path, GOOD_ENV, "services: {api: {environment: [NODE_OPTIONS]}}"
    )

    assert finding.severity is INEXACT
    assert "which LibreChat reads when Node runs already" in finding.what
    assert list(find(Settings(set_by_compose, Config()))) == []


def test_a_compose_file_without_librechat_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no service api or librechat"):
        environment(tmp_path, "", "services: {web: {}}")


def test_a_file_that_was_not_named_is_not_blamed() -> None:
    nothing = Settings(Environment(), Config(), has_env=False, has_config=False)

    assert list(find(nothing)) == []


def test_what_the_page_says_to_write_loses_nothing(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/librechat.md").read_text()
    blocks = re.findall(r"^ *```(?:sh|yaml)\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    [env] = [textwrap.dedent(each) for each in blocks if "LANGFUSE_SECRET_KEY=" in each]
    [config] = [textwrap.dedent(each) for each in blocks if "streamUsage" in each]
    assert "custom:" in config

    findings = find(settings(tmp_path, env, config))
    assert [each.what for each in findings if each.severity is LOST] == []


def test_the_librechat_of_our_own_compose_file_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TALLYSPAN_INGEST_KEY=a-long-random-text\n")
    env = read_environment(tmp_path / ".env")
    ours = with_compose(env, Path(__file__).parents[3] / "docker-compose.yml")

    assert ours["LANGFUSE_SECRET_KEY"] == "a-long-random-text"
    assert [each for each in find(Settings(ours, Config())) if each.severity is LOST] == []


OURS = """
mcpServers:
  tallyspan:
    type: streamable-http
    url: http://tallyspan:4319/mcp
    requiresOAuth: false
    headers:
      Authorization: 'Bearer ${TALLYSPAN_CHAT_KEY}'
      X-Tallyspan-User: '{{LIBRECHAT_USER_ID}}'
      x-tallyspan-conversation: '{{LIBRECHAT_BODY_CONVERSATIONID}}'
      X-Tallyspan-Message: '{{LIBRECHAT_BODY_MESSAGEID}}'
"""
OF_ADMINS = """
mcpServers:
  costs:
    url: https://tallyspan.example/mcp
    requiresOAuth: false
    headers: {Authorization: 'Bearer ${ADMIN}'}
  weather:
    url: https://weather.example/mcp
"""


@pytest.mark.parametrize(
    ("servers", "writes"),
    [
        (OURS, []),
        (OF_ADMINS, []),
        (OURS.replace("    requiresOAuth: false\n", ""), ["requiresOAuth: false"]),
        (OF_ADMINS.replace("requiresOAuth: false", "requiresOAuth: true"), ["requiresOAuth: false"]),
        (OURS.replace("X-Tallyspan-Message", "X-Message"), ["X-Tallyspan-Message: '{{LIBRECHAT_BODY_MESSAGEID}}'"]),
        ("mcpServers: [tallyspan]", []),
        ("mcpServers: {tallyspan: http://tallyspan:4319/mcp}", []),
    ],
)  # fmt: skip
def test_a_chat_that_cannot_ask_for_costs_is_told_what_its_server_lacks(
    tmp_path: Path, servers: str, writes: list[str]
) -> None:
    findings = find(settings(tmp_path, config=GOOD_CONFIG + servers))

    assert [each.write for each in findings] == writes
    assert all(each.severity is NOTE for each in findings)
