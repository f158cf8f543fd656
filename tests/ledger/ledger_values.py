"""Trades, intents, events and alerts to store: plain ones, and any that the types allow."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, Union

from hypothesis import strategies as st

from dtms_service.domain import magic
from dtms_service.domain.alerts import Alert, Delivery
from dtms_service.domain.runbook import Severity
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Intent, IntentState, ObligationKind, Trade
from dtms_service.domain.values import Side

INSTANCE = 417


def a_trade(number: int = 1, **changes: Any) -> Trade:
    trade = Trade(
        trade_id=number,
        login=5012345,
        server="Broker-Demo",
        ticket=1000 + number,
        identifier=1000 + number,
        symbol="XAUUSD",
        side=Side.BUY,
        volume=0.3,
        initial_volume=0.3,
        entry_price=2012.34,
        stop_loss=2002.5,
        take_profit=None,
        initial_stop_loss=2002.5,
        state=TradeState.HEALTHY,
        state_since=1_700_000_000.0,
        registered_at=1_700_000_000.0,
    )
    return dataclasses.replace(trade, **changes)


def an_event(number: int = 1, **changes: Any) -> Event:
    event = Event(time=1_700_000_000.0, kind="registered", trade_id=number, ticket=1000 + number, body={"n": number})
    return dataclasses.replace(event, **changes)


def an_intent(sequence: int = 1, **changes: Any) -> Intent:
    intent = Intent(
        magic=magic.make(INSTANCE, sequence),
        trade_id=1,
        kind=ObligationKind.TIGHTEN_STOP,
        episode=sequence,
        leg=1,
        state=IntentState.SENDING,
        plan={"stop_loss": 2005.0},
        before={"volume": 0.3},
        reason="score_warns",
        created_at=1_700_000_000.0,
        sending_at=1_700_000_000.0,
    )
    return dataclasses.replace(intent, **changes)


def an_alert(number: int = 1, **changes: Any) -> Alert:
    alert = Alert(
        alert_id=number,
        code="stop_loosened",
        severity=Severity.WARNING,
        about=f"trade {number}",
        trade_id=number,
        ticket=1000 + number,
        detail="the stop loss was loosened by someone else",
        first_at=1_700_000_000.0,
        last_at=1_700_000_000.0,
        noticed_at=1_700_000_000.0,
        delivered={"log": Delivery(notice=1, at=1_700_000_001.0)},
    )
    return dataclasses.replace(alert, **changes)


_NUMBERS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _FINITE | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_PLAIN = {int: _NUMBERS, float: _FINITE, str: st.text(max_size=8), bool: st.booleans(), type(None): st.none()}


def any_value(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a domain type, from its annotations alone."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Mapping:
        values = _JSON if arguments[1] is Any else any_value(arguments[1])
        return st.dictionaries(st.text(max_size=5), values, max_size=3)
    if origin in {tuple, frozenset}:
        return st.lists(any_value(arguments[0]), max_size=2).map(origin)
    if origin in {Union, types.UnionType}:
        return st.one_of([any_value(argument) for argument in arguments])
    if issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: any_value(hints[field.name]) for field in dataclasses.fields(kind)})
