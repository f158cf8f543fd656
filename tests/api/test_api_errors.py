from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dtms_client.wire import Problem
from dtms_service.api.errors import TABLE
from dtms_service.domain.errors import DtmsError

BODY_MAX, BATCH_MAX = 64 * 1024, 1024 * 1024


def subclasses(cls: type[DtmsError]) -> set[type[DtmsError]]:
    return {cls}.union(*(subclasses(child) for child in cls.__subclasses__()))


def test_every_error_class_has_a_row():
    assert subclasses(DtmsError) == set(TABLE)


def test_error_codes_are_those_of_the_interface():
    # INTERFACE 3.5; storage_failed is the answer when a commit's outcome is not known (unknown is 5xx).
    assert {(error.code, row.status) for error, row in TABLE.items()} == {
        ("validation_failed", 422),
        ("trade_not_found", 404),
        ("registration_conflict", 409),
        ("not_in_this_mode", 409),
        ("not_accepting", 503),
        ("storage_busy", 503),
        ("storage_failed", 500),
        ("rate_limited", 429),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("host_not_allowed", 421),
        ("origin_not_allowed", 403),
        ("payload_too_large", 413),
        ("unsupported_media_type", 415),
        ("method_not_allowed", 405),
        ("not_found", 404),
        ("internal_error", 500),
    }


def test_what_may_be_asked_again_later_says_when():
    assert {row.status for row in TABLE.values() if row.retry_after} == {429, 503}


def check(answer, status: int, code: str) -> Problem:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate(answer.json())
    assert (problem.status, problem.code) == (status, code)
    assert problem.request_id == answer.headers["x-request-id"]
    assert problem.instance == answer.request.url.path
    return problem


@pytest.mark.parametrize("path", ["/", "/nothing", "/dtms/trades/", "/metrics/x", "/simulator/nothing"])
async def test_an_unknown_path_is_a_problem(http, path):
    check(await http.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/dtms/trades/batch", "POST"),
        ("PUT", "/dtms/trades/batch", "POST"),
        ("GET", "/dtms/trade/enable", "POST"),
        ("OPTIONS", "/dtms/trades/7", "DELETE, GET, PUT"),
        ("POST", "/simulator/faults/", None),
        ("GET", "/simulator/faults", "DELETE, POST"),
        ("PUT", "/simulator/positions/7", "DELETE, PATCH"),
        ("HEAD", "/dtms/status", "GET"),
        ("TRACE", "/dtms/news", "PUT"),
        ("post", "/dtms/trades", "GET"),
    ],
)
async def test_every_path_knows_all_its_methods_and_no_word_is_taken_for_a_ticket(http, method, path, allow):
    answer = await http.request(method, path)
    assert (answer.status_code, answer.headers.get("allow")) == (405 if allow else 404, allow)


