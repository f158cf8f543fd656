"""What must hold at every moment of a long run, over plain values: requests, positions at the broker, trades, deals.

Each function answers the rules that are broken, in words that begin with the rule's number (``engine.md`` C) or name.
Nothing here asks the engine's own rules: what an order may do is said once more, from the invariants alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Frozen, Intent, Mode, Obligation, ObligationStatus, Owner, Trade

DEAL, SLTP = 1, 6
"""TRADE_ACTION_DEAL and TRADE_ACTION_SLTP."""
OUR_BASE = 4454
"""First four of the fifteen digits of a magic of ours (``engine.md`` D1)."""
NOISE = 1e-9
EVALUATION_S = 900.0
"""Open seconds between two evaluations: one M15 bar."""
M5_S = 300.0
"""Open time is counted in closed M5 bars (R40), so every limit below is met within one of them."""

LONGEST_WAIT: Mapping[str, float | None] = {
    "spread_too_wide": 300.0,
    "send_paused": 60.0,
    "hedge_not_seen": 600.0,
    "other_hedge_closes": 600.0,
    "quote_is_old": 0.0,
    "bars_are_old": 600.0,
    "no_atr": 900.0,
    "breakeven_out_of_reach": None,
    "inside_freeze_level": None,
    "trading_disabled_on_symbol": None,
    "older_position_closes_first": None,
}
"""Every reason an obligation may wait for, with the most open seconds; None where a move of the price, the broker or
another position ends it, and the obligation is cancelled with its state's end."""

BY_REASON = {0: "HAND", 1: "HAND", 2: "HAND", 3: "OTHER_PROGRAM", 4: "STOP_LOSS", 5: "TAKE_PROFIT", 6: "STOP_OUT"}
"""Who closed, by ENUM_DEAL_REASON; a program's deal with a magic of ours is ``DTMS``."""

OpenTime = Callable[[str, float, float], float]
"""Seconds of open market of a symbol between two instants."""


class Held(NamedTuple):
    """A position at the broker; 0.0 is no level. ``sign`` is +1 for BUY."""

    ticket: int
    identifier: int
    symbol: str
    sign: int
    volume: float
    sl: float
    tp: float
    magic: int

    @property
    def ours(self) -> bool:
        """True for a position that DTMS opened."""
        return ours(self.magic)


def held(row: Mapping[str, Any]) -> Held:
    """A position from MetaTrader's own field names."""
    names = ("volume", "sl", "tp", "magic")
    return Held(row["ticket"], row["identifier"], row["symbol"], 1 - 2 * row["type"], *(row[name] for name in names))


def ours(magic: int) -> bool:
    """True for a magic of a DTMS order."""
    return magic // 10**11 == OUR_BASE


@dataclass(frozen=True, slots=True)
class Sent:
    """One ``order_send``: what was asked, the positions right before and after it, the intent committed before it."""

    request: Mapping[str, Any]
    before: Mapping[int, Held]
    after: Mapping[int, Held]
    intent: Intent | None
    trades: Mapping[int, Trade]
    """By ``trade_id``, as committed when the order went out."""


def about_order(sent: Sent, mode: Mode = Mode.PROTECT) -> list[str]:
    """C-1 to C-6, C-8, C-19 and C-22 of one order."""
    request, intent = sent.request, sent.intent
    if intent is None or not intent.reason:
        return [f"C-19 an order without a committed intent and a reason: {dict(request)}"]
    trade = sent.trades[intent.trade_id]
    main = next((p for p in sent.before.values() if p.identifier == trade.identifier), None)
    own = [p for p in sent.before.values() if p.magic in trade.hedge_magics]
    target = sent.before.get(request.get("position", 0))
    broken = _permission(trade, target, mode)
    if request["action"] == SLTP:
        broken += _levels(request, target, main)
    elif request["action"] == DEAL and request.get("position"):
        broken += _close(request, target, main, own)
    elif request["action"] == DEAL:
        broken += _hedge(request, main, own)
    else:
        broken.append(f"C-22 action {request['action']}")
    return [f"{words} ({trade.ticket}, {dict(request)})" for words in broken + _effect(sent, trade, target)]


