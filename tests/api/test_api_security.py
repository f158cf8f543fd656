from __future__ import annotations

import hashlib

import pytest
from fastapi import APIRouter

from dtms_service.api.app import make_app
from dtms_service.api.limits import EXEMPT, RateLimit
from dtms_service.api.security import (
    ALL_SCOPES,
    Scope,
    Token,
    Tokens,
    declared,
    host_name,
    origin_allowed,
    scopes_of,
)

# R43: what start scripts ask is open, looking is read, registering is register, hands at the terminal are control.
SCOPES = {
    ("GET", "/health/live"): "open",
    ("GET", "/health/ready"): "open",
    ("GET", "/health"): "read",
    ("GET", "/dtms/health"): "read",
    ("PUT", "/dtms/trades/{ticket}"): "register",
    ("POST", "/dtms/trades/batch"): "register",
    ("GET", "/dtms/trades"): "read",
    ("GET", "/dtms/trades/{ticket}"): "read",
    ("GET", "/dtms/trades/{ticket}/explain"): "read",
    ("GET", "/dtms/trades/{ticket}/history"): "read",
    ("GET", "/dtms/trades/{ticket}/may-modify"): "read",
    ("PUT", "/dtms/trades/{ticket}/owner"): "control",
    ("DELETE", "/dtms/trades/{ticket}"): "control",
    ("GET", "/dtms/control"): "read",
    ("POST", "/dtms/control/{verb}"): "control",
    ("PUT", "/dtms/news"): "control",
    ("GET", "/dtms/alerts"): "read",
    ("GET", "/dtms/unmanaged"): "read",
    ("POST", "/dtms/alerts/{alert_id}/ack"): "control",
    ("GET", "/dtms/status"): "read",
    ("GET", "/dtms/actions"): "read",
    ("GET", "/dtms/events"): "read",
    ("GET", "/metrics"): "read",
    ("GET", "/dtms/metrics"): "read",
    ("GET", "/dtms/action-history"): "read",
    ("POST", "/dtms/trade/enable"): "register",
    ("POST", "/dtms/initialize"): "register",
    ("GET", "/dtms/trade/{ticket}"): "read",
    ("GET", "/dtms/engine"): "read",
    ("GET", "/trade-registry/{ticket}"): "read",
    ("GET", "/simulator/account"): "read",
    ("GET", "/simulator/positions"): "read",
    ("GET", "/simulator/orders"): "read",
    ("GET", "/simulator/deals"): "read",
    ("GET", "/simulator/market"): "read",
    ("POST", "/simulator/positions"): "control",
    ("PATCH", "/simulator/positions/{ticket}"): "control",
    ("DELETE", "/simulator/positions/{ticket}"): "control",
    ("POST", "/simulator/faults"): "control",
    ("DELETE", "/simulator/faults"): "control",
    ("POST", "/simulator/advance"): "control",
}


def token(text: str, *scopes: Scope) -> Token:
    return Token(hashlib.sha256(text.encode()).hexdigest(), frozenset(scopes))


TOKENS = Tokens(
    (
        token("looker", Scope.READ),
        token("bot", Scope.READ, Scope.REGISTER),
        token("operator", *ALL_SCOPES),
    )
)
LEAST = {"read": "looker", "register": "bot", "control": "operator"}
BODIES = {
    "/simulator/advance": {"seconds": 0},
    "/simulator/faults": {"kind": "slow"},
    "/dtms/trade/enable": {"ticket": 5},
}


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def operations(world) -> dict[tuple[str, str], str]:
    return {
        (method.upper(), path): entry["x-scope"]
        for path, methods in world[2].openapi()["paths"].items()
        for method, entry in methods.items()
    }


def test_every_route_declares_its_scope(world):
    assert operations(world) == SCOPES


def test_a_route_without_a_scope_stops_the_construction():
    router = APIRouter()

    @router.get("/forgotten")
    async def forgotten() -> None: ...

    with pytest.raises(ValueError, match="/forgotten declares no scope"):
        declared(router.routes[0])
    with pytest.raises(ValueError, match="/forgotten"):
        scopes_of(router.routes)


