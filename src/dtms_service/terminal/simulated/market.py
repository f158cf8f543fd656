"""The market the simulated broker trades on: its symbols, their prices, and the instant it starts at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtms_service.market.bars import BarFile, Bars, join, name_parts, read_bar_file
from dtms_service.terminal.simulated.catalogue import contract
from dtms_service.terminal.simulated.series import TICK_SECONDS, Series
from dtms_service.terminal.simulated.synthetic import DEFAULT_START, STYLES, SyntheticSource
from dtms_service.terminal.simulated.terms import tuned

SYNTHETIC = "synthetic"
_BASE_SECONDS = (60, 300)
_ROWS_PER_BLOCK = 7200
_START_SHARE = 0.3
"""A new account begins at the bar after this share of the rows (R38)."""


class Market:
    """Symbols and their series. An account belongs to the market it was made on; ``name`` tells it from others."""

    def __init__(self, name: str, series: Mapping[str, Series], start: float, ends: tuple[float, float]) -> None:
        """``start`` is where a new account begins unless told otherwise, ``ends`` the time it has prices for."""
        self.name = name
        self.series = series
        self.start = start
        self.ends = ends

    def of(self, symbol: str) -> Series:
        """The series of ``symbol``; ``ValueError`` names the known ones."""
        found = self.series.get(symbol)
        if found is None:
            message = f"unknown symbol {symbol!r}; this market has {', '.join(self.series)}"
            raise ValueError(message)
        return found


class FileSource:
    """Recorded bars in blocks of some thousand rows. Satisfies ``series.Source``."""

    first: int | None = 0

    def __init__(self, bars: Bars, seconds: int) -> None:
        self.seconds = seconds
        self.last: int | None = (len(bars) - 1) // _ROWS_PER_BLOCK
        self._bars = bars
        self._starts = bars.time[::_ROWS_PER_BLOCK]

    def index(self, time: float) -> int:
        """Block of the newest bar at ``time``; the first block for any earlier time."""
        return max(0, int(np.searchsorted(self._starts, time, side="right")) - 1)

    def bars(self, index: int) -> Bars:
        """Rows of a block."""
        return self._bars.rows(index * _ROWS_PER_BLOCK, (index + 1) * _ROWS_PER_BLOCK)


def open_market(
    kind: str, seed: int, export_offset: float, told: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> Market:
    """The synthetic market, or recorded bars from a file or a folder of files; ``told`` changes contracts by name.

    Raises ``ValueError`` with one sentence about what is wrong, naming file and line.
    """
    if kind == SYNTHETIC:
        facts = [tuned(contract(symbol), told.get(symbol, {})) for symbol in _known(STYLES, told)]
        series = {each.name: Series(each, SyntheticSource(seed, each)) for each in facts}
        return Market(f"{SYNTHETIC} seed {seed}", series, float(DEFAULT_START), (0.0, math.inf))
    path = Path(kind)
    if not path.exists():
        message = f"{path}: there is no such bar file or folder"
        raise ValueError(message)
    found = sorted((*path.glob("*.csv"), *path.glob("*.csv.gz"))) if path.is_dir() else [path]
    if not found:
        message = f"{path}: the folder holds no .csv or .csv.gz file"
        raise ValueError(message)
    series = {}
    finest = _finest(found)
    for symbol in _known(finest, told):
        paths = finest[symbol]
        files = [read_bar_file(each, export_offset) for each in paths]
        series[symbol] = _recorded(symbol, files, paths, told.get(symbol, {}))
    times = _times(series)
    start = float(times[int(len(times) * _START_SHARE)])
    return Market(_name(series), series, start, (float(times[0]), float(times[-1]) + _BASE_SECONDS[-1]))


def _finest(paths: list[Path]) -> dict[str, list[Path]]:
    """Files of each symbol's shortest timeframe; longer bars are made from them, not read."""
    by_symbol: dict[str, dict[int, list[Path]]] = {}
    for path in paths:
        symbol, seconds = name_parts(path)
        by_symbol.setdefault(symbol, {}).setdefault(seconds, []).append(path)
    chosen: dict[str, list[Path]] = {}
    for symbol, lengths in by_symbol.items():
        shortest = min(lengths)
        if shortest not in _BASE_SECONDS:
            message = f"{lengths[shortest][0]}: the simulated market needs M1 or M5 bars of {symbol}"
            raise ValueError(message)
        chosen[symbol] = lengths[shortest]
    return chosen


def _known(symbols: Iterable[str], told: Mapping[str, Any]) -> list[str]:
    """The symbols, when every one that something is told about is among them."""
    names = list(symbols)
    for name in told:
        if name not in names:
            message = f"simulator.symbols: unknown symbol {name!r}; this market has {', '.join(names)}"
            raise ValueError(message)
    return names


def _recorded(symbol: str, files: list[BarFile], paths: list[Path], told: Mapping[str, Any]) -> Series:
    facts = tuned(contract(symbol, max(file.digits for file in files)), told)
    order = sorted(range(len(files)), key=lambda n: int(files[n].bars.time[0]))
    for before, after in pairwise(order):
        if files[before].bars.time[-1] >= files[after].bars.time[0]:
            message = f"{paths[after]}: its bars overlap those of {paths[before].name}"
            raise ValueError(message)
    seconds = files[0].seconds
    parts = [_filled(files[n], facts.spread, seconds // TICK_SECONDS) for n in order]
    return Series(facts, FileSource(join(parts), seconds))


def _filled(file: BarFile, spread: int, ticks: int) -> Bars:
    """An empty volume is the number of ticks made of the bar, an empty spread the catalogue's (R11)."""
    return replace(
        file.bars,
        tick_volume=np.where(file.volume_known, file.bars.tick_volume, float(ticks)),
        spread=np.where(file.spread_known, file.bars.spread, spread).astype(np.int64),
    )


def _name(series: Mapping[str, Series]) -> str:
    """Symbols with their first and last bar: the same data under another path is the same market."""
    spans = []
    for symbol, each in series.items():
        last = each.source.last or 0
        spans.append(f"{symbol} {each.source.bars(0).time[0]}-{each.source.bars(last).time[-1]}")
    return "bars " + ", ".join(spans)


def _times(series: Mapping[str, Series]) -> NDArray[np.int64]:
    """Opening times of all bars of all symbols, in order."""
    times = [each.source.bars(n).time for each in series.values() for n in range((each.source.last or 0) + 1)]
    return np.sort(np.concatenate(times))
