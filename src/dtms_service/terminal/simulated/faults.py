"""Faults the simulated terminal plays on its caller (INTERFACE 3.6): kept on disk, counted down before they act.

A fault looks at the calls its kind can hit (of its ``symbol`` or ``call``, when it names one). With ``probability``
below 1 each look is a draw that depends on (seed, fault, number of the look) only. What ends it: ``count`` hits (1
unless told otherwise), or, for every kind but ``hang``, ``slow`` and ``executed_late`` (where ``seconds`` is a
delay), ``seconds`` of market time after arming; with ``seconds`` and no ``count`` it hits every call of that time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.reading import read_number, read_whole
from dtms_service.terminal.simulated.rows import FaultRow
from dtms_service.terminal.simulated.state import State

READS = frozenset({
    "account_info", "terminal_info", "symbols_total", "symbols_get", "symbol_info", "symbol_info_tick",
    "copy_rates_from", "copy_rates_from_pos", "copy_rates_range", "copy_ticks_from", "copy_ticks_range",
    "market_book_get", "positions_total", "positions_get",
    "orders_total", "orders_get", "history_orders_get", "history_deals_get", "history_orders_total",
    "history_deals_total",
})  # fmt: skip
SEND = frozenset({"order_send"})
_TICK = frozenset({"symbol_info_tick"})
_POSITIONS = frozenset({"positions_get"})
_RECORDS = frozenset({"positions_get", "orders_get", "history_orders_get", "history_deals_get"})
_ALL = READS | SEND | {"order_check", "order_calc_margin", "order_calc_profit", "symbol_select"}

KINDS: dict[str, frozenset[str]] = {
    "reply_lost_executed": SEND,
    "reply_lost_not_executed": SEND,
    "executed_late": SEND,
    "placed": SEND,
    "stopped_first": SEND,
    "partial_fill": SEND,
    "read_none": READS,
    "read_omits_ticket": _POSITIONS,
    "hang": _ALL,
    "slow": _ALL,
    "visible_late": _RECORDS,
    "disconnected": SEND | {"terminal_info"},
    "terminal_killed": _ALL,
    "unreachable": frozenset({"initialize", "login"}),
    "autotrading_off": SEND | {"terminal_info"},
    "api_off": SEND | {"terminal_info"},
    "experts_off": SEND | {"account_info"},
    "retcode": SEND,
    "magic_zeroed": SEND,
    "comment_rewritten": SEND,
    "ticket_changed": _POSITIONS,
    "stale_ticks": _TICK,
    "bad_tick": _TICK,
    "market_closed": SEND,
}
"""Calls that each kind can hit."""

DELAYS = {"hang": 3600.0, "slow": 2.0, "executed_late": 10.0, "placed": 3.0, "visible_late": 0.5}
"""Kinds whose ``seconds`` is a delay, with its default."""

DEALS_ONLY = frozenset({"partial_fill", "placed", "magic_zeroed", "comment_rewritten"})
"""Kinds that only a market order meets, not a change of levels."""

NEED_POSITION = frozenset({"read_omits_ticket", "ticket_changed"})
"""Kinds that wait until there is a position to act on."""

_OUTCOMES = (
    "hang",
    "terminal_killed",
    "api_off",
    "autotrading_off",
    "experts_off",
    "disconnected",
    "market_closed",
    "retcode",
    "reply_lost_not_executed",
    "executed_late",
    "reply_lost_executed",
    "placed",
)
_REJECTIONS = frozenset(
    value
    for name, value in vars(Constants).items()
    if name.startswith("TRADE_RETCODE_") and value not in {10008, 10009, 10010}
) | {10046}
_FIELDS = ("kind", "count", "probability", "seconds", "symbol", "retcode", "seed", "call", "ticket")


def read_fault(body: Mapping[str, Any], number: int, now: float, symbols: Mapping[str, Any]) -> FaultRow:
    """A fault as asked for. Raises ``ValueError`` with one sentence."""
    for key in body:
        if key not in _FIELDS:
            message = f"a fault has no field {key!r}; it has {', '.join(_FIELDS)}"
            raise ValueError(message)
    kind = body.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        message = f"unknown fault kind {kind!r}; the kinds are {', '.join(KINDS)}"
        raise ValueError(message)
    symbol, call = body.get("symbol"), body.get("call")
    if symbol is not None and symbol not in symbols:
        message = f"unknown symbol {symbol!r}; this market has {', '.join(symbols)}"
        raise ValueError(message)
    if call is not None and call not in KINDS[kind]:
        message = f"{kind} cannot hit {call!r}; it hits {', '.join(sorted(KINDS[kind]))}"
        raise ValueError(message)
    seconds = read_number(body, "seconds", DELAYS.get(kind), 0.0, 1e9)
    lasting = seconds is not None and kind not in DELAYS
    retcode = read_whole(body, "retcode", Constants.TRADE_RETCODE_REQUOTE if kind == "retcode" else None, 0, 99999)
    if retcode is not None and retcode not in _REJECTIONS:
        message = f"retcode {retcode} is no rejection of MetaTrader 5, such as 10004, 10006 or 10016"
        raise ValueError(message)
    probability = read_number(body, "probability", 1.0, 0.0, 1.0)
    return FaultRow(
        id=number,
        kind=kind,
        count=read_whole(body, "count", None if lasting else 1, 1, 1_000_000_000),
        seen=0,
        probability=1.0 if probability is None else probability,
        seconds=seconds,
        symbol=symbol,
        retcode=retcode,
        seed=read_whole(body, "seed", 0, 0, 2**63 - 1) or 0,
        call=call,
        ticket=read_whole(body, "ticket", None, 1, 2**63 - 1),
        armed_at=now,
    )


class Faults:
    """The armed faults, asked at every gateway call."""

    def __init__(self, state: State) -> None:
        self._state = state

    def meet(self, call: str, symbols: Collection[str], now: float, *, deal: bool = False) -> dict[str, FaultRow]:
        """Faults that act on this call, by kind; each is counted down and on disk already.

        Of the kinds that decide how an order ends only the first one acts. ``symbols`` are those the call is about: a
        fault that names another one leaves it alone.
        """
        acting: dict[str, FaultRow] = {}
        for fault in tuple(self._state.faults.values()):
            if _over(fault, now):
                self._state.drop_faults([fault.id])
            elif (
                _fits(fault, call, symbols, deal)
                and not self._decided(fault, acting, call)
                and fault.kind not in acting
            ):
                self._look(fault, acting)
        self._state.save()
        return acting

    def standing(self, kind: str, now: float, symbol: str = "") -> FaultRow | None:
        """A fault of ``kind`` whose time has not run out; it is not a hit, it is how things stand meanwhile."""
        for fault in self._state.faults.values():
            lasting = fault.kind == kind and fault.seconds is not None and not _over(fault, now)
            if lasting and fault.probability >= 1.0 and fault.symbol in {None, symbol}:
                return fault
        return None

    def _decided(self, fault: FaultRow, acting: dict[str, FaultRow], call: str) -> bool:
        return call == "order_send" and fault.kind in _OUTCOMES and any(kind in acting for kind in _OUTCOMES)

    def _look(self, fault: FaultRow, acting: dict[str, FaultRow]) -> None:
        hit = _draw(fault) < fault.probability
        looked = replace(fault, seen=fault.seen + 1)
        if hit:
            acting[fault.kind] = looked
            if fault.count is not None:
                looked = replace(looked, count=fault.count - 1)
        if looked.count == 0:
            self._state.drop_faults([fault.id])
        elif looked.count is not None or fault.probability < 1.0:
            self._state.put(looked)


def _over(fault: FaultRow, now: float) -> bool:
    return fault.kind not in DELAYS and fault.seconds is not None and now > fault.armed_at + fault.seconds


def _fits(fault: FaultRow, call: str, symbols: Collection[str], deal: bool) -> bool:  # noqa: FBT001 -- private
    return (
        call in KINDS[fault.kind]
        and fault.call in {None, call}
        and (fault.symbol is None or fault.symbol in symbols)
        and (bool(symbols) or call != "positions_get" or fault.kind not in NEED_POSITION)
        and (deal or fault.kind not in DEALS_ONLY)
    )


def _draw(fault: FaultRow) -> float:
    """Uniform in [0, 1), a function of the fault and the number of the look."""
    digest = hashlib.blake2b(f"{fault.seed}|{fault.id}|{fault.seen}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2.0**64