@pytest.mark.parametrize(("route", "scope"), SCOPES.items(), ids=str)
async def test_each_route_opens_for_its_scope_and_for_nothing_less(connect, authority, market, route, scope):
    authority.feed.close()  # the stream of events would not end
    method, path = route
    url = path.replace("{ticket}", "5")
    body = BODIES.get(path)
    async with connect(market, tokens=TOKENS) as http:
        bare = await http.request(method, url, json=body)
        if scope == "open":
            assert bare.status_code == 200
            return
        assert (bare.status_code, bare.json()["code"]) == (401, "unauthorized")
        assert bare.headers["www-authenticate"] == "Bearer"
        for name in ("looker", "bot"):
            answer = await http.request(method, url, json=body, headers=bearer(name))
            may = scope == "read" or (scope == "register" and name == "bot")
            assert (answer.status_code == 403) is not may
        enough = await http.request(method, url, json=body, headers=bearer(LEAST[scope]))
        assert enough.status_code not in {401, 403}


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/nothing", "/dtms/trades/5/owner"])
async def test_what_no_route_declares_needs_a_token_too(connect, path):
    async with connect(tokens=TOKENS) as http:
        assert (await http.get(path)).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic bot",
        "bot",
        "Bearer bot x",
        "Bearer \x00",
        "Bearer " + "x" * 9999,
    ],
)
async def test_a_wrong_token_is_401(connect, header):
    async with connect(tokens=TOKENS) as http:
        answer = await http.get("/dtms/status", headers={"Authorization": header.encode()})
    assert answer.status_code == 401


def test_the_hash_itself_is_no_token():
    name, scopes = TOKENS.scopes(f"Bearer {TOKENS.accepted[0].sha256}")
    assert (name, scopes) == (None, frozenset())


async def test_readiness_hides_the_account_from_those_without_a_token(connect):
    async with connect(tokens=TOKENS) as http:
        bare = await http.get("/health/ready")
        known = await http.get("/health/ready", headers=bearer("looker"))
    assert (bare.status_code, bare.json()["account"]) == (200, None)
    assert known.json()["account"]["login"] == 5001234


async def test_without_tokens_everything_is_open(http):
    assert (await http.get("/dtms/status")).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8001", 200),
        ("localhost", 200),
        ("LOCALHOST:9", 200),
        ("[::1]:8001", 200),
        ("dtms.internal:8001", 200),
        ("rebind.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
        ("evil.example#localhost", 421),
        ("0.0.0.0:8001", 421),
        ("192.168.1.5:8001", 421),
        ("", 421),
        ("localhost:99999", 421),
        ("[::1", 421),
    ],
)
async def test_only_known_hosts_are_answered(connect, host, status):
    async with connect(hosts=frozenset({"dtms.internal"})) as http:
        answer = await http.get("/health/live", headers={"Host": host})
    assert answer.status_code == status
    if status == 421:
        assert answer.json()["code"] == "host_not_allowed"
        assert answer.headers["x-request-id"]


async def test_two_host_headers_are_one_too_many(http):
    answer = await http.get("/health/live", headers=[("Host", "localhost"), ("Host", "evil.example")])
    assert answer.status_code == 421


def test_a_host_is_a_name_and_nothing_else():
    assert host_name("localhost.") == "localhost"
    assert host_name("a b") is None
    assert host_name("localhost/x") is None


