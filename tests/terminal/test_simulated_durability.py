"""The broker is its file (R36): what it says survives any death, and a foreign file is never replaced."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from simulated_kit import START, deals, flat, later, market_order, opened, options, positions, write_bars

from dtms_service.terminal.simulated.backend import SimulatedTerminal, open_backend
from dtms_service.terminal.simulated.store import Store
from dtms_service.terminal.simulated.synthetic import DEFAULT_START

DAY = 86_400


def everything(terminal: SimulatedTerminal) -> dict[str, Any]:
    views = {what: terminal.simulator_view(what) for what in ("account", "positions", "orders", "deals")}
    return {**views, "now": terminal.simulator_clock()["now"]}


def test_a_restart_between_steps_equals_a_run_without_one(tmp_path: Path) -> None:
    def run(folder: Path, *, restarts: bool) -> dict[str, Any]:
        terminal = opened(folder)
        for n in range(40):
            if n % 10 == 0:
                price = terminal.simulator_market("BTCUSD", "M1", 1)["bars"][0]["close"]
                stop = round(price * 0.99, 2)
                market_order(terminal, "BUY", 0.1, "BTCUSD", sl=stop, magic=n)
            later(terminal, 7200)
            if restarts:
                terminal.close()
                terminal = opened(folder)
        found = everything(terminal)
        del found["account"]["account"]["login"]
        return found

    whole = run(tmp_path / "whole", restarts=False)
    assert run(tmp_path / "cut", restarts=True) == whole
    assert any(deal["reason"] == 4 for deal in whole["deals"]["deals"])


CHILD = """
import json, sys
from dtms_service.terminal.simulated.backend import open_backend
terminal = open_backend(json.loads(sys.argv[1]))
terminal.initialize()
result = terminal.order_send(action=1, symbol="EURUSD", volume=0.1, type=0, magic=5)
print(result.order, flush=True)
now = terminal.simulator_clock()["now"]
while True:
    now += 30
    terminal.simulator_advance(now)
    print(now, flush=True)
