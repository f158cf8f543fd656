from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from ledger_values import a_trade, an_alert, an_event, an_intent, any_value

from dtms_service.domain.alerts import Alert
from dtms_service.domain.errors import Invalid, StorageFailed
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import Event, Intent, Owner, Trade
from dtms_service.ledger.codec import (
    alert_of,
    alert_row,
    event_of,
    event_row,
    intent_of,
    intent_row,
    numbered,
    rows_of,
    trade_of,
    trade_row,
)
from dtms_service.ledger.tables import ALERTS, EVENTS, INTENTS, TRADES


@given(any_value(Trade))
def test_every_trade_comes_back_as_it_was(trade: Trade) -> None:
    back = trade_of(trade_row(trade))
    assert back == trade
    assert type(back.flags) is frozenset
    assert type(back.obligations) is tuple


@given(any_value(Intent))
def test_every_intent_comes_back_as_it_was(intent: Intent) -> None:
    assert intent_of(intent_row(intent)) == intent


@given(any_value(Alert))
def test_every_alert_comes_back_as_it_was(alert: Alert) -> None:
    assert alert_of(alert_row(alert)) == alert


@given(any_value(Event))
def test_every_event_comes_back_with_its_sequence(event: Event) -> None:
    assert event_of(numbered(event_row(event), event.sequence or 0)) == replace(event, sequence=event.sequence or 0)


def _digest(row: dict[str, Any]) -> str:
    return hashlib.sha256("\n".join(str(row[name]) for name in row if name != "digest").encode("utf-8")).hexdigest()


def test_the_digest_is_the_sha_256_of_all_other_columns_in_their_order() -> None:
    rows = {
        TRADES: trade_row(a_trade()),
        INTENTS: intent_row(an_intent()),
        EVENTS: numbered(event_row(an_event()), 1),
        ALERTS: alert_row(an_alert()),
    }
    for table, row in rows.items():
        assert row["digest"] == _digest(row)
        assert list(row) == [column.name for column in table.columns]
        assert list(row)[-1] == "digest"
    assert json.loads(rows[TRADES]["body"])["ticket"] == 1001


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused_wherever_it_hides(bad: float) -> None:
    batches = [
        Batch(trades=(a_trade(volume=bad),)),
        Batch(trades=(a_trade(claims={"levels": [bad]}),)),
        Batch(intents=(an_intent(plan={"stop_loss": bad}),)),
        Batch(events=(an_event(body={"score": bad}),)),
        Batch(events=(an_event(time=bad),)),
    ]
    for batch in batches:
        with pytest.raises(Invalid, match="nothing was written"):
            rows_of(batch)


def test_the_words_nan_and_infinity_may_be_said() -> None:
    trade = a_trade(source="NaN", claims={"comment": "Infinity and -Infinity"})
    assert trade_of(trade_row(trade)) == trade


@pytest.mark.parametrize(
    "changes",
    [
        {"ticket": "1001"},
        {"state": "HEALTHY"},
        {"flags": {"late"}},
        {"claims": {1: 2}},
        {"claims": {"when": object()}},
        {"source": "\ud800"},
    ],
)
def test_a_value_of_another_type_is_refused_before_it_is_written(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        rows_of(Batch(trades=(a_trade(**changes),)))


@pytest.mark.parametrize("name", ["instance", "lineage", "seal"])
def test_the_ledgers_own_names_cannot_be_overwritten_by_a_fact(name: str) -> None:
    with pytest.raises(Invalid):
        rows_of(Batch(facts={name: "1"}))


def _rewritten(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    fields = {**json.loads(row["body"]), **changes}
    body = json.dumps({name: value for name, value in fields.items() if value is not ...})
    return {**row, "body": body, "digest": _digest({**row, "body": body})}


def test_a_field_of_a_newer_version_is_refused() -> None:
    with pytest.raises(StorageFailed, match=r"trade 1 .*this version.*trailing_speed"):
        trade_of(_rewritten(trade_row(a_trade()), trailing_speed=1.0))


def test_a_field_an_older_version_did_not_write_takes_its_default() -> None:
    row = _rewritten(trade_row(a_trade(owner=Owner.DTMS, hedges=0)), hedges=..., stop_set_by=...)
    assert trade_of(row) == a_trade()


def test_a_field_without_default_that_is_missing_is_named() -> None:
    with pytest.raises(StorageFailed, match=r"trade 1 .*entry_price"):
        trade_of(_rewritten(trade_row(a_trade()), entry_price=...))


def test_one_changed_character_is_found_and_the_row_named() -> None:
    row = intent_row(an_intent(5))
    with pytest.raises(StorageFailed, match=f"intent {row['magic']} .*digest"):
        intent_of({**row, "body": row["body"].replace("2005.0", "2006.0")})


def test_a_column_that_contradicts_its_body_is_found() -> None:
    row = trade_row(a_trade()) | {"state": "CLOSED"}
    with pytest.raises(StorageFailed, match=r"trade 1 .*digest"):
        trade_of(row)
    with pytest.raises(StorageFailed, match=r"trade 1 .*column state"):
        trade_of(row | {"digest": _digest(row)})


def test_a_time_is_written_as_the_database_gives_it_back() -> None:
    assert str(trade_row(a_trade(registered_at=-0.0, closed_at=5))["registered_at"]) == "0.0"
    assert str(trade_row(a_trade(closed_at=5))["closed_at"]) == "5.0"
    assert str(event_row(an_event(time=5))["time"]) == "5.0"