PAGE = "http://localhost:8000"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8001", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": PAGE, "Sec-Fetch-Site": "same-site"}, 200),
        ({"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:8002"}, 403),
        ({"Origin": "http://localhost:8001"}, 403),
        ({"Origin": ""}, 403),
    ],
)
async def test_pages_of_other_origins_are_refused_unless_configured(connect, headers, status):
    async with connect(origins=frozenset({PAGE})) as http:
        answer = await http.get("/dtms/status", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "origin_not_allowed"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/dtms/trade/enable", {"Origin": "http://evil.example", "Content-Type": FORM}, b"ticket=7", 403),
        ("POST", "/dtms/trade/enable", {"Origin": "null", "Content-Type": FORM}, b"ticket=7", 403),
        ("POST", "/dtms/trade/enable", {"Sec-Fetch-Site": "cross-site", "Content-Type": FORM}, b"ticket=7", 403),
        ("POST", "/dtms/control/flatten", {"Origin": "http://evil.example"}, b"{}", 403),
        ("PUT", "/dtms/trades/7", {"Content-Type": "text/plain"}, b"{}", 415),
        ("POST", "/dtms/control/halt", {"Content-Type": "text/plain"}, b"{}", 415),
        ("POST", "/dtms/control/halt", {"Host": "rebound.example:8001"}, b"", 421),
        ("POST", "/dtms/control/halt", {"Host": "0.0.0.0:8001"}, b"", 421),
        ("GET", "/dtms/status", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}, b"", 403),
        ("GET", "/dtms/events", {"Origin": "http://evil.example", "Accept": "text/event-stream"}, b"", 403),
        ("GET", "/dtms/events", {"Origin": "http://evil.example", "Upgrade": "websocket"}, b"", 403),
    ],
)
async def test_a_malicious_page_reaches_nothing(http, authority, method, path, headers, body, status):
    answer = await http.request(method, path, headers=headers, content=body)
    assert answer.status_code == status
    assert authority.asked == []
    assert authority.said == ()
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_token_counts_in_its_header_only(connect):
    async with connect(tokens=TOKENS) as http:
        for path in ("/dtms/status?token=operator", "/dtms/status?access_token=operator"):
            assert (await http.get(path)).status_code == 401
        for sent in ("operator", "Basic operator", "Bearer", "Bearer looker operator", "bearer  operator"):
            good = (await http.get("/dtms/status", headers={"Authorization": sent})).status_code == 200
            assert good is (sent == "bearer  operator")
        assert (await http.get("/dtms/status", headers={"Cookie": "token=operator"})).status_code == 401


async def test_a_configured_dashboard_may_read_answers_and_errors(connect):
    async with connect(origins=frozenset({PAGE}), tokens=TOKENS) as http:
        headers = {
            "Origin": PAGE,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        }
        preflight = await http.options("/dtms/status", headers=headers)
        refused = await http.get("/dtms/status", headers={"Origin": PAGE})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


async def test_without_configured_origins_no_cors_header_is_ever_sent(http):
    answers = [await http.get("/dtms/status"), await http.get("/dtms/status", headers={"Origin": PAGE})]
    assert not [name for answer in answers for name in answer.headers if name.startswith("access-control")]


def test_an_empty_allow_list_allows_no_missing_origin_by_accident():
    assert not origin_allowed("", None, "127.0.0.1", frozenset())
    assert origin_allowed(None, None, "127.0.0.1", frozenset())


async def test_a_request_id_is_taken_over_or_made(http):
    given = await http.get("/health/live", headers={"X-Request-ID": "trace-42"})
    assert given.headers["x-request-id"] == "trace-42"
    first, second = [(await http.get("/health/live")).headers["x-request-id"] for _ in range(2)]
    assert first != second
    assert first.startswith("made-")


@pytest.mark.parametrize("bad", ["", "x" * 129, "é", "a\tb"])
async def test_an_unusable_request_id_is_replaced(http, bad):
    answer = await http.get("/health/live", headers={"X-Request-ID": bad.encode()})
    assert answer.headers["x-request-id"].startswith("made-")


async def test_an_idempotency_key_is_echoed(http):
    answer = await http.put("/dtms/trades/1", headers={"Idempotency-Key": "k-1"})
    assert answer.headers["idempotency-key"] == "k-1"
    refused = await http.put("/dtms/trades/abc", headers={"Idempotency-Key": "k-2"})
    assert refused.headers["idempotency-key"] == "k-2"


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_a_bucket_gives_its_burst_then_its_rate():
    # R42: bursts of 200, then 50 per second.
    clock = Hand()
    rate = RateLimit(clock)
    assert [rate.wait("a") for _ in range(200)] == [0] * 200
    assert rate.wait("a") == 1
    clock.time += 1.0
    assert [rate.wait("a") for _ in range(50)] == [0] * 50
    assert rate.wait("a") == 1
    clock.time += 3600
    assert [rate.wait("a") for _ in range(200)] == [0] * 200


