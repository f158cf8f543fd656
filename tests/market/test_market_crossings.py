"""The script that reports how often scores cross the thresholds counts what it says it counts."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from market_series import at, spec, walk, windows

from dtms_service.domain import regime, signals
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import Score
from dtms_service.domain.values import Side
from dtms_service.domain.view import MarketView
from dtms_service.market import view
from dtms_service.market.bars import aggregate

ROOT = Path(__file__).resolve().parents[2]
P = Parameters()
BARS = walk(23, 3 * 260, start=at("2024-01-08T00:00"))
"""Monday to Wednesday: 260 M15 bars, of which the first hundred have no ATR."""
THRESHOLDS = (-2, -4, -6, -8)


@pytest.fixture(scope="module")
def crossings() -> Iterator[ModuleType]:
    loading = importlib.util.spec_from_file_location("crossings_script", ROOT / "scripts" / "crossings.py")
    assert loading is not None
    assert loading.loader is not None
    module = importlib.util.module_from_spec(loading)
    sys.modules["crossings_script"] = module  # dataclasses look their module up
    loading.loader.exec_module(module)
    yield module
    del sys.modules["crossings_script"]


@pytest.fixture(scope="module")
def rows(crossings: ModuleType) -> dict[str, Any]:
    feed = crossings.Feed("walk", spec(), aggregate(BARS, 900), BARS)
    return {row.multipliers: row for row in crossings.figures(feed, P)}


def scores_of_the_service() -> list[Score]:
    """Of a BUY and of a SELL, as the service computes them at every closed M15 bar, where they may decide."""
    found = []
    for shown in range(3, len(BARS) + 1, 3):
        seen = view.build(spec(), *windows(BARS.rows(0, shown)), P)
        assert isinstance(seen, MarketView)
        found += [signals.score(seen, side, P) for side in Side]
    return [score for score in found if score.may_escalate]


def counted(scores: list[Score]) -> tuple[int, list[float]]:
    values = [score.value for score in scores if score.value is not None]
    return len(values) // 2, [sum(value <= least for value in values) / len(values) for least in THRESHOLDS]


def test_with_live_multipliers_the_scores_are_those_of_the_service(rows: dict[str, Any]) -> None:
    bars, shares = counted(scores_of_the_service())
    assert bars > 100
    assert shares[0] > 0.1
    assert rows["live"].bars == bars
    assert list(rows["live"].shares) == pytest.approx(shares)


def test_with_multipliers_of_1_the_scores_are_those_of_a_service_without_a_regime(
    rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("weight_multiplier", "threshold_multiplier"):
        monkeypatch.setattr(regime, name, lambda *_: 1.0)
    bars, shares = counted(scores_of_the_service())
    assert rows["all 1"].bars == bars
    assert list(rows["all 1"].shares) == pytest.approx(shares)
    assert rows["all 1"].shares != rows["live"].shares


def test_over_both_directions_the_mean_is_0(rows: dict[str, Any]) -> None:
    assert [row.mean for row in rows.values()] == [0.0, 0.0]
    assert all(row.mean_buy != 0 for row in rows.values())


def test_bars_without_every_reading_are_counted_apart(rows: dict[str, Any]) -> None:
    # EMA200 needs 650 bars and there are 260.
    assert [(row.complete_bars, row.complete_shares) for row in rows.values()] == [(0, None), (0, None)]


def test_the_evidence_names_commit_versions_and_parameters_and_no_place_on_this_machine(
    crossings: ModuleType, rows: dict[str, Any]
) -> None:
    text = crossings.evidence(list(rows.values()))
    said = json.loads(text)
    assert len(said["commit"]) == 40
    assert set(said["versions"]) == {"python", "dtms", "numpy", "TA-Lib"}
    assert said["parameters"]["l1_score"] == -2.0
    assert [row["market"] for row in said["rows"]] == ["walk", "walk"]
    assert str(ROOT) not in text


def test_a_generated_market_is_counted_from_its_first_moment_on_with_everything_warm(crossings: ModuleType) -> None:
    feed = crossings.generated("EURUSD", seed=1, weeks=1)
    assert feed.start == at("2025-01-06T08:00")
    assert (feed.m15.time < feed.start).sum() > 1000
    assert feed.m15.time[-1] == at("2025-01-10T21:45")
    assert len(feed.m5) == 3 * len(feed.m15)