async def test_a_wrong_method_is_a_problem_that_names_the_right_ones(http):
    answer = await http.delete("/dtms/status")
    check(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("ticket", ["abc", "0", "-1", str(2**63), "9" * 40, "1.0", "1_0", "%00", "²", "+1", "%201"])
@pytest.mark.parametrize(
    "path",
    ["/dtms/trades/{}", "/dtms/trades/{}/explain", "/dtms/trades/{}/history", "/dtms/trade/{}", "/trade-registry/{}"],
)
async def test_a_ticket_that_is_none_is_422_and_says_what_one_is(http, path, ticket):
    answer = await http.get(path.format(ticket))
    check(answer, 422, "validation_failed")
    assert answer.json()["errors"][0]["field"] == "ticket"


@pytest.mark.parametrize("ticket", ["abc", "0", "-1", str(2**63), "9" * 40, "1.0", "%00", "²"])
async def test_nothing_is_registered_under_a_ticket_that_is_none(http, authority, ticket):
    answer = await http.put(f"/dtms/trades/{ticket}", json={})
    check(answer, 422, "validation_failed")
    assert [item["field"] for item in answer.json()["errors"]] == ["ticket"]
    assert authority.asked == []


async def test_the_largest_ticket_is_a_ticket(http):
    assert (await http.put(f"/dtms/trades/{2**63 - 1}")).status_code == 202


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b'"x"', "body"),
        (b"\xff\xfe", "body"),
        (b'{"entry_price": NaN}', "entry_price"),
        (b'{"entry_price": Infinity}', "entry_price"),
        (b'{"entry_price": -Infinity}', "entry_price"),
        (b'{"entry_price": 1e999}', "entry_price"),
        (b'{"entry_price": ' + b"9" * 400 + b"}", "entry_price"),
        (b'{"volume": 0}', "volume"),
        (b'{"volume": -0.1}', "volume"),
        (b'{"stop_loss": 0}', "stop_loss"),
        (b'{"side": "buy"}', "side"),
        (b'{"side": "up"}', "side"),
        (b'{"symbol": ""}', "symbol"),
        (b'{"symbol": "' + b"X" * 33 + b'"}', "symbol"),
        (b'{"symbol": "EUR\\u0000USD"}', "symbol"),
        (b'{"source": "a\\nb"}', "source"),
        (b'{"symbol": "\\ud800"}', "body"),
        (b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "body"),
        (b'{"symbol": {"a": 1}}', "symbol"),
        (b'{"entry_price": true}', "entry_price"),
        (b'{"volume": "0.1"}', "volume"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_bad_body_is_422_by_field_and_changes_nothing(http, authority, body, field):
    answer = await http.put("/dtms/trades/1", content=body, headers=JSON)
    problem = check(answer, 422, "validation_failed")
    assert [item["field"] for item in answer.json()["errors"]] == [field]
    assert problem.definite
    assert not problem.retryable
    assert authority.asked == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
@pytest.mark.parametrize(("method", "path"), [("PUT", "/dtms/trades/1"), ("POST", "/dtms/trades/batch")])
async def test_a_body_that_is_not_declared_as_json_is_415(http, method, path, kind):
    answer = await http.request(method, path, content=b"{}", headers={"Content-Type": kind} if kind else {})
    check(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("item", [b"0", b"[]", b'{"ticket": "7"}', b'{"ticket": true}', b'{"ticket": 1e30}'])
async def test_a_hundred_thousand_items_are_refused_as_a_whole(http, authority, item):
    answer = await http.post("/dtms/trades/batch", content=b'{"trades": [' + b"0," * 100_000 + b"0]}", headers=JSON)
    check(answer, 422, "validation_failed")
    alone = await http.post("/dtms/trades/batch", content=b'{"trades": [' + item + b"]}", headers=JSON)
    assert alone.json()["results"][0]["status"] == 422
    assert authority.asked == []


async def test_old_enable_takes_no_plain_text(http):
    answer = await http.post("/dtms/trade/enable", content=b'{"ticket":1}', headers={"Content-Type": "text/plain"})
    check(answer, 415, "unsupported_media_type")
    assert answer.json()["success"] is False


async def test_json_with_a_charset_is_json(http):
    answer = await http.put(
        "/dtms/trades/1", content=b"{}", headers={"Content-Type": "application/json; charset=utf-8"}
    )
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("PUT", "/dtms/trades/1", BODY_MAX),
        ("POST", "/dtms/trade/enable", BODY_MAX),
        ("POST", "/dtms/trades/batch", BATCH_MAX),
    ],
)
async def test_a_body_over_its_limit_is_413_whether_declared_or_streamed(http, authority, method, path, limit):
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(limit // 1024 + 1):
            yield b" " * 1024

    check(await http.request(method, path, content=b" " * (limit + 1), headers=JSON), 413, "payload_too_large")
    check(await http.request(method, path, content=stream(), headers=JSON), 413, "payload_too_large")
    assert authority.asked == []


async def test_reading_stops_at_the_limit(http):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 1024
            yield b" " * 1024

    answer = await http.put("/dtms/trades/1", content=endless(), headers=JSON)
    check(answer, 413, "payload_too_large")
    assert sent <= BODY_MAX + 2048


async def test_a_body_of_exactly_the_limit_is_taken(http):
    body = b"{" + b" " * (BODY_MAX - 2) + b"}"
    assert (await http.put("/dtms/trades/1", content=body, headers=JSON)).status_code == 202


async def test_a_caller_that_hangs_up_in_the_middle_of_a_body_changes_nothing(world, authority, caplog):
    messages = iter([{"type": "http.request", "body": b'{"symbol":', "more_body": True}, {"type": "http.disconnect"}])
    sent: list[dict] = []

    async def receive() -> dict:
        return next(messages)

    async def send(message: dict) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "PUT", "path": "/dtms/trades/7", "query_string": b"", "headers": headers}
    with caplog.at_level(logging.ERROR):
        await world[2](scope, receive, send)
    assert sent[0]["status"] == 422
    assert authority.asked == []
    assert caplog.records == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "cursor=-1", "cursor=abc", "state=SICK", "owner=nobody", "symbol=" + "X" * 33],
)
async def test_a_bad_filter_is_422_by_name(http, query):
    answer = await http.get(f"/dtms/trades?{query}")
    check(answer, 422, "validation_failed")
    assert answer.json()["errors"][0]["field"].split(".")[0] in {query.partition("=")[0], "managed_by"}


