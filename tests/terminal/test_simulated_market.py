from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_data import bar_file
from simulated_kit import START, Ohlc, flat, iso, later, opened, write_bars

from dtms_service.market.bars import aggregate, join
from dtms_service.terminal.simulated.market import Market, open_market
from dtms_service.terminal.simulated.synthetic import DEFAULT_START

DAY = 86_400
SYMBOLS = ["EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "BTCUSD"]


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@cache
def shared_market() -> Market:
    return open_market("synthetic", 7, 0.0)


# --- the synthetic market ---


def test_the_default_start_is_a_monday_morning_and_every_symbol_has_a_quote_then() -> None:
    assert iso(DEFAULT_START) == "2025-01-06T08:00:00Z"
    market = shared_market()
    assert set(SYMBOLS) <= set(market.series)
    for symbol in SYMBOLS:
        quote = market.of(symbol).quote(market.start)
        assert quote is not None
        assert 0 < quote.bid < quote.ask
        assert market.of(symbol).is_open(market.start)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(SYMBOLS), st.lists(st.integers(-520 * 7 * DAY, 2600 * 7 * DAY), min_size=2, max_size=3))
def test_a_price_depends_on_seed_symbol_and_instant_only(symbol: str, offsets: list[int]) -> None:
    forward, backward = open_market("synthetic", 7, 0.0).of(symbol), open_market("synthetic", 7, 0.0).of(symbol)
    instants = [DEFAULT_START + offset for offset in offsets]
    seen = {instant: forward.quote(instant) for instant in instants}
    assert {instant: backward.quote(instant) for instant in reversed(instants)} == seen


def test_another_seed_is_another_market() -> None:
    first, second = (open_market("synthetic", seed, 0.0).of("EURUSD").quote(DEFAULT_START + DAY) for seed in (1, 2))
    assert first != second


@pytest.mark.parametrize(
    ("instant", "currencies", "crypto"),
    [
        ("2025-01-10T21:59:59", True, True),
        ("2025-01-10T22:00:00", False, True),
        ("2025-01-11T12:00:00", False, True),
        ("2025-01-12T21:59:59", False, True),
        ("2025-01-12T22:00:00", True, True),
    ],
)
def test_currencies_close_from_friday_to_sunday_evening_and_crypto_never(
    instant: str, currencies: bool, crypto: bool
) -> None:
    market = shared_market()
    assert market.of("EURUSD").is_open(utc(instant)) is currencies
    assert market.of("XAUUSD").is_open(utc(instant)) is currencies
    assert market.of("BTCUSD").is_open(utc(instant)) is crypto


def test_the_quote_stands_still_over_the_weekend() -> None:
    series = shared_market().of("EURUSD")
    last = series.quote(utc("2025-01-10T21:59:59"))
    assert series.quote(utc("2025-01-12T21:59:59")) == last


def test_spreads_widen_around_the_rollover() -> None:
    series = shared_market().of("EURUSD")
    usual = np.median(series.bars(60, utc("2025-01-08T21:50:00"), 2 * 1440).spread)
    rollover = np.median(series.bars(60, utc("2025-01-08T22:20:00"), 20).spread)
    assert rollover > 3 * usual


def test_calm_and_violent_times_follow_each_other_within_days() -> None:
    series = shared_market().of("EURUSD")
    bars = series.bars(14_400, utc("2025-01-17T21:00:00"), 60)
    ranges = np.sort(bars.high - bars.low)
    assert ranges[-3:].mean() > 5 * ranges[:3].mean()


