from __future__ import annotations

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dtms_service.api.app import make_app
from dtms_service.api.metrics import METRICS
from dtms_service.domain.control import Control, Standing
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event
from dtms_service.engine.meters import Histogram


def read(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Sample name -> labels -> value, by the reference parser, which refuses what is not in the format."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values = found.setdefault(sample.name, {})
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in values, sample
            values[labels] = sample.value
    return found


def by(label: str, values: dict[tuple[tuple[str, str], ...], float]) -> dict[str, float]:
    return {dict(labels)[label]: value for labels, value in values.items()}


async def scraped(http) -> dict[str, Any]:
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    return read(answer.text)


@pytest.mark.parametrize("path", ["/metrics", "/dtms/metrics"])
async def test_both_paths_answer_in_the_text_format(http, path):
    answer = await http.get(path)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    kinds = {family.name: family.type for family in text_string_to_metric_families(answer.text)}
    for metric in METRICS:
        assert kinds[metric.name.removesuffix("_total")] == metric.kind, metric.name


async def test_the_names_of_the_interface_are_there(http):
    found = await scraped(http)
    assert {"dtms_trades", "dtms_registrations_total", "dtms_ready", "dtms_event_loop_lag_seconds"} <= set(found)
    assert {"dtms_cycle_seconds_bucket", "dtms_cycle_seconds_sum", "dtms_cycle_seconds_count"} <= set(found)
    assert found["dtms_event_loop_lag_seconds"][()] == 0.004
    assert all(name.startswith("dtms_") for name in found)


async def test_trades_are_counted_by_state_and_every_state_is_shown(http, authority, trade_of):
    authority.holds(trade_of(1), trade_of(2), trade_of(3, state=TradeState.HEDGED))
    authority.holds(trade_of(4, state=TradeState.CLOSED))
    found = await scraped(http)
    counted = by("state", found["dtms_trades"])
    assert (counted.pop("HEALTHY"), counted.pop("HEDGED")) == (2, 1)
    assert counted == {"PENDING": 0, "WARNING_L1": 0, "WARNING_L2": 0, "RECOVERING": 0}
    assert found["dtms_protected_trades"][()] == 3


async def test_readiness_phase_and_orders_are_numbers(http, authority, down):
    assert (await scraped(http))["dtms_ready"][()] == 1
    authority.readiness = down
    authority.standing = Standing(control=Control.PAUSED)
    found = await scraped(http)
    assert found["dtms_ready"][()] == 0
    assert {name for name, value in by("phase", found["dtms_phase"]).items() if value} == {"connecting"}
    assert {name for name, value in by("control", found["dtms_control"]).items() if value} == {"paused"}


async def test_registrations_and_actions_are_counted(http, authority):
    authority.meters.registered(["protected", "protected", "registration_conflict"])
    stop = {"action_type": "tighten_stop", "outcome": "done"}
    authority.meters.acted([Event(time=0.0, kind="action", trade_id=1, ticket=1, body=stop)] * 3)
    found = await scraped(http)
    counted = by("outcome", found["dtms_registrations_total"])
    assert (counted["protected"], counted["registration_conflict"], counted["observed"]) == (2, 1, 0)
    assert found["dtms_actions_total"] == {(("kind", "tighten_stop"), ("outcome", "done")): 3}


def test_a_cycle_falls_into_the_class_whose_bound_it_does_not_pass():
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 20.0):
        histogram.add(seconds)
    assert histogram.counts == [2, 1, 1]
    assert histogram.sum == pytest.approx(20.65)


async def test_the_classes_of_cycles_add_up_from_below(http, authority):
    for seconds in (0.002, 0.02, 40.0):
        authority.meters.cycles.add(seconds)
    found = await scraped(http)
    counted = by("le", found["dtms_cycle_seconds_bucket"])
    assert (counted["0.005"], counted["0.025"], counted["30"], counted["+Inf"]) == (1, 2, 2, 3)
    assert list(counted.values()) == sorted(counted.values())
    assert found["dtms_cycle_seconds_count"][()] == 3
    assert found["dtms_cycle_seconds_sum"][()] == pytest.approx(40.022)


async def test_no_caller_can_make_a_series(http, authority, position_of):
    before = {name: set(values) for name, values in (await scraped(http)).items()}
    authority.at_terminal(*(position_of(ticket, symbol=f"S{ticket}") for ticket in range(1, 40)))
    for ticket in range(1, 40):
        body = {"symbol": f"S{ticket}", "strategy_type": f"made up {ticket}", "source": f"caller {ticket}"}
        await http.put(f"/dtms/trades/{ticket}", json=body)
        await http.get(f"/nowhere/{ticket}")
    after = {name: set(values) for name, values in (await scraped(http)).items()}
    assert after == before


async def test_without_metrics_there_is_nothing_at_these_paths(authority, access_of):
    app = make_app(authority, simulator=None, version="1", instance_id="a", access=access_of())
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        assert [(await http.get(path)).status_code for path in ("/metrics", "/dtms/metrics")] == [404, 404]