async def test_a_bug_is_500_without_its_insides_and_the_log_has_the_request_id(http, authority, caplog):
    authority.fails = RuntimeError("secret inside")
    with caplog.at_level(logging.ERROR):
        answer = await http.put("/dtms/trades/1", headers={"X-Request-ID": "find-me"})
    problem = check(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert (problem.definite, problem.retryable, problem.request_id) == (False, True, "find-me")
    assert any("find-me" in record.getMessage() for record in caplog.records)
    assert any(getattr(record, "request_id", None) == "find-me" for record in caplog.records)


async def test_an_error_without_a_class_of_its_own_hides_its_facts_too(http, authority):
    authority.fails = DtmsError("secret inside", where="secret place")
    answer = await http.put("/dtms/trades/1")
    check(answer, 500, "internal_error")
    assert "secret" not in answer.text


async def test_a_bug_on_an_old_path_keeps_the_old_envelope(http, authority):
    authority.fails = RuntimeError("secret inside")
    answer = await http.post("/dtms/trade/enable", json={"ticket": 1})
    assert (answer.status_code, answer.json()["success"]) == (500, False)
    assert "secret" not in answer.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
KEYS = """ticket symbol side direction type entry entry_price price volume lot stop_loss sl take_profit tp details parts
ok strategy_type managed_by source trades until seconds kind count magic comment"""
keys = st.sampled_from(KEYS.split())
bodies = st.dictionaries(keys, json_values, max_size=6)
writing = st.sampled_from(
    [
        ("PUT", "/dtms/trades/5"),
        ("POST", "/dtms/trades/batch"),
        ("POST", "/dtms/trade/enable"),
        ("POST", "/simulator/positions"),
        ("PATCH", "/simulator/positions/5"),
        ("POST", "/simulator/advance"),
        ("POST", "/simulator/faults"),
    ]
)
calm = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@calm
@given(route=writing, body=bodies)
async def test_no_json_body_makes_the_service_fail(http, route, body):
    answer = await http.request(*route, json=body) if _plain(body) else None
    assert answer is None or answer.status_code in {200, 201, 202, 404, 409, 422}


def _plain(body: object) -> bool:
    """Can httpx send it? (It refuses NaN; raw bytes below cover that.)"""
    text = repr(body)
    return not any(word in text for word in ("nan", "inf"))


@calm
@given(route=writing, body=st.binary(max_size=200))
async def test_no_bytes_make_the_service_fail(http, route, body):
    answer = await http.request(*route, content=body, headers=JSON)
    assert answer.status_code in {200, 201, 202, 404, 409, 422}


@calm
@given(body=st.binary(max_size=200))
async def test_no_form_makes_the_service_fail(http, body):
    answer = await http.post(
        "/dtms/trade/enable", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code in {200, 202, 409, 422}


@calm
@given(number=st.integers(), tail=st.sampled_from(["", "/explain", "/history"]))
async def test_no_number_in_a_path_makes_the_service_fail(http, number, tail):
    answer = await http.get(f"/dtms/trades/{number}{tail}")
    assert answer.status_code == (404 if 0 < number < 2**63 else 422)
