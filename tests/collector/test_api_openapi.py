"""The document says what the server does: checked by requests made of it, good and bad."""

from typing import Any

import pytest
import schemathesis
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from prometheus_client import CollectorRegistry
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from call_facts import FACTS, NASTY_FACTS, fill
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.api import create_app

KEY = {"Authorization": "Bearer tsa_key"}
CHECKS = (
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)


@pytest.fixture(scope="module")
def client(client: Client) -> Client:
    fill(client, FACTS + NASTY_FACTS)
    return client


@pytest.fixture(scope="module")
def api(client: Client) -> Any:
    app = create_app(
        client, Keys.of({"ops": "tsa_key"}), lambda: {"ready": True}, CollectorRegistry()
    )
    return schemathesis.openapi.from_asgi("/api/openapi.json", app)


@pytest.fixture(scope="module")
def browser(client: Client) -> TestClient:
    app = create_app(
        client, Keys.of({"ops": "tsa_key"}), lambda: {"ready": True}, CollectorRegistry()
    )
    return TestClient(app, headers=KEY)


FAST = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def operations(api: Any) -> list[Any]:
    return [each.ok() for each in api.get_all_operations()]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_answer_is_as_the_document_has_it_whatever_is_asked(api: Any, mode: Any) -> None:
    found = operations(api)
    assert len(found) > 20
    for operation in found:

        @FAST
        @given(operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            case.call_and_validate(headers=KEY, checks=CHECKS)

        check()


def test_the_document_is_openapi_and_names_every_parameter_once(browser: TestClient) -> None:
    document = browser.get("/api/openapi.json").json()

    assert document["openapi"] == "3.1.0"
    for path, methods in document["paths"].items():
        for said in methods.values():
            names = [each["name"] for each in said["parameters"]]
            assert len(names) == len(set(names)), path
            assert all(each["description"] for each in said["parameters"]), path
            Draft202012Validator.check_schema(
                said["responses"]["200"]["content"]["application/json"]["schema"]
            )


def test_the_page_of_the_document_has_every_path_and_asks_nobody_else(browser: TestClient) -> None:
    answer = browser.get("/api/docs")

    for path in browser.get("/api/openapi.json").json()["paths"]:
        assert path in answer.text
    assert "://" not in answer.text
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


NASTY = {
    "union": "x') UNION ALL SELECT * FROM system.users --",
    "script": "<script>alert('{user_id:String}')</script>",
    "nul": "a%00b",
    "long": "a" * 10_240,
    "broken utf-8": "%ff%fe%F0%9F%98%80%0d%0aSet-Cookie:x=y",
    "path": "../../etc/passwd",
}
SENTENCE = 20


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY)
def test_nasty_values_of_any_parameter_are_names_or_refused_by_a_sentence(
    browser: TestClient, api: Any, nasty: str
) -> None:
    asked: set[str] = set()
    for operation in operations(api):
        if operation.method != "get":
            continue
        path = operation.full_path
        for each in operation.definition.raw["parameters"]:
            if each["in"] == "path":
                path = path.replace(f"{{{each['name']}}}", nasty.replace("/", "%2f"))
        urls = [path] * (path != operation.full_path) + [
            f"{path}?{each['name']}={nasty}"
            for each in operation.definition.raw["parameters"]
            if each["in"] == "query" and each["name"] not in asked
        ]
        asked |= {each["name"] for each in operation.definition.raw["parameters"]}
        for url in urls:
            answer = browser.get(url)
            assert answer.status_code in {200, 400, 404}, (url[:200], answer.text[:300])
            if answer.status_code != 200:
                assert len(answer.json()["error"]) > SENTENCE, url[:200]
                assert "Exception" not in answer.text, url[:200]


def test_every_parameter_but_tag_is_refused_when_it_is_given_twice(
    browser: TestClient, api: Any
) -> None:
    for operation in operations(api):
        for each in operation.definition.raw["parameters"]:
            if each["in"] == "query" and each["name"] != "tag" and operation.method == "get":
                path = operation.full_path.replace("{log_id}", f"{0:032x}-{0:016x}")
                answer = browser.get(f"{path}?{each['name']}=1&{each['name']}=1")
                assert answer.status_code == 400, (path, each["name"])
                assert answer.json()["error"] == f"{each['name']} may be given once only"
