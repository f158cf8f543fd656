"""Bars as arrays: the one form in which prices travel from the terminal to the indicators. numpy only.

Reading bar files and building longer bars from shorter ones live here too, because both the simulated terminal and
replay need them.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TIMEFRAME_SECONDS = {"M1": 60, "M5": 300, "M15": 900, "M30": 1800, "H1": 3600, "H4": 14400, "D1": 86400}
"""Length of a bar by the name MetaTrader gives its timeframe."""

COLUMNS = ("time_utc", "open", "high", "low", "close", "tick_volume", "spread_points")
_EXPORT = ("<DATE>", "<TIME>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<TICKVOL>", "<VOL>", "<SPREAD>")
_NAME = re.compile(r"^(?P<symbol>.+?)_(?P<timeframe>M1|M5|M15|M30|H1|H4|D1)(?:_.*)?\.csv(?:\.gz)?$")


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars of one symbol and timeframe, oldest first, one row per bar.

    ``time`` int64 opening times in seconds UTC, strictly increasing; prices and ``tick_volume`` float64; ``spread``
    int64 in points. The newest row may be a bar that is still forming.
    """

    time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    tick_volume: NDArray[np.float64]
    spread: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)

    def rows(self, start: int, stop: int) -> Bars:
        """Rows ``start`` to ``stop`` (exclusive) as views, not copies."""
        cut = slice(start, stop)
        return Bars(
            self.time[cut],
            self.open[cut],
            self.high[cut],
            self.low[cut],
            self.close[cut],
            self.tick_volume[cut],
            self.spread[cut],
        )


@dataclass(frozen=True, slots=True, eq=False)
class BarFile:
    """What a bar file holds. Unknown volumes and spreads are 0 in ``bars`` and False in the masks."""

    symbol: str
    seconds: int
    digits: int
    """Most decimals of any price in the file (R38)."""
    bars: Bars
    volume_known: NDArray[np.bool_]
    spread_known: NDArray[np.bool_]


def join(parts: list[Bars]) -> Bars:
    """Bars of consecutive spans as one."""
    if len(parts) == 1:
        return parts[0]
    return Bars(
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.open for part in parts]),
        np.concatenate([part.high for part in parts]),
        np.concatenate([part.low for part in parts]),
        np.concatenate([part.close for part in parts]),
        np.concatenate([part.tick_volume for part in parts]),
        np.concatenate([part.spread for part in parts]),
    )


def aggregate(bars: Bars, seconds: int, offset: float = 0.0) -> Bars:
    """Longer bars of ``seconds`` from shorter ones.

    A span without bars has no bar; volumes add up; the spread is the last one.
    ``offset`` (seconds) is the wall clock on which bars begin: a D1 bar opens at the server's midnight, not at UTC's.
    """
    if not len(bars):
        return bars
    shift = int(offset)
    opening = (bars.time + shift) // seconds * seconds - shift
    first = np.flatnonzero(np.concatenate(([True], opening[1:] != opening[:-1])))
    last = np.concatenate((first[1:], [len(bars)])) - 1
    return Bars(
        opening[first],
        bars.open[first],
        np.maximum.reduceat(bars.high, first),
        np.minimum.reduceat(bars.low, first),
        bars.close[last],
        np.add.reduceat(bars.tick_volume, first),
        bars.spread[last],
    )


def name_parts(path: Path) -> tuple[str, int]:
    """Symbol and bar length of a file named ``SYMBOL_TF_anything.csv[.gz]``; ``ValueError`` for any other name."""
    match = _NAME.match(path.name)
    if match is None:
        message = f"{path}: a bar file is named SYMBOL_TF_anything.csv or .csv.gz, for example EURUSD_M1_2024.csv"
        raise ValueError(message)
    return match["symbol"], TIMEFRAME_SECONDS[match["timeframe"]]


def read_bar_file(path: Path, export_offset: float = 0.0) -> BarFile:
    """Read a bar file: CSV or CSV.gz with the columns of ``COLUMNS``, or MetaTrader 5's own tab-separated export.

    An export carries the server's wall clock; ``export_offset`` (seconds ahead of UTC) is taken off its times.
    Raises ``ValueError`` with one sentence that names the file and, where there is one, the line.
    """
    symbol, seconds = name_parts(path)
    lines = _lines(path)
    columns, shift = _columns(path, lines, export_offset)
    times = _times(path, columns[0]) - int(shift)
    opening, high, low, close = (_numbers(path, columns[n], COLUMNS[n]) for n in range(1, 5))
    volume, volume_known = _optional(path, columns[5], "tick_volume")
    spread, spread_known = _optional(path, columns[6], "spread_points")
    bars = Bars(times, opening, high, low, close, volume, spread.astype(np.int64))
    _check(path, bars, seconds)
    return BarFile(symbol, seconds, _decimals(columns[1:5]), bars, volume_known, spread_known)