def _permission(trade: Trade, target: Held | None, mode: Mode) -> list[str]:
    """C-8: a trade that is over, or not ours to act on, gets no order but one that closes its own hedge."""
    if target is not None and target.magic in trade.hedge_magics:
        return []
    if trade.state.final or not trade.managed or trade.owner is not Owner.DTMS or mode is not Mode.PROTECT:
        return [f"C-8 an order on a trade in {trade.state} of {trade.owner}"]
    return []


def _levels(request: Mapping[str, Any], target: Held | None, main: Held | None) -> list[str]:
    """C-1, C-2: nearer than the stop that is there, or one where there is none (R14); the take profit as it is."""
    if target is None or main is None or target.ticket != main.ticket:
        return ["C-22 levels of a position that is not the trade's"]
    broken = []
    if not request["sl"] or (target.sl and target.sign * (request["sl"] - target.sl) <= 0):
        broken.append(f"C-1 the stop goes from {target.sl} to {request['sl']}")
    if request["tp"] != target.tp:
        broken.append(f"C-2 the take profit goes from {target.tp} to {request['tp']}")
    return broken


def _close(request: Mapping[str, Any], target: Held | None, main: Held | None, own: Sequence[Held]) -> list[str]:
    if target is None or (target not in own and (main is None or target.ticket != main.ticket)):
        return ["C-22 closes a position that is neither the trade's nor ours"]
    if 1 - 2 * request["type"] != -target.sign or request["volume"] > target.volume + NOISE:
        return [f"C-3 {request['volume']} lots against a position of {target.volume}"]
    return []


def _hedge(request: Mapping[str, Any], main: Held | None, own: Sequence[Held]) -> list[str]:
    if main is None:
        return ["C-5 a hedge without its position"]
    broken = []
    if 1 - 2 * request["type"] != -main.sign or request["symbol"] != main.symbol:
        broken.append("C-3 opens on the side of the trade")
    if request["volume"] > main.volume + NOISE:
        broken.append(f"C-5 a hedge of {request['volume']} on a position of {main.volume}")
    if own:
        broken.append("C-6 a second hedge")
    if not request.get("sl"):
        broken.append("R4 a hedge without a stop")
    return broken


def _effect(sent: Sent, trade: Trade, target: Held | None) -> list[str]:
    """C-3, C-4 and C-22 at the broker: what the order did to the trade's net volume, and to everybody else."""
    before, after = _net(trade, sent.before), _net(trade, sent.after)
    broken = []
    if after.volume > before.volume + NOISE:
        broken.append(f"C-3 the position grew from {before.volume} to {after.volume}")
    if after.hedge > after.volume + NOISE:
        broken.append(f"C-4 the net side turned: {after.volume} lots and a hedge of {after.hedge}")
    expected = {target.ticket} if target is not None else set()
    changed = {
        ticket
        for ticket in sent.before.keys() | sent.after.keys()
        if sent.before.get(ticket) != sent.after.get(ticket)
        and (ticket not in sent.after or sent.after[ticket].magic not in trade.hedge_magics)
    }
    if changed - expected:
        broken.append(f"C-22 it changed other positions: {sorted(changed - expected)}")
    return broken


class _Net(NamedTuple):
    volume: float
    hedge: float


def _net(trade: Trade, positions: Mapping[int, Held]) -> _Net:
    main = sum(p.volume for p in positions.values() if p.identifier == trade.identifier)
    return _Net(main, sum(p.volume for p in positions.values() if p.magic in trade.hedge_magics))


