"""What a run did, counted from what it committed: states, their ends and durations, actions, closes, alerts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from month_checks import OpenTime

from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Trade


class _Place(NamedTuple):
    state: TradeState
    since: float


@dataclass
class Tally:
    """Fed with every committed batch, in order; ``broken`` are transitions that do not follow from each other."""

    open_time: OpenTime
    entries: Counter[TradeState] = field(default_factory=Counter)
    moves: Counter[tuple[TradeState, str, str]] = field(default_factory=Counter)
    """From, rule, to; ``itself`` where an effect must be confirmed before the state ends."""
    dwells: dict[TradeState, list[float]] = field(default_factory=dict)
    actions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    closes: Counter[str] = field(default_factory=Counter)
    profits: dict[int, float] = field(default_factory=dict)
    """By trade: what its event of closing says that it made."""
    broken: list[str] = field(default_factory=list)
    _places: dict[int, _Place] = field(default_factory=dict)

    def take(self, batch: Batch) -> None:
        """Count one transaction."""
        changed = {trade.trade_id: trade for trade in batch.trades}
        for event in batch.events:
            self._event(event, changed)
        for trade in batch.trades:
            place = self._places.get(trade.trade_id)
            if place is None:
                self._enter(trade, trade.state, trade.state_since)
            elif place.state is not trade.state:
                self._move(trade, place, trade.state, trade.rule, trade.closed_at or trade.state_since)

    def _event(self, event: Event, changed: Mapping[int, Trade]) -> None:
        body = event.body
        match event.kind:
            case "action":
                self.actions[body["action_type"], body["outcome"], _reason(body)] += 1
            case "satisfied":
                self.actions[body["action_type"], "satisfied", body["reason"]] += 1
            case "alert":
                self.alerts[body["code"]] += 1
            case "closed" if event.trade_id is not None:
                self.profits[event.trade_id] = body["profit"]
            case "transition" if event.trade_id is not None:
                place = self._places.get(event.trade_id)
                if place is None or place.state != body["from"]:
                    self.broken.append(f"a transition from {body['from']} of a trade in {place} ({event.ticket})")
                else:
                    self._move(changed[event.trade_id], place, TradeState(body["to"]), body["rule"], event.time)

    def _move(self, trade: Trade, place: _Place, state: TradeState, rule: str, time: float) -> None:
        by = f"{rule} by {trade.closed_reason}" if state is TradeState.CLOSED else rule
        self.moves[place.state, by, "itself" if state is place.state else state.value] += 1
        if state is place.state:
            return  # what it owes must take effect first
        if trade.symbol:
            dwell = self.open_time(trade.symbol, place.since, max(place.since, time))
            self.dwells.setdefault(place.state, []).append(dwell)
        self._enter(trade, state, time)

    def _enter(self, trade: Trade, state: TradeState, time: float) -> None:
        self.entries[state] += 1
        self._places[trade.trade_id] = _Place(state, time)
        if state is TradeState.CLOSED:
            self.closes[trade.closed_reason or "?"] += 1

    def tables(self) -> dict[str, Any]:
        """Everything as JSON: tables are lists of rows, their first row names the columns."""
        here = Counter(place.state for place in self._places.values())
        return {
            "states": [
                ["state", "entries", "in it at the end", "dwell median", "dwell p90", "dwell max"],
                *(
                    [state.value, self.entries[state], here[state], *_spread(self.dwells.get(state, ()))]
                    for state in TradeState
                    if self.entries[state]
                ),
            ],
            "moves": [
                ["from", "by", "to", "count"],
                *([state.value, by, to, n] for (state, by, to), n in sorted(self.moves.items(), key=_by_state)),
            ],
            "actions": [
                ["action", "outcome", "reason", "count"],
                *([*key, n] for key, n in sorted(self.actions.items())),
            ],
            "closes": [["reason", "count"], *([key, n] for key, n in sorted(self.closes.items()))],
            "alerts": [["code", "count"], *([key, n] for key, n in sorted(self.alerts.items()))],
        }


def _reason(body: Mapping[str, Any]) -> str:
    if body["outcome"] != "refused" or body["retcode"] is None:
        return str(body["reason"])
    return f"{body['reason']}: {body['retcode']} {body['retcode_text']}"


def _spread(dwells: Iterable[float]) -> list[float | None]:
    values = list(dwells)
    if not values:
        return [None, None, None]
    return [round(float(np.quantile(values, share, method="higher"))) for share in (0.5, 0.9, 1.0)]


def _by_state(item: tuple[tuple[TradeState, str, str], int]) -> tuple[int, int, str]:
    (state, by, _), count = item
    return list(TradeState).index(state), -count, by
