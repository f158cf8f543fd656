"""Why a plan is something else than an order, in words for people. A test holds this table and the plans together."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from dtms_service.domain.parameters import Parameters


class Answer(StrEnum):
    """What becomes of the obligation; the values complete "it …"."""

    WAITS = "waits"
    DONE = "is done"
    INSTEAD = "is replaced by a closer stop"
    GIVEN_UP = "is given up"


class Why(NamedTuple):
    """The answers that a reason comes with, and a clause that follows "because"; it names settings by their names."""

    answers: tuple[Answer, ...]
    words: str


_WAITS, _DONE, _INSTEAD = (Answer.WAITS,), (Answer.DONE,), (Answer.INSTEAD,)

REASONS: Mapping[str, Why] = MappingProxyType(
    {
        # What is known is too old, or too little.
        "quote_is_old": Why(_WAITS, "the newest quote is older than tick_stale_s"),
        "bars_are_old": Why(_WAITS, "the newest M5 bar closed more than m5_stale_s ago; the next one decides"),
        "no_atr": Why(_WAITS, "there are not enough bars for an ATR"),
        "hedge_not_seen": Why(_WAITS, "the hedge was not in the last read of the terminal"),
        "other_hedge_closes": Why(_WAITS, "an earlier order of ours opened one late, and that is being closed first"),
        # The broker or the market does not let it through now.
        "trading_disabled_on_symbol": Why(_WAITS, "the broker takes no orders on this symbol"),
        "inside_freeze_level": Why(
            _WAITS, "the price is so near to the stop or target that the broker refuses changes"
        ),
        "spread_too_wide": Why(
            _WAITS, "the spread is above spread_wide times its median, and it waits spread_defer_s at most"
        ),
        "news_are_due": Why(_WAITS, "an operator announced news: nothing is opened or reduced until they are over"),
        "send_paused": Why(_WAITS, "the account's orders go out at a limited pace"),
        "older_position_closes_first": Why(
            (Answer.WAITS, Answer.INSTEAD), "the account closes by FIFO, and an older position on this side is open"
        ),
        # The goal is true already.
        "stop_is_tight_enough": Why(_DONE, "the present stop is as good, or worse by less than least_gain_r"),
        "stop_was_set_again": Why(_DONE, "another stop was placed by hand"),
        "stop_is_at_breakeven": Why(_DONE, "the present stop is at breakeven or better"),
        "partial_close_done_before": Why(_DONE, "the trade had its max_partials"),
        "volume_is_reduced_already": Why(_DONE, "what is left to close is less than the broker's least volume"),
        "hedge_is_open": Why(_DONE, "the hedge is open"),
        "stop_near": Why(_DONE, "the trade's own stop is within hedge_room_atr of the price: the stop is the hedge"),
        "no_hedge_is_open": Why(_DONE, "no hedge is open"),
        "it_is_closed": Why(_DONE, "that position is closed"),
        "closed_already": Why(_DONE, "nothing of the registered volume is open"),
        # It cannot be done on this trade.
        "breakeven_out_of_reach": Why(_INSTEAD, "the price is not far enough beyond breakeven; breakeven stays owed"),
        "too_small_for_a_partial_close": Why(_INSTEAD, "half of it, or what would be left, is below the least volume"),
        "too_small_for_a_hedge": Why(_INSTEAD, "a hedge, or what would be left, is below the least volume"),
        "no_opposite_position_here": Why(
            _INSTEAD, "hedge_style wants an opposite position, and this account or symbol takes none"
        ),
        "no_price_below_zero": Why((Answer.GIVEN_UP,), "the level would be below zero"),
    }
)


def with_numbers(words: str, parameters: Parameters) -> str:
    """``words`` with the value behind the name of every setting in them."""
    return " ".join(_with_number(word, parameters) for word in words.split())


def _with_number(word: str, parameters: Parameters) -> str:
    name = word.rstrip(",;:.")
    if name not in Parameters.__dataclass_fields__:
        return word
    value = getattr(parameters, name)
    return f"{name} ({value if isinstance(value, str | tuple) else format(value, 'g')}){word[len(name) :]}"
