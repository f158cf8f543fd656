"""What a trade server's return code means for an order of ours: one literal table (``mt5.md`` 2.4, R17).

Done: it took effect, or was so already. Refused: it did not and will not. Unknown: only the broker's records can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from dtms_service.domain.orders import Fill
from dtms_service.domain.outcome import Done, Outcome, Refused, Unknown
from dtms_service.terminal import results
from dtms_service.terminal.link import Result


class Verdict(Enum):
    """What the code says about the order."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Meaning:
    """``code`` is ours and stable; ``text`` is for people."""

    verdict: Verdict
    code: str
    text: str


_D, _R, _U = Verdict.DONE, Verdict.REFUSED, Verdict.UNKNOWN

MEANINGS: dict[int, Meaning] = {
    10004: Meaning(_R, "requote", "the price moved; a new one was offered"),
    10006: Meaning(_R, "rejected", "the request was rejected"),
    10007: Meaning(_R, "cancelled", "the request was cancelled by the trader"),
    10008: Meaning(_U, "placed", "the order was placed; its execution is not confirmed yet"),
    10009: Meaning(_D, "done", "the request was executed"),
    10010: Meaning(_D, "done_partial", "only a part of the request was executed"),
    10011: Meaning(_U, "server_error", "the server met an error while it processed the request"),
    10012: Meaning(_U, "server_timeout", "the request was cancelled by time-out"),
    10013: Meaning(_R, "invalid_request", "the request makes no sense to the server"),
    10014: Meaning(_R, "invalid_volume", "the volume is not legal for this symbol"),
    10015: Meaning(_R, "invalid_price", "the price is not legal"),
    10016: Meaning(_R, "invalid_stops", "a stop is on the wrong side of the price or too near to it"),
    10017: Meaning(_R, "trade_disabled", "trading is disabled"),
    10018: Meaning(_R, "market_closed", "the market is closed"),
    10019: Meaning(_R, "no_money", "there is not enough money"),
    10020: Meaning(_R, "price_changed", "the price has changed"),
    10021: Meaning(_R, "price_off", "there are no quotes to process the request"),
    10022: Meaning(_R, "invalid_expiration", "the expiration is not legal"),
    10023: Meaning(_U, "order_changed", "the state of the order has changed"),
    10024: Meaning(_R, "too_many_requests", "requests come too often"),
    10025: Meaning(_D, "no_changes", "the request changes nothing: it was so already"),
    10026: Meaning(_R, "server_disables_programs", "trading by programs is disabled by the server"),
    10027: Meaning(_R, "client_disables_programs", "trading by programs is switched off at the terminal"),
    10028: Meaning(_R, "locked", "the request is locked for processing"),
    10029: Meaning(_R, "frozen", "the order or position is frozen: the price is too near to its levels"),
    10030: Meaning(_R, "invalid_filling", "the filling mode is not allowed for this symbol"),
    10031: Meaning(_U, "no_connection", "the terminal has no connection to the trade server"),
    10032: Meaning(_R, "only_real", "the operation is allowed for real accounts only"),
    10033: Meaning(_R, "limit_orders", "the number of pending orders is at its limit"),
    10034: Meaning(_R, "limit_volume", "the volume of orders and positions is at its limit"),
    10035: Meaning(_R, "invalid_order", "the order type is wrong or prohibited"),
    10036: Meaning(_R, "position_closed", "the position is closed already"),
    10038: Meaning(_R, "invalid_close_volume", "the volume to close is larger than the position"),
    10039: Meaning(_R, "close_order_exists", "an order to close the position exists already"),
    10040: Meaning(_R, "limit_positions", "the number of positions is at its limit"),
    10041: Meaning(_R, "reject_cancel", "the pending order was rejected and cancelled"),
    10042: Meaning(_R, "long_only", "only long positions are allowed"),
    10043: Meaning(_R, "short_only", "only short positions are allowed"),
    10044: Meaning(_R, "close_only", "only closing is allowed"),
    10045: Meaning(_R, "fifo_close", "positions must be closed in the order they were opened"),
    10046: Meaning(_R, "hedge_prohibited", "opposite positions are prohibited"),
}

NOT_SENT = {-2: "bad_request", -8: "api_disabled", -10004: "not_sent"}
"""Our code of each ``last_error`` after which an order certainly never left the terminal (R17)."""


def outcome_of(result: Result, latency_ms: float) -> Outcome[Fill]:
    """What became of an order by the result of its ``order_send``."""
    answer = result.value
    if result.raised is not None:
        return results.failure("order_send", result)
    if answer is None or answer is False:
        return no_answer(result.code, result.text)
    if not isinstance(answer, Mapping):
        return results.failure("order_send", result)
    return _read(results.understood("order_send", _judged, answer, latency_ms))


def _read(judged: Outcome[Fill | Refused | Unknown]) -> Outcome[Fill]:
    if not isinstance(judged, Done):
        return judged
    return Done(judged.value) if isinstance(judged.value, Fill) else judged.value


def _judged(answer: Mapping[str, Any], latency_ms: float) -> Fill | Refused | Unknown:
    verdict = judge(answer["retcode"], answer["comment"], answer["request_id"])
    if isinstance(verdict, Unknown):
        return replace(verdict, order=answer["order"] or None)
    if verdict is not None:
        return verdict
    return Fill(
        retcode=answer["retcode"],
        order=answer["order"],
        deal=answer["deal"],
        volume=answer["volume"],
        price=answer["price"],
        comment=answer["comment"],
        latency_ms=round(latency_ms, 3),
    )


def judge(retcode: int, comment: str, request_id: int) -> Refused | Unknown | None:
    """None when the order is done; a code that is not in the table is Unknown, unless it never left (request id 0)."""
    meaning = MEANINGS.get(retcode)
    if meaning is None:
        unheard = f"return code {retcode}, which is not known here: {comment}"
        return Refused("not_sent", unheard, retcode) if request_id == 0 else Unknown("retcode", unheard, retcode)
    detail = f"{meaning.text} ({retcode} {comment})".replace(" )", ")")
    match meaning.verdict:
        case Verdict.DONE:
            return None
        case Verdict.UNKNOWN if request_id != 0:
            return Unknown(meaning.code, detail, retcode)
        case _:
            return Refused(meaning.code, detail, retcode)


def no_answer(code: int, text: str) -> Refused | Unknown:
    """The outcome of an order that was answered with None."""
    detail = f"the terminal gave no answer ({code} {text})"
    if code in NOT_SENT:
        return Refused(NOT_SENT[code], detail)
    return Unknown("link_down" if code in results.LINK_LOST else "no_reply", detail)