def about_broker(positions: Iterable[Held], trades: Mapping[int, Trade]) -> list[str]:
    """C-5, C-6, C-7 at the end of a cycle, and that the record shows what the broker holds.

    A trade whose last lots an order of ours has just closed shows no volume, and is CLOSED one cycle later.
    """
    by_identifier = {p.identifier: p for p in positions}
    makers = {magic: trade for trade in trades.values() for magic in trade.hedge_magics}
    broken, hedges = [], defaultdict(list)
    for position in by_identifier.values():
        if position.ours:
            if position.magic not in makers:
                broken.append(f"C-7 position {position.ticket} with a magic of ours belongs to no trade")
            else:
                hedges[makers[position.magic].trade_id].append(position)
    for trade_id, own in hedges.items():
        broken += _hedged(trades[trade_id], own, by_identifier)
    for trade in trades.values():
        main = by_identifier.get(trade.identifier or 0)
        if trade.verified_at is None or (main is None and (trade.state.final or trade.volume == 0)):
            continue
        if trade.state.final or main is None:
            where = "open" if main is not None else "gone"
            broken.append(f"the record says {trade.state} of {trade.ticket}, which is {where} at the broker")
        elif (trade.volume, trade.stop_loss or 0.0, trade.take_profit or 0.0) != (main.volume, main.sl, main.tp):
            broken.append(f"the record of {trade.ticket} differs from the broker's {main}")
    return broken


def _hedged(trade: Trade, own: Sequence[Held], by_identifier: Mapping[int, Held]) -> list[str]:
    main = by_identifier.get(trade.identifier or 0)
    if main is None:
        return [f"C-7 the hedge of {trade.ticket} is open without its position"]
    broken = []
    if len(own) > 1:
        broken.append(f"C-6 {len(own)} hedges of {trade.ticket}")
    if sum(p.volume for p in own) > main.volume + NOISE or any(p.sign == main.sign for p in own):
        broken.append(f"C-5 the hedge of {trade.ticket} is too large or on its side: {own}")
    return broken


def about_progress(
    trade: Trade, intents: Iterable[Intent], now: float, open_time: OpenTime, parameters: Parameters
) -> list[str]:
    """That nothing holds a trade for ever, at the end of a completed cycle: the definition of "no trap".

    An open trade is frozen only with an open order or a missing position; what it is owed was tried or waits for a
    named reason; it is evaluated with every closed M15 bar; HEDGED and RECOVERING end with their timers.
    """
    if trade.state.final:
        return []
    broken = []
    if trade.frozen is Frozen.INTENT and not any(i.trade_id == trade.trade_id for i in intents):
        broken.append("frozen without an order that is open")
    if trade.frozen is Frozen.VERIFY and trade.missing_since is None:
        broken.append("frozen though its position is not missing")
    if trade.verified_at is None:
        return [f"{words} ({trade.ticket})" for words in broken]
    due = [o for o in trade.obligations if o.status is ObligationStatus.DUE and o.next_try_at <= now]
    if trade.frozen is None:
        broken += [f"{o.kind} is due and was neither tried nor has a reason" for o in due if o.waiting is None]
    if any(o.status is ObligationStatus.SENT for o in trade.obligations) and trade.frozen is None:
        broken.append("an order is on its way, and the trade is not frozen")
    scored_at = max(trade.verified_at, trade.score_at or 0.0)
    unscored = open_time(trade.symbol, scored_at, now)
    if unscored > EVALUATION_S + M5_S:
        broken.append(f"not evaluated for {unscored:.0f} open seconds")
    for state, timer in ((TradeState.HEDGED, parameters.flat_s), (TradeState.RECOVERING, parameters.recovery_s)):
        here = open_time(trade.symbol, trade.state_since, now)
        undecided = state is TradeState.RECOVERING and trade.coverage < parameters.min_coverage_escalate  # R7
        if trade.state is state and here > timer + EVALUATION_S + M5_S and not undecided:
            broken.append(f"{state} for {here:.0f} open seconds")
    return [f"{words} ({trade.ticket}, {trade.state} by {trade.rule})" for words in broken]


