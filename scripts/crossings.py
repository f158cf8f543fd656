#!/usr/bin/env python3
"""How often does the score cross each threshold, for a trade of random direction? Reported, never tuned to (R12).

At every closed M15 bar of each market the score is computed for a BUY and for a SELL, once with every multiplier of the
regime taken as 1 (``engine.md`` B5 measured so: .23 to .26 at or below -2, .09 to .11 at -4, .033 to .040 at -6, mean
0) and once as it is live. Counted are bars on which the score may decide, which is a coverage of 0.6.

Markets: every bar file of ``DTMS_MARKET_DATA`` (else of ``../shared/data`` beside the checkout), and a year of the
simulator's own market. Runs inside the environment: ``.venv/bin/python scripts/crossings.py``; about two minutes.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import market_data

from dtms_service.domain import signals
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import Score
from dtms_service.domain.values import Execution, Side, SymbolSpec, Timeframe, TradeMode
from dtms_service.domain.view import Missing
from dtms_service.market import indicators, view
from dtms_service.market.bars import Bars, aggregate, join, name_parts, read_bar_file
from dtms_service.market.window import DEPTH, Window
from dtms_service.terminal.simulated.market import open_market
from dtms_service.terminal.simulated.series import Series
from dtms_service.terminal.simulated.synthetic import DEFAULT_START

ROOT = Path(__file__).resolve().parent.parent
SCORES = (-2.0, -4.0, -6.0, -8.0)
WEEKS = 52
WARM_UP_WEEKS = 3
"""Weeks before the year; 1000 M15 bars are two and some."""
MADE_OF = ("scripts/crossings.py", "src/dtms_service/domain", "src/dtms_service/market")
"""Where a change not committed yet would make the named commit the wrong one."""
NO_M5 = Missing("the file has no M5 bars")


@dataclass(frozen=True, slots=True)
class Feed:
    """Closed bars of one market; ``m5`` is empty where the source has only M15. Counted from ``start`` on."""

    name: str
    spec: SymbolSpec
    m15: Bars
    m5: Bars
    start: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares of both directions at or below each of `SCORES`, and the mean score of a BUY and of both."""

    market: str
    multipliers: str
    bars: int
    """M15 bars on which the score may decide."""
    shares: tuple[float, ...]
    complete_bars: int
    """Bars on which every configured reading is present: no warm-up, hole or young session."""
    complete_shares: tuple[float, ...] | None
    """The same shares of those bars alone; None where there are none."""
    mean_buy: float
    mean: float


def figures(feed: Feed, parameters: Parameters) -> list[Figures]:
    """Both rows of a market; none where no score may decide."""
    scored = list(_scores(feed, parameters))
    rows = []
    for column, multipliers in ((0, "all 1"), (1, "live")):
        buys = [pair[column] for pair in scored if pair[column].may_escalate]
        if not buys:
            continue
        complete = [score for score in buys if all(c.available or not c.configured for c in score.components)]
        values = _values(buys)
        rows.append(
            Figures(
                market=feed.name,
                multipliers=multipliers,
                bars=len(buys),
                shares=_shares(values),
                complete_bars=len(complete),
                complete_shares=_shares(_values(complete)) if complete else None,
                mean_buy=float(values.mean()),
                # Adding 0.0 turns a negative zero into zero, which people read better.
                mean=round(float(np.concatenate((values, -values)).mean()), 12) + 0.0,
            )
        )
    return rows


def _values(scores: list[Score]) -> indicators.Series:
    return np.array([score.value for score in scores], dtype=np.float64)


def _shares(values: indicators.Series) -> tuple[float, ...]:
    """Of trades of random direction: a SELL has the opposite score."""
    both = np.concatenate((values, -values))
    return tuple(float(np.mean(both <= threshold)) for threshold in SCORES)


def _scores(feed: Feed, parameters: Parameters) -> Iterator[tuple[Score, Score]]:
    """The score of a BUY with all multipliers 1, and live, at every closed M15 bar that has one."""
    deep, fine = DEPTH[Timeframe.M15], DEPTH[Timeframe.M5]
    ends = np.searchsorted(feed.m5.time, feed.m15.time + Timeframe.M15.seconds - Timeframe.M5.seconds, side="right")
    first = int(np.searchsorted(feed.m15.time, feed.start))
    for row in range(max(first, indicators.ATR_BARS - 1), len(feed.m15)):
        m15 = Window(Timeframe.M15, feed.m15.rows(max(0, row + 1 - deep), row + 1))
        end = int(ends[row])
        m5 = Window(Timeframe.M5, feed.m5.rows(max(0, end - fine), end))
        slow = view.read_m15(feed.spec.name, m15, parameters)
        if isinstance(slow, Missing):
            continue
        plain = replace(slow, theta=_plain_theta(m15.bars, len(slow.theta), parameters))
        live, one = (_score(feed, readings, m5, parameters) for readings in (slow, plain))
        yield _unmultiplied(one), live