def test_callers_do_not_take_from_each_other():
    rate = RateLimit(Hand(), rate=1.0, burst=1.0)
    assert (rate.wait("a"), rate.wait("b"), rate.wait("a"), rate.wait("b")) == (0, 0, 1, 1)


def test_a_slow_rate_names_the_seconds_to_wait():
    clock = Hand()
    rate = RateLimit(clock, rate=0.1, burst=1.0)
    assert (rate.wait("a"), rate.wait("a")) == (0, 10)
    clock.time += 10
    assert rate.wait("a") == 0


def test_the_memory_of_callers_is_bounded():
    rate = RateLimit(Hand(), rate=1.0, burst=5.0)
    for number in range(10_000):
        rate.wait(str(number))
    assert len(rate._full_at) <= 4096


async def test_too_many_requests_are_429_with_retry_after(connect):
    async with connect(rate=RateLimit(Hand(), rate=1.0, burst=2.0)) as http:
        statuses = [(await http.get("/dtms/status")).status_code for _ in range(3)]
        answer = await http.put("/dtms/trades/1")
        assert statuses == [200, 200, 429]
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) >= 1
        assert {(await http.get("/health/ready")).status_code for _ in range(5)} == {200}


async def test_a_batch_counts_once_however_long_it_is(connect):
    # R42: many trades fit in one batch, and that is how a queue is emptied.
    async with connect(rate=RateLimit(Hand(), rate=1.0, burst=2.0)) as http:
        batch = {"trades": [{"ticket": ticket} for ticket in range(1, 301)]}
        statuses = [(await http.post("/dtms/trades/batch", json=batch)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


async def test_what_is_exempt_takes_nothing_from_the_bucket(connect, market):
    async with connect(market, rate=RateLimit(Hand(), rate=1.0, burst=1.0)) as http:
        for path in ("/health/live", "/health", "/dtms/health", "/metrics", "/dtms/metrics", "/simulator/account"):
            assert {(await http.get(path)).status_code for _ in range(3)} == {200}, path
        assert [(await http.get("/dtms/status")).status_code for _ in range(2)] == [200, 429]


async def test_a_loop_of_one_program_does_not_keep_an_operator_from_halting(connect):
    # Without tokens all programs of a machine are one caller.
    async with connect(rate=RateLimit(Hand(), rate=1.0, burst=2.0)) as http:
        looping = [(await http.get("/dtms/status")).status_code for _ in range(5)]
        ordered = [(await http.post(f"/dtms/control/{verb}")).status_code for verb in ("halt", "flatten", "halt")]
    assert looping == [200, 200, 429, 429, 429]
    assert ordered == [200, 200, 429]  # a loop of orders is held too


async def test_an_empty_token_opens_nothing_even_where_its_digest_is_accepted(connect):
    empty = Token(hashlib.sha256(b"").hexdigest(), ALL_SCOPES)
    async with connect(tokens=Tokens((empty,))) as http:
        for header in ("Bearer", "Bearer ", "Bearer   "):
            assert (await http.get("/dtms/status", headers={"Authorization": header})).status_code == 401


async def test_wrong_tokens_are_slowed_down_too(connect):
    async with connect(rate=RateLimit(Hand(), rate=1.0, burst=2.0), tokens=TOKENS) as http:
        statuses = [(await http.get("/dtms/status", headers=bearer(f"guess{n}"))).status_code for n in range(3)]
        known = await http.get("/dtms/status", headers=bearer("looker"))
    assert statuses == [401, 401, 429]
    assert known.status_code == 200


def test_health_metrics_and_the_simulator_are_exempt():
    for path in ("/health/live", "/health", "/dtms/health", "/metrics", "/dtms/metrics", "/simulator/advance"):
        assert path.startswith(EXEMPT)
    assert not "/dtms/status".startswith(EXEMPT)


def test_the_application_takes_its_parts_as_values(authority, access_of):
    one = make_app(authority, simulator=None, version="1", instance_id="a", access=access_of())
    two = make_app(authority, simulator=None, version="2", instance_id="b", access=access_of())
    assert (one.version, two.version) == ("1", "2")