def _lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
        # MetaTrader writes some exports as UTF-16 with a byte-order mark.
        text = raw.decode("utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig")
    except (OSError, EOFError, ValueError) as error:
        message = f"{path}: cannot be read as a bar file ({error})"
        raise ValueError(message) from error
    return text.split("\n")


def _columns(path: Path, lines: list[str], export_offset: float) -> tuple[list[tuple[str, ...]], float]:
    """The seven columns of ``COLUMNS`` as text, and the seconds to take off the times."""
    header = lines[0].rstrip("\r").strip()
    export = header.startswith("<DATE>")
    separator = "\t" if export else ","
    names = tuple(header.split(separator))
    if names not in ({_EXPORT, _EXPORT[:7]} if export else {COLUMNS}):
        message = f"{path}, line 1: the header must be {','.join(COLUMNS)} or MetaTrader's own export header"
        raise ValueError(message)
    rows = [line.rstrip("\r").split(separator) for line in lines[1:]]
    while rows and rows[-1] == [""]:
        rows.pop()
    if not rows:
        message = f"{path}: there are no bars in it"
        raise ValueError(message)
    width = len(names)
    for number, row in enumerate(rows, 2):
        if len(row) != width:
            message = f"{path}, line {number}: {len(row)} fields where the header has {width}"
            raise ValueError(message)
    columns = list(zip(*rows, strict=True))
    if not export:
        return columns, 0.0
    time = tuple(f"{day.replace('.', '-')}T{clock}" for day, clock in zip(columns[0], columns[1], strict=True))
    spread = columns[8] if width == len(_EXPORT) else ("",) * len(rows)
    return [time, *columns[2:7], spread], export_offset


def _times(path: Path, column: tuple[str, ...]) -> NDArray[np.int64]:
    """Seconds since the epoch; a trailing Z or +00:00 is cut off because numpy knows no zones."""
    texts = [text[:19] if text[19:] in {"", "Z", "+00:00"} else text.removesuffix("Z") for text in column]
    try:
        times = np.array(texts, dtype="datetime64[s]")
    except ValueError:
        number = next(n for n, text in enumerate(texts, 2) if not _is_time(text))
        message = f"{path}, line {number}: {column[number - 2]!r} is not a UTC time such as 2024-05-01T00:00:00Z"
        raise ValueError(message) from None
    if np.isnat(times).any():
        number = int(np.flatnonzero(np.isnat(times))[0]) + 2
        message = f"{path}, line {number}: the time is missing"
        raise ValueError(message)
    return times.astype(np.int64)


def _is_time(text: str) -> bool:
    try:
        np.datetime64(text, "s")
    except ValueError:
        return False
    return True


def _numbers(path: Path, column: tuple[str, ...], name: str) -> NDArray[np.float64]:
    try:
        return np.array(column).astype(np.float64)
    except ValueError:
        number = next(n for n, text in enumerate(column, 2) if not _is_number(text))
        message = f"{path}, line {number}: {name} {column[number - 2]!r} is not a number"
        raise ValueError(message) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _optional(path: Path, column: tuple[str, ...], name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    texts = np.array(column)
    known = texts != ""
    values = np.zeros(len(texts))
    if known.any():
        values = _numbers(path, tuple(np.where(known, texts, "0").tolist()), name)
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        number = int(np.flatnonzero(bad)[0]) + 2
        message = f"{path}, line {number}: {name} {column[number - 2]!r} must be a number from 0 up, or empty"
        raise ValueError(message)
    return values, known


def _check(path: Path, bars: Bars, seconds: int) -> None:
    """Refuse what no market ever printed; the sentence names the first line that is wrong."""
    prices = np.stack([bars.open, bars.high, bars.low, bars.close])
    top, bottom = np.maximum(bars.open, bars.close), np.minimum(bars.open, bars.close)
    later = np.concatenate(([True], bars.time[1:] > bars.time[:-1]))
    for bad, what in (
        (~np.isfinite(prices).all(axis=0), "a price is not finite"),
        ((prices <= 0).any(axis=0), "a price is not above 0"),
        ((bars.high < top) | (bars.low > bottom), "high and low do not enclose open and close"),
        (~later, "the time is not later than in the row before"),
        (bars.time % seconds != 0, f"the time is not a multiple of {seconds} s, the length of the bars"),
    ):
        if bad.any():
            message = f"{path}, line {int(np.flatnonzero(bad)[0]) + 2}: {what}"
            raise ValueError(message)


def _decimals(columns: list[tuple[str, ...]]) -> int:
    return max(len(text.partition(".")[2]) for column in columns for text in column)