"""


def test_what_was_answered_survives_a_killed_process(tmp_path: Path) -> None:
    wanted = options(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(wanted)], stdout=subprocess.PIPE, text=True, env=os.environ.copy()
    )
    assert child.stdout is not None
    ticket = int(child.stdout.readline())
    times = [float(child.stdout.readline()) for _ in range(200)]
    child.send_signal(signal.SIGKILL)
    child.wait()
    rest = [float(line) for line in child.stdout.read().split()]
    child.stdout.close()
    last = [*times, *rest][-1]
    terminal = opened(tmp_path)
    assert [row["ticket"] for row in positions(terminal)] == [ticket]
    assert terminal.simulator_clock()["now"] in {last, last + 30}


def test_the_file_is_held_while_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(tmp_path)
    monkeypatch.setattr("dtms_service.terminal.simulated.store._WAIT_SECONDS", 0.05)
    with pytest.raises(ValueError, match="another process holds it"):
        open_backend(options(tmp_path))
    first.close()
    assert opened(tmp_path).account_info() is not None


def test_a_new_child_waits_until_the_old_one_has_gone(tmp_path: Path) -> None:
    wanted = options(tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(wanted)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    follower = subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(wanted)], stdout=subprocess.PIPE, text=True)
    assert follower.stdout is not None
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert int(follower.stdout.readline()) > 0
    follower.kill()
    follower.wait()
    follower.stdout.close()
    assert len(positions(opened(tmp_path))) == 2


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seed": 8}, "market"),
        ({"account": {"balance": 5.0}}, "balance"),
        ({"account": {"margin_mode": "netting"}}, "margin_mode"),
        ({"account": {"currency": "EUR"}}, "currency"),
        ({"account": {"server_utc_offset": 2}}, "server_utc_offset"),
    ],
)
def test_an_account_of_other_terms_is_refused_and_stays(tmp_path: Path, changes: dict[str, Any], name: str) -> None:
    first = opened(tmp_path)
    ticket = market_order(first, "BUY", 0.1).order
    first.close()
    with pytest.raises(ValueError, match=f"this simulated account has {name} .* choose another state folder"):
        open_backend(options(tmp_path, **changes))
    assert [row["ticket"] for row in positions(opened(tmp_path))] == [ticket]


def test_an_account_of_other_bars_is_refused_and_the_same_bars_elsewhere_are_not(tmp_path: Path) -> None:
    bars = write_bars(tmp_path / "bars", flat(1.1, 100))
    opened(tmp_path, bars).close()
    moved = write_bars(tmp_path / "moved", flat(1.1, 100))
    opened(tmp_path, moved).close()
    other = write_bars(tmp_path / "other", flat(1.1, 99))
    with pytest.raises(ValueError, match="this simulated account has market"):
        open_backend(options(tmp_path, other))


def test_a_file_that_is_no_account_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "terminal" / "account.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is not a database" * 1000)
    with pytest.raises(ValueError, match=r"account\.db: the simulated account cannot be opened"):
        open_backend(options(tmp_path))
    assert path.read_bytes() == b"this is not a database" * 1000


def test_a_copied_account_belongs_to_another_login(tmp_path: Path) -> None:
    opened(tmp_path / "one").close()
    source, target = (tmp_path / name / "state" / "terminal" for name in ("one", "two"))
    target.mkdir(parents=True)
    (target / "account.db").write_bytes((source / "account.db").read_bytes())
    with pytest.raises(ValueError, match="this simulated account has login"):
        open_backend(options(tmp_path / "two"))


def test_the_login_depends_on_the_folder_only(tmp_path: Path) -> None:
    first = opened(tmp_path / "one")
    login = first.account_info().login
    first.close()
    assert opened(tmp_path / "one").account_info().login == login
    assert opened(tmp_path / "two").account_info().login != login
    assert 10_000_000 <= login < 100_000_000


def test_when_the_disk_fails_the_order_has_not_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = opened(tmp_path)
    real, calls = Store.commit, []

    def failing(store: Store, changes: Any) -> None:
        calls.append(changes)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Store, "commit", failing)
    with pytest.raises(sqlite3.OperationalError):
        market_order(terminal, "BUY", 0.1)
    monkeypatch.setattr(Store, "commit", real)
    assert calls
    assert positions(terminal) == []
    assert len(deals(terminal)) == 1


def test_stepped_time_stands_still_while_nobody_is_there(tmp_path: Path) -> None:
    terminal = opened(tmp_path)
    later(terminal, 100)
    terminal.close()
    assert opened(tmp_path).simulator_clock() == {"mode": "stepped", "now": DEFAULT_START + 100.0, "factor": 0.0}


class Wall:
    """A real clock that the test moves."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


def test_a_running_clock_plays_what_was_due_while_nobody_was_there(tmp_path: Path) -> None:
    path = write_bars(tmp_path / "bars", [*flat(1.1, 5), *flat(1.09, 5), *flat(1.1, 500)])
    wall, wanted = Wall(), options(tmp_path, tmp_path / "bars", clock="60")
    assert path.exists()
    first = open_backend(wanted, wall=wall)
    first.initialize()
    ticket = market_order(first, "BUY", 0.1, sl=1.095).order
    wall.time += 4.0
    assert first.simulator_clock() == {"mode": "live", "now": START + 240.0, "factor": 60.0}
    first.close()
    wall.time += 10.0
    again = open_backend(wanted, wall=wall)
    again.initialize()
    assert again.positions_get() == ()
    deal = again.history_deals_get(position=ticket)[-1]
    assert (deal.reason, deal.price, deal.time) == (4, 1.09, START + 300)
    assert again.simulator_clock()["now"] == START + 14 * 60


