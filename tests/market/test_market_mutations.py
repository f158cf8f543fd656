"""C-21: the market's view and the score without one rule each; the properties of ``test_market_symmetry.py`` see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import test_market_symmetry as symmetry

from dtms_service.domain import signals
from dtms_service.domain.signals import candle_value
from dtms_service.domain.view import CandleReading
from dtms_service.market.window import Update, Window

updated = Window.updated


def with_the_forming_bar(self: Window, bars: object, now: float) -> Update:
    return updated(self, bars, now + self.timeframe.seconds)  # type: ignore[arg-type]  # bars, handed on


def never_for_a_trade(reading: CandleReading) -> float:
    """D11: a bar of conviction speaks against both sides."""
    return -abs(candle_value(reading))


MUTANTS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "C-21 the forming bar counts": (
        "the bar that is still forming changes nothing",
        lambda patch: patch.setattr(Window, "updated", with_the_forming_bar),
    ),
    "C-21 later bars count": (
        "bars that come later change nothing",
        lambda patch: patch.setattr(Window, "updated", lambda self, bars, _: updated(self, bars, np.inf)),
    ),
    "C-21 a component that does not know sides": (
        "the mirrored trade in the mirrored market has the same score",
        lambda patch: patch.setattr(signals, "candle_value", never_for_a_trade),
    ),
}
"""By what is wrong: the property that must find it, and the build."""


def instants(symbol: str, seed: int) -> Iterator[float]:
    ends = symmetry.generated(symbol, seed).ends()
    yield from (float(ends[place]) for place in np.linspace(0, len(ends) - 1, 12).astype(np.int64))


def found(name: str, symbol: str = "EURUSD", seed: int = 1) -> str:
    """What the property says of the first instant at which it does not hold; empty when it always holds."""
    market, draw = symmetry.generated(symbol, seed), np.random.default_rng(seed)
    for now in instants(symbol, seed):
        try:
            symmetry.PROPERTIES[name](market, now, draw)
        except AssertionError as violation:
            return f"not so: {name} {violation}".strip()
    return ""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_build_without_the_rule_is_found_and_the_one_with_it_is_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    property_, breaks = MUTANTS[name]
    assert found(property_) == ""
    breaks(monkeypatch)
    assert found(property_)