def test_prices_neither_explode_nor_vanish_in_forty_years() -> None:
    market = shared_market()
    for symbol in ("EURUSD", "BTCUSD"):
        series = market.of(symbol)
        base = series.quote(DEFAULT_START)
        assert base is not None
        for year in (-20, -10, 10, 20):
            quote = series.quote(DEFAULT_START + year * 365 * DAY)
            assert quote is not None
            assert base.bid / 6 < quote.bid < base.bid * 6


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SYMBOLS), st.integers(0, 14 * DAY), st.sampled_from([300, 900, 3600, 14_400, DAY]))
def test_longer_bars_are_made_of_the_minutes_and_nothing_later(symbol: str, after: int, seconds: int) -> None:
    series = shared_market().of(symbol)
    now = DEFAULT_START + after
    minutes = series.bars(60, now, 6 * DAY // 60)
    expected = aggregate(minutes, seconds, 7200.0)
    bars = series.bars(seconds, now, 4, 7200.0)
    wanted = expected.rows(len(expected) - 4, len(expected))
    for name in ("time", "open", "high", "low", "close", "tick_volume", "spread"):
        assert getattr(bars, name).tolist() == getattr(wanted, name).tolist()
    quote = series.quote(now)
    assert quote is not None
    assert bars.close[-1] == quote.bid
    assert bars.time[-1] <= now


def test_a_closed_bar_stays_as_it_was() -> None:
    series = shared_market().of("XAUUSD")
    before = series.bars(900, DEFAULT_START, 500)
    after = series.bars(900, DEFAULT_START + DAY, 500 + 96)
    assert after.time[:499].tolist() == before.time[:-1].tolist()
    assert after.close[:499].tolist() == before.close[:-1].tolist()


def test_day_bars_begin_at_the_servers_midnight() -> None:
    series = shared_market().of("EURUSD")
    assert {(time + 7200) % DAY for time in series.bars(DAY, DEFAULT_START, 10, 7200.0).time.tolist()} == {0}


# --- recorded bars ---


def test_a_bar_is_played_as_open_extremes_and_close_at_fixed_points(tmp_path: Path) -> None:
    bars: list[Ohlc] = [(1.1, 1.102, 1.099, 1.101), (1.101, 1.103, 1.1, 1.1005)]
    series = open_market(str(write_bars(tmp_path, bars)), 0, 0.0).of("EURUSD")
    ticks = series.ticks(START - 1, START + 120)
    assert [tick.time - START for tick in ticks] == [0, 15, 30, 45, 60, 75, 90, 105]
    rising, falling = [1.1, 1.099, 1.102, 1.101], [1.101, 1.103, 1.1, 1.1005]
    assert [tick.bid for tick in ticks] == rising + falling
    assert {round((tick.ask - tick.bid) * 1e5) for tick in ticks} == {10}
    assert [tick.opens for tick in ticks] == [True, False, False, False] * 2


def test_a_five_minute_bar_has_a_tick_every_fifteen_seconds_on_straight_lines(tmp_path: Path) -> None:
    path = write_bars(tmp_path, [(1.1, 1.107, 1.094, 1.1)], seconds=300)
    ticks = open_market(str(path), 0, 0.0).of("EURUSD").ticks(START - 1, START + 300)
    assert len(ticks) == 20
    assert [ticks[n].bid for n in (0, 3, 6, 12, 19)] == [1.1, 1.097, 1.094, 1.107, 1.1]


def test_the_forming_bar_holds_only_what_has_been_seen(tmp_path: Path) -> None:
    series = open_market(str(write_bars(tmp_path, [(1.1, 1.102, 1.099, 1.101)])), 0, 0.0).of("EURUSD")
    seen = [series.bars(60, START + second, 1) for second in (0, 15, 30, 45)]
    assert [float(bars.high[0]) for bars in seen] == [1.1, 1.1, 1.102, 1.102]
    assert [float(bars.low[0]) for bars in seen] == [1.1, 1.099, 1.099, 1.099]
    assert [float(bars.close[0]) for bars in seen] == [1.1, 1.099, 1.102, 1.101]


def test_an_empty_volume_is_the_number_of_ticks_and_an_empty_spread_the_catalogues(tmp_path: Path) -> None:
    series = open_market(str(write_bars(tmp_path, flat(1.1, 3), spread="")), 0, 0.0).of("EURUSD")
    bars = series.bars(60, START + 130, 3)
    assert bars.tick_volume.tolist()[:2] == [4.0, 4.0]
    assert bars.spread.tolist() == [8, 8, 8]


def test_a_gap_of_ten_minutes_is_open_a_longer_one_and_the_end_are_closed(tmp_path: Path) -> None:
    head = [f"{iso(START)},1.1,1.1,1.1,1.1,,", f"{iso(START + 660)},1.2,1.2,1.2,1.2,,"]
    path = tmp_path / "EURUSD_M1_gap.csv"
    header = "time_utc,open,high,low,close,tick_volume,spread_points"
    path.write_text("\n".join([header, *head, f"{iso(START + 1380)},1.3,1.3,1.3,1.3,,", ""]))
    series = open_market(str(path), 0, 0.0).of("EURUSD")
    assert series.is_open(START + 300)
    assert not series.is_open(START - 1)
    assert not series.is_open(START + 720)
    assert not series.is_open(START + 1379)
    assert series.is_open(START + 1439)
    assert not series.is_open(START + 1440)
    quote = series.quote(START + 99_999)
    assert quote is not None
    assert (quote.time, quote.bid) == (START + 1425, 1.3)


def test_recorded_bars_start_after_thirty_percent_of_the_rows(tmp_path: Path) -> None:
    assert open_market(str(write_bars(tmp_path, flat(1.1, 100))), 0, 0.0).start == START + 30 * 60


def test_a_folder_holds_several_symbols_and_several_files_of_one(tmp_path: Path) -> None:
    write_bars(tmp_path, flat(1.1, 10))
    write_bars(tmp_path, flat(2000.0, 10), symbol="XAUUSDc", digits=2)
    follow = write_bars(tmp_path / "later", flat(1.2, 10), start=START + 86_400)
    (tmp_path / "EURUSD_M1_later.csv").write_text(follow.read_text())
    write_bars(tmp_path, flat(1.1, 3), seconds=900)
    market = open_market(str(tmp_path), 0, 0.0)
    assert list(market.series) == ["EURUSD", "XAUUSDc"]
    assert market.of("EURUSD").source.seconds == 60
    assert len(market.of("EURUSD").bars(60, START + 2 * 86_400, 100)) == 20
    assert market.of("XAUUSDc").facts.contract_size == 100.0


def test_markets_that_cannot_be_used_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such bar file or folder"):
        open_market(str(tmp_path / "nowhere"), 0, 0.0)
    with pytest.raises(ValueError, match=r"holds no \.csv"):
        open_market(str(tmp_path), 0, 0.0)
    hours = write_bars(tmp_path, flat(1.1, 3), seconds=900)
    with pytest.raises(ValueError, match="needs M1 or M5 bars of EURUSD"):
        open_market(str(hours), 0, 0.0)
    first = write_bars(tmp_path / "both", flat(1.1, 10))
    (tmp_path / "both" / "EURUSD_M1_again.csv").write_text(first.read_text())
    with pytest.raises(ValueError, match="overlap"):
        open_market(str(tmp_path / "both"), 0, 0.0)


def test_an_unknown_symbol_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    terminal = opened(tmp_path)
    with pytest.raises(ValueError, match=r"unknown symbol 'EURUSDx'.*EURUSD"):
        terminal.simulator_market("EURUSDx", "M1", 1)


def test_the_market_answer_has_the_fields_of_the_bar_files(tmp_path: Path) -> None:
    terminal = opened(tmp_path, write_bars(tmp_path, [(1.1, 1.102, 1.099, 1.101)] * 3))
    later(terminal, 60)
    bars = terminal.simulator_market("EURUSD", "M1", 5)["bars"]
    assert bars[0] == {
        "time_utc": iso(START),
        "open": 1.1,
        "high": 1.102,
        "low": 1.099,
        "close": 1.101,
        "tick_volume": 4,
        "spread_points": 10,
    }
    assert bars[1]["close"] == 1.1
    assert len(bars) == 2


@pytest.mark.market_data
def test_real_bars_come_back_as_they_are_in_the_file() -> None:
    path = bar_file("XAUUSD_M1_201405_oanda_bidask.csv.gz")
    market = open_market(str(path), 0, 0.0)
    series = market.of("XAUUSD")
    assert series.facts.digits == 3
    whole = join([series.source.bars(n) for n in range((series.source.last or 0) + 1)])
    now = float(whole.time[-1]) + 59
    for seconds in (60, 300, 900, 3600):
        assert series.bars(seconds, now, 20_000).close.tolist() == aggregate(whole, seconds).close.tolist()
    # NFP, 2014-05-02 12:30 UTC: the most violent minute of the file, 12439 points (data README).
    bar = series.bars(60, utc("2014-05-02T12:30:59"), 1)
    assert round((bar.high[0] - bar.low[0]) / 0.001) == 12_439