def test_live_is_a_factor_of_one_in_the_simulators_own_date(tmp_path: Path) -> None:
    wall = Wall()
    terminal = open_backend(options(tmp_path, clock="live"), wall=wall)
    terminal.initialize()
    terminal.symbol_select("BTCUSD", True)
    wall.time += 3600
    assert terminal.symbol_info_tick("BTCUSD").time == DEFAULT_START + 3600
    with pytest.raises(ValueError, match="not stepped"):
        terminal.simulator_advance(DEFAULT_START + 7200)


def test_a_real_clock_set_back_does_not_turn_the_market_back(tmp_path: Path) -> None:
    wall, wanted = Wall(), options(tmp_path, clock="live")
    first = open_backend(wanted, wall=wall)
    first.initialize()
    wall.time += 3600
    market_order(first, "BUY", 0.1)
    first.close()
    wall.time -= 7200
    again = open_backend(wanted, wall=wall)
    assert again.simulator_clock()["now"] == DEFAULT_START + 3600
    wall.time += 60
    assert again.simulator_clock()["now"] == DEFAULT_START + 3600 + 60


def test_a_real_clock_set_back_while_we_run_lets_the_market_wait(tmp_path: Path) -> None:
    wall = Wall()
    terminal = open_backend(options(tmp_path, clock="live"), wall=wall)
    terminal.initialize()
    wall.time += 3600
    assert terminal.account_info() is not None
    wall.time -= 600
    assert terminal.simulator_clock()["now"] == DEFAULT_START + 3600
    wall.time += 660
    assert terminal.simulator_clock()["now"] == DEFAULT_START + 3660


@pytest.mark.parametrize("clock", ["fast", "0", "-1", "nan", None, True])
def test_a_clock_that_is_none_is_refused(tmp_path: Path, clock: Any) -> None:
    with pytest.raises(ValueError, match=r"simulator\.clock is"):
        open_backend(options(tmp_path, clock=clock), wall=Wall())


@pytest.mark.parametrize(
    ("account", "name"),
    [
        ({"balance": "5"}, "balance"),
        ({"balance": float("nan")}, "balance"),
        ({"balance": 0}, "balance"),
        ({"leverage": 0}, "leverage"),
        ({"leverage": 1.5}, "leverage"),
        ({"margin_mode": "hedge"}, "margin_mode"),
        ({"currency": "usd"}, "currency"),
        ({"fifo_close": 1}, "fifo_close"),
        ({"server_utc_offset": 15}, "server_utc_offset"),
        ({"server_utc_offset": 0.1}, "server_utc_offset"),
    ],
)
def test_unusable_terms_are_refused_by_name(tmp_path: Path, account: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=rf"simulator\.account\.{name}"):
        open_backend(options(tmp_path, account=account))
    assert not (tmp_path / "state" / "terminal" / "account.db").exists()


@pytest.mark.parametrize("start", ["yesterday", 5, "1960-01-01T00:00:00Z", "2024-13-01"])
def test_an_unusable_start_is_refused(tmp_path: Path, start: Any) -> None:
    with pytest.raises(ValueError, match=r"simulator\.start is"):
        open_backend(options(tmp_path, start=start))


def test_the_start_is_read_when_the_account_is_made(tmp_path: Path) -> None:
    first = opened(tmp_path, start="2025-02-03T10:00:00Z")
    assert first.simulator_clock()["now"] == 1_738_576_800.0
    first.close()
    assert opened(tmp_path, start="2025-03-03T10:00:00Z").simulator_clock()["now"] == 1_738_576_800.0


def test_a_start_outside_the_bars_is_refused(tmp_path: Path) -> None:
    bars = write_bars(tmp_path / "bars", flat(1.1, 100))
    for start in ("2024-03-05T07:59:00Z", "2024-03-05T10:00:00Z"):
        with pytest.raises(ValueError, match="outside the bars"):
            open_backend(options(tmp_path, bars, start=start))