def _score(feed: Feed, slow: view.M15Readings, m5: Window, parameters: Parameters) -> Score:
    fast = view.read_m5(feed.spec, m5, slow, parameters)
    if isinstance(fast, Missing):
        end = slow.time + Timeframe.M15.seconds
        fast = view.M5Readings(end - Timeframe.M5.seconds, 0.0, (end,), None, vwap=NO_M5, candle=NO_M5)
    return signals.score(view.combined(feed.spec.name, slow, fast), Side.BUY, parameters)


def _plain_theta(bars: Bars, count: int, parameters: Parameters) -> indicators.Series:
    """The VWAP threshold of the newest ``count`` bars without a multiplier."""
    atr = indicators.atr(bars.high, bars.low, bars.close)
    atr[: indicators.ATR_BARS - 1] = np.nan
    theta: indicators.Series = parameters.vwap_theta_atr * atr[-count:]
    return theta


def _unmultiplied(score: Score) -> Score:
    if score.value is None:
        return score
    return replace(score, value=sum(c.points / c.multiplier for c in score.components))


def recorded(path: Path) -> Feed:
    """A bar file as the simulated terminal shows it: an empty volume is the number of its ticks (R11)."""
    symbol, seconds = name_parts(path)
    if seconds == Timeframe.M15.seconds:
        file = read_bar_file(path)
        return Feed(path.name, _spec(symbol, file.digits), file.bars, file.bars.rows(0, 0))
    series = open_market(str(path), 1, 0.0).series[symbol]
    return _feed(path.name, series, range((series.source.last or 0) + 1))


def generated(symbol: str, seed: int, weeks: int = WEEKS) -> Feed:
    """A market of the simulator from its first moment on, after a warm-up."""
    series = open_market("synthetic", seed, 0.0).series[symbol]
    first = series.source.index(DEFAULT_START)
    name = f"generated {symbol}, seed {seed}, {weeks} weeks from 2025-01-06"
    return replace(_feed(name, series, range(first - WARM_UP_WEEKS, first + weeks)), start=DEFAULT_START)


def _feed(name: str, series: Series, blocks: range) -> Feed:
    base = join([series.source.bars(block) for block in blocks])
    spec = _spec(series.facts.name, series.facts.digits)
    return Feed(name, spec, aggregate(base, Timeframe.M15.seconds), aggregate(base, Timeframe.M5.seconds))


def _spec(symbol: str, digits: int) -> SymbolSpec:
    point = 10.0**-digits
    return SymbolSpec(symbol, digits, point, point, 1.0, 1e5, 0.01, 100, 0.01, 0, 0, TradeMode.FULL, Execution.MARKET)


def table(rows: list[Figures]) -> str:
    """For people: all bars on which the score may decide, then those with every reading."""
    wide = max(len(row.market) for row in rows)
    heads = "".join(f"  S<={threshold:g}" for threshold in SCORES)
    lines = [f"{'market':{wide}}  multipliers   bars{heads}  mean BUY   mean  | complete{heads}"]
    for row in rows:
        complete = _columns(row.complete_shares or ())
        lines.append(
            f"{row.market:{wide}}  {row.multipliers:11}  {row.bars:5}{_columns(row.shares)}"
            f"  {row.mean_buy:+8.3f}  {row.mean:+5.2f}  | {row.complete_bars:8}{complete}"
        )
    return "\n".join(lines)


def _columns(shares: tuple[float, ...]) -> str:
    return "".join(f"  {share:5.3f}" for share in shares)


def evidence(rows: list[Figures]) -> str:
    """The same with what it was made of, as JSON; no path of this machine."""
    facts = {
        "what": "share of closed M15 bars, both directions, with the score at or below each threshold",
        "made_by": "scripts/crossings.py",
        "commit": _git("rev-parse", "HEAD"),
        "changed_since": [line[3:] for line in _git("status", "--porcelain", "--", *MADE_OF).splitlines()],
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("dtms", "numpy", "TA-Lib")},
        },
        "scores": SCORES,
        "parameters": asdict(Parameters()),
        "rows": [asdict(row) for row in rows],
    }
    return json.dumps(facts, indent=1) + "\n"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.rstrip()


def main() -> int:
    """Print the table; 0, or 1 without any market."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    options.add_argument("--generated", action="store_true", help="only the generated year")
    told = options.parse_args()
    folder = None if told.generated else market_data.folder()
    paths = sorted((folder / "bars").glob("*.csv.gz")) if folder is not None else []
    if not paths and not told.generated:
        print("no real bars: neither DTMS_MARKET_DATA nor shared data beside the checkout", file=sys.stderr)
    rows = [row for path in paths for row in figures(recorded(path), Parameters())]
    rows += [row for symbol in ("EURUSD", "XAUUSD") for row in figures(generated(symbol, seed=1), Parameters())]
    print(table(rows))
    if told.out is not None:
        told.out.parent.mkdir(parents=True, exist_ok=True)
        told.out.write_text(evidence(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
