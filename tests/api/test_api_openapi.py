from __future__ import annotations

import jsonschema_rs
import pytest

from dtms_client.wire import BatchOut, Live, Ready, RegistrationOut, TradeList
from dtms_service.api import examples


def operations(world) -> list[tuple[str, dict]]:
    paths = world[2].openapi()["paths"]
    return [(f"{method.upper()} {path}", entry) for path, methods in paths.items() for method, entry in methods.items()]


def example_count(node: object) -> int:
    if isinstance(node, dict):
        return sum(1 for key in node if key in {"example", "examples"}) + sum(example_count(v) for v in node.values())
    return 0


def test_every_operation_has_summary_errors_and_an_example(world):
    found = operations(world)
    assert len(found) == 41
    for name, entry in found:
        assert entry["summary"], name
        errors = {status for status in entry["responses"] if status >= "400"}
        assert {"401", "403", "421", "429", "500"} <= errors, name
        good = [answer for status, answer in entry["responses"].items() if status < "400"]
        assert good, name
        assert all(example_count(answer) for answer in good), name


def test_every_error_answer_is_a_problem_with_an_example_per_code(world):
    for name, entry in operations(world):
        for status, answer in entry["responses"].items():
            if status < "400" or (status == "503" and "health" in name):
                continue
            content = answer["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, name
            for code, sample in content["examples"].items():
                assert (sample["value"]["code"], sample["value"]["status"]) == (code, int(status))


def test_every_operation_is_told_in_plain_sentences(world):
    for name, entry in operations(world):
        assert 5 < len(entry["summary"]) <= 80, name
        assert len(entry.get("description", "")) > 10, name
        assert "\n    " not in entry["description"], f"{name}: its lines are indented, which would be shown as code"


def test_every_parameter_is_described_and_has_an_example(world):
    for name, entry in operations(world):
        for parameter in entry.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])
            assert example_count(parameter), (name, parameter["name"])


def members(node: object) -> set[str]:
    inside = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    own = set(node) if isinstance(node, dict) else set()
    return own.union(*(members(each) for each in inside), set())


def test_bounds_are_said_in_the_words_of_json_schema(world):
    # pydantic's own words stand for bounds that it could not translate; nobody else reads them
    document = world[2].openapi()
    assert members(document["paths"]) & {"gt", "ge", "lt", "le", "multiple_of", "max_length"} == set()
    tickets = [p["schema"] for _, entry in operations(world) for p in entry.get("parameters", []) if p["in"] == "path"]
    for schema in tickets:
        bounded = schema.get("minimum", schema.get("exclusiveMinimum")) in {0, 1} and schema["maximum"] == 2**63 - 1
        assert bounded or "enum" in schema or "$ref" in schema, schema


def test_every_body_has_a_schema_with_members_and_an_example_that_fits_it(world):
    for name, entry in operations(world):
        for kind, content in entry.get("requestBody", {}).get("content", {}).items():
            schema = jsonschema_rs.validator_for(content["schema"])
            assert content["schema"]["properties"], (name, kind)
            assert schema.is_valid(content["example"]), (name, kind, *schema.iter_errors(content["example"]))


def test_every_answer_has_a_schema_and_an_example_that_fits_it(world):
    document = world[2].openapi()
    for name, entry in operations(world):
        for status, given in entry["responses"].items():
            assert given["description"], (name, status)
            for content in given["content"].values():
                samples = [sample["value"] for sample in content.get("examples", {}).values()] or [content["example"]]
                schema = jsonschema_rs.validator_for({**content["schema"], "components": document["components"]})
                assert all(schema.is_valid(sample) for sample in samples), (name, status)


def references(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()), set())
    if isinstance(node, list):
        return set().union(*(references(value) for value in node), set())
    return set()


def test_every_reference_leads_somewhere(world):
    document = world[2].openapi()
    for reference in references(document):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_writing_operations_show_what_to_send(world):
    bodies = {name for name, entry in operations(world) if "requestBody" in entry}
    assert bodies == {
        "PUT /dtms/trades/{ticket}",
        "POST /dtms/trades/batch",
        "POST /dtms/trade/enable",
        "POST /dtms/control/{verb}",
        "PUT /dtms/news",
        "POST /dtms/alerts/{alert_id}/ack",
        "PUT /dtms/trades/{ticket}/owner",
        "POST /simulator/positions",
        "PATCH /simulator/positions/{ticket}",
        "POST /simulator/advance",
        "POST /simulator/faults",
    }


def test_operation_ids_are_unique(world):
    ids = [entry["operationId"] for _, entry in operations(world)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_the_document_is_served(http, path):
    assert (await http.get(path)).status_code == 200


def test_examples_are_what_the_wire_says(world):
    for example, model in ((examples.PROTECTED, RegistrationOut), (examples.BATCH, BatchOut)):
        assert model.model_validate(example).model_dump(mode="json") == example
    shown = {
        name: entry["responses"]["200"]["content"]["application/json"]["example"]
        for name, entry in operations(world)
        if "application/json" in entry["responses"]["200"]["content"]
    }
    TradeList.model_validate(shown["GET /dtms/trades"])
    Live.model_validate(shown["GET /health/live"])
    Ready.model_validate(shown["GET /health/ready"])


def keys(node: object) -> object:
    return {key: keys(value) for key, value in node.items()} if isinstance(node, dict) else None


async def test_examples_of_old_envelopes_have_the_keys_of_real_answers(http, authority, position_of, action_of):
    authority.at_terminal(position_of(123456))
    enabled = (await http.post("/dtms/trade/enable", json=examples.ENABLE)).json()
    assert keys(enabled) == keys(examples.ENABLED)
    assert keys((await http.get("/dtms/trade/123456")).json()) == keys(examples.TRADE_INFO)
    status = (await http.get("/dtms/status")).json()
    shown = examples.STATUS["dtms_status"] | {"trades_by_state": {"HEALTHY": 1}}
    assert keys(status) == keys(examples.STATUS | {"dtms_status": shown})
    assert set((await http.get("/dtms/actions")).json()) == set(examples.ACTIONS)
    assert set((await http.get("/dtms/trades/123456/explain")).json()) == set(examples.EXPLANATION)
    assert set((await http.get("/dtms/trades/123456/history")).json()) == set(examples.HISTORY)
    assert keys((await http.get("/dtms/engine")).json()["engine_info"]).keys() == examples.ENGINE["engine_info"].keys()
