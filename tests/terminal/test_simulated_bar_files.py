from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from market_data import market_file
from simulated_kit import HEADER, START, flat, iso, write_bars

from dtms_service.market.bars import Bars, aggregate, read_bar_file


def test_a_bar_file_is_read_column_by_column(tmp_path: Path) -> None:
    path = tmp_path / "EURUSD_M1_x.csv"
    path.write_text(f"{HEADER}\n{iso(START)},1.1,1.12,1.09,1.105,17,8\n{iso(START + 60)},1.105,1.105,1.1,1.1005,,\n")
    file = read_bar_file(path)
    assert (file.symbol, file.seconds, file.digits) == ("EURUSD", 60, 4)
    assert file.bars.time.tolist() == [START, START + 60]
    assert file.bars.high.tolist() == [1.12, 1.105]
    assert file.bars.low.tolist() == [1.09, 1.1]
    assert file.bars.close.tolist() == [1.105, 1.1005]
    assert file.bars.tick_volume.tolist() == [17.0, 0.0]
    assert file.volume_known.tolist() == [True, False]
    assert file.spread_known.tolist() == [True, False]


def test_a_gzipped_file_is_the_same_as_a_plain_one(tmp_path: Path) -> None:
    plain = write_bars(tmp_path, flat(1.1, 5))
    packed = tmp_path / "EURUSD_M1_other.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_bar_file(packed).bars.time.tolist() == read_bar_file(plain).bars.time.tolist()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_metatraders_own_export_is_read_and_its_wall_clock_taken_off(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "GBPUSD_M5_202403050800_202403050805.csv"
    head = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"
    text = f"{head}\r\n2024.03.05\t10:00:00\t1.26800\t1.26900\t1.26700\t1.26850\t210\t0\t12\r\n"
    path.write_bytes(text.encode(encoding))
    file = read_bar_file(path, export_offset=7200.0)
    assert (file.symbol, file.seconds, file.digits) == ("GBPUSD", 300, 5)
    assert file.bars.time.tolist() == [START]
    assert (file.bars.tick_volume[0], file.bars.spread[0]) == (210.0, 12)