def about_wait(obligation: Obligation, waited: float) -> list[str]:
    """A due obligation that has named one reason for ``waited`` open seconds."""
    reason = obligation.waiting or ""
    if reason not in LONGEST_WAIT:
        return [f"{obligation.kind} waits for something without a name here: {reason!r}"]
    longest = LONGEST_WAIT[reason]
    if longest is not None and waited > longest + M5_S:
        return [f"{obligation.kind} waits for {reason} since {waited:.0f} open seconds"]
    return []


def about_deals(deals: Sequence[Mapping[str, Any]], intents: Mapping[int, Intent]) -> list[str]:
    """Every deal of our magic has a committed intent and a reason, and no order did more than it planned (C-12)."""
    broken: list[str] = []
    done: dict[int, float] = defaultdict(float)
    for deal in deals:
        if not ours(deal["magic"]):
            continue
        intent = intents.get(deal["magic"])
        if intent is None or not intent.reason:
            broken.append(f"deal {deal['ticket']} with magic {deal['magic']} has no intent with a reason")
            continue
        opened = intent.plan["order"] == "OpenHedge"
        if deal["entry"] == 0 or not opened:  # what ends a hedge at its stop carries the magic that opened it
            done[deal["magic"]] += deal["volume"]
    broken += [
        f"C-12 order {magic} did {volume} of {intents[magic].plan['volume']} lots"
        for magic, volume in done.items()
        if volume > float(intents[magic].plan["volume"]) + NOISE
    ]
    return broken


def about_closes(
    deals: Sequence[Mapping[str, Any]], trades: Iterable[Trade], profits: Mapping[int, float]
) -> list[str]:
    """A closed trade was closed by deals, for the reason and with the result that they show. ``profits`` by trade."""
    by_position = defaultdict(list)
    for deal in deals:
        by_position[deal["position_id"]].append(deal)
    broken = []
    for trade in trades:
        if trade.state is not TradeState.CLOSED:
            continue
        mine = by_position[trade.identifier or trade.ticket]
        out = [deal for deal in mine if deal["entry"] != 0]
        left = sum(d["volume"] for d in mine) - 2 * sum(d["volume"] for d in out)
        if not out or abs(left) > NOISE:
            broken.append(f"{trade.ticket} is CLOSED with {left} lots that no deal closed")
            continue
        last = out[-1]
        reason = BY_REASON.get(last["reason"], "OTHER_PROGRAM")
        if reason in {"HAND", "OTHER_PROGRAM"} and ours(last["magic"]):
            reason = "DTMS"
        if reason != trade.closed_reason:
            broken.append(f"{trade.ticket} is recorded as closed by {trade.closed_reason}, its deals say {reason}")
        if abs(profits.get(trade.trade_id, 0.0) - money(mine)) > 0.005:
            broken.append(f"{trade.ticket} closed with {money(mine)}, its event says {profits.get(trade.trade_id)}")
    return broken


def about_money(
    account: Mapping[str, Any], deals: Sequence[Mapping[str, Any]], positions: Iterable[Mapping[str, Any]]
) -> list[str]:
    """The account's balance is the sum of its deals, and its equity that plus what is open."""
    balance = money(deals)
    equity = balance + sum(p["profit"] + p["swap"] for p in positions)
    broken = []
    if abs(account["balance"] - balance) > 0.005:
        broken.append(f"the balance is {account['balance']}, the deals sum up to {balance}")
    if abs(account["equity"] - equity) > 0.015:
        broken.append(f"the equity is {account['equity']}, deals and open positions sum up to {equity}")
    return broken


def money(deals: Iterable[Mapping[str, Any]]) -> float:
    """What deals moved on the account, to the cent."""
    total: float = sum(d["profit"] + d["swap"] + d["commission"] + d.get("fee", 0.0) for d in deals)
    return round(total, 2)
