"""Damage to the ledger's files and errors of its disk: everything is seen, nothing acknowledged is lost."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from damage import (
    BAD,
    Sample,
    Verdict,
    bit_flips,
    flips_in_alerts,
    foreign_rows,
    io_errors,
    log_ends,
    log_flips,
    read_errors,
    short_files,
    truncations,
)

FLIPS, ALERT_FLIPS, LOG_FLIPS, CUTS, ROWS = 1_000, 200, 200, 200, 180
DRIVER_ERRORS, READ_ERRORS, SYSTEM_ERRORS = 200, 100, 50


def prove() -> str:
    """All of it; the figures. Raises ``AssertionError`` at the first damage that nobody sees."""
    logging.disable()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return "; ".join(_all(Path(folder)))
    finally:
        logging.disable(logging.NOTSET)


def _all(folder: Path) -> Iterator[str]:
    sample, work, chances = Sample.make(folder / "sample"), folder / "work", Random(1)  # noqa: S311 -- a seed, no secret
    for name, number, damage in (
        ("bit flips in pages of trades and intents", FLIPS, bit_flips),
        ("bit flips in pages of alerts", ALERT_FLIPS, flips_in_alerts),
        ("bit flips in the log of a kill", LOG_FLIPS, log_flips),
        ("truncations of database and log", CUTS, truncations),
        ("rows taken out, renumbered or changed by another program", ROWS, foreign_rows),
    ):
        yield _seen(f"{number} {name}", Counter(damage(sample, work, chances, number)))
    ends = Counter(log_ends(sample, work))
    yield _seen(f"{ends.total()} logs of a kill that end at an earlier commit, one for each", ends)
    errors: tuple[tuple[str, int, Callable[[Path, Random, int], Iterator[str]]], ...] = (
        ("errors at calls of the database driver", DRIVER_ERRORS, io_errors),
        ("errors while a ledger is read", READ_ERRORS, read_errors),
        ("files that may not grow (RLIMIT_FSIZE)", SYSTEM_ERRORS, short_files),
    )
    for name, number, trouble in errors:
        met = Counter(trouble(work, chances, number))
        yield f"{number} {name}: 0 lost, 0 by half ({_told(met)})"


def _seen(name: str, verdicts: Counter[Verdict]) -> str:
    line = f"{name}: {sum(verdicts[bad] for bad in BAD)} unseen ({_told(verdicts)})"
    if any(verdicts[bad] for bad in BAD):
        raise AssertionError(line)
    return line


def _told(counted: Counter[Verdict] | Counter[str]) -> str:
    return ", ".join(f"{number} {word}" for word, number in counted.most_common())