GOOD = f"{iso(START)},1.1,1.1,1.1,1.1,1,1"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("time,open\n", "line 1: the header must be"),
        (f"{HEADER}\n", "there are no bars"),
        (f"{HEADER}\n{GOOD}\n{iso(START + 60)},1.1,1.1\n", "line 3: 3 fields where the header has 7"),
        (f"{HEADER}\n{GOOD}\n{iso(START + 60)},1.1,nan,1.1,1.1,1,1\n", "line 3: a price is not finite"),
        (f"{HEADER}\n{GOOD}\n{iso(START + 60)},1.1,x,1.1,1.1,1,1\n", "line 3: high 'x' is not a number"),
        (f"{HEADER}\n{GOOD}\n{iso(START + 60)},1.1,,1.1,1.1,1,1\n", "line 3: high '' is not a number"),
        (f"{HEADER}\n{GOOD}\n{iso(START + 60)},1.1,1.1,1.1,1.1,-1,1\n", "line 3: tick_volume '-1' must be"),
        (f"{HEADER}\n{GOOD}\n{iso(START + 60)},1.1,1.0,1.1,1.1,1,1\n", "line 3: high and low do not enclose"),
        (f"{HEADER}\n{GOOD}\n{iso(START + 60)},0,1.0,0,1.0,1,1\n", "line 3: a price is not above 0"),
        (f"{HEADER}\n{GOOD}\n{GOOD}\n", "line 3: the time is not later"),
        (f"{HEADER}\n{GOOD}\n{iso(START + 61)},1.1,1.1,1.1,1.1,1,1\n", "line 3: the time is not a multiple of 60 s"),
        (f"{HEADER}\n{GOOD}\nyesterday,1.1,1.1,1.1,1.1,1,1\n", "line 3: 'yesterday' is not a UTC time"),
        (f"{HEADER}\n{GOOD}\n,1.1,1.1,1.1,1.1,1,1\n", "line 3: the time is missing"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_line(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "EURUSD_M1_bad.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"EURUSD_M1_bad\.csv") as refused:
        read_bar_file(path)
    assert sentence in str(refused.value)


def test_a_file_that_is_no_text_or_has_no_proper_name_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "EURUSD_M1_x.csv.gz"
    packed.write_bytes(b"not gzip")
    with pytest.raises(ValueError, match="cannot be read"):
        read_bar_file(packed)
    with pytest.raises(ValueError, match="SYMBOL_TF_anything"):
        read_bar_file(tmp_path / "bars.csv")


def test_longer_bars_take_first_open_last_close_extremes_and_sums() -> None:
    time = np.array([0, 60, 240, 300, 660], dtype=np.int64)
    price = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    bars = Bars(time, price, price + 0.5, price - 0.5, price + 0.1, price * 10, np.array([1, 2, 3, 4, 5]))
    longer = aggregate(bars, 300)
    assert longer.time.tolist() == [0, 300, 600]
    assert longer.open.tolist() == [1.0, 4.0, 5.0]
    assert longer.high.tolist() == [3.5, 4.5, 5.5]
    assert longer.low.tolist() == [0.5, 3.5, 4.5]
    assert longer.close.tolist() == [3.1, 4.1, 5.1]
    assert longer.tick_volume.tolist() == [60.0, 40.0, 50.0]
    assert longer.spread.tolist() == [3, 4, 5]


def as_bars(rows: list[list[float]]) -> Bars:
    columns = np.array(rows)
    zero = np.zeros(len(rows), dtype=np.int64)
    return Bars(columns[:, 0].astype(np.int64) // 1000, *columns[:, 1:5].T, columns[:, 5], zero)


CASES = [("m1_to_m30", 1800), ("m1_to_h1", 3600), ("m1_to_d1", 86400), ("h1_to_d1", 86400)]


@pytest.mark.market_data
@pytest.mark.parametrize(("case", "seconds"), CASES)
def test_longer_bars_equal_those_of_another_program(case: str, seconds: int) -> None:
    expected: dict[str, Any] = json.loads((market_file("answers/bar_aggregation") / "expected_cases.json").read_text())[
        case
    ]
    rows = json.loads((market_file("answers/bar_aggregation") / f"{expected['input']}.json").read_text())
    # That program's ``ignoreFlats`` leaves out bars without volume: its source fills a closed market with them.
    longer = aggregate(as_bars([row for row in rows if row and row[5] > 0]), seconds)
    wanted = as_bars([row for row in expected["expected"] if row])
    assert longer.time.tolist() == wanted.time.tolist()
    for name in ("open", "high", "low", "close"):
        assert getattr(longer, name).tolist() == getattr(wanted, name).tolist()
    assert np.round(longer.tick_volume, 4).tolist() == wanted.tick_volume.tolist()


@pytest.mark.market_data
@pytest.mark.parametrize(("minutes", "seconds"), [(5, 300), (15, 900)])
def test_longer_bars_of_two_days_of_bitcoin_equal_those_of_another_program(minutes: int, seconds: int) -> None:
    def load(name: str) -> Bars:
        rows = json.loads(
            gzip.decompress(
                (
                    market_file("answers/bar_aggregation") / "cli" / f"btcusd-{name}-bid-2023-02-19-2023-02-20.json.gz"
                ).read_bytes()
            )
        )
        return as_bars([[row[key] for key in ("timestamp", "open", "high", "low", "close")] + [0.0] for row in rows])

    longer, wanted = aggregate(load("m1"), seconds), load(f"m{minutes}")
    for name in ("time", "open", "high", "low", "close"):
        assert getattr(longer, name).tolist() == getattr(wanted, name).tolist()
