"""What is said before an order goes out survives whatever happens to the program (reliability 4E 35)."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dtms_client import AsyncDtmsClient, Conflict, DtmsClient, Invalid
from dtms_client.spool import ANNOUNCED, entries
from dtms_client.testing import FakeDtms
from dtms_client.wire import TICKET_MAX

URL = "http://dtms.test"
Act = Callable[[Any], Any]
Trade = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def trade(request: pytest.FixtureRequest) -> Trade:
    """Announce, do what is given, leave; returns what the registration answered."""

    def run(dtms: FakeDtms, tickets: list[int], act: Act = lambda _: None, **given: Any) -> Any:
        spool = given.pop("spool", "always")
        given = {"symbol": "EURUSD", "magic": 77, **given}
        if request.param == "sync":
            client = DtmsClient(URL, transport=dtms, spool=spool)
            with client.protecting(**given) as opening:
                act(opening)
                return [opening.opened(ticket) for ticket in tickets]

        async def awaited() -> Any:
            async with (
                AsyncDtmsClient(URL, transport=dtms, spool=spool) as client,
                client.protecting(**given) as opening,
            ):
                act(opening)
                return [await opening.opened(ticket) for ticket in tickets]

        return asyncio.run(awaited())

    return run


def bodies(outbox_dir: Path) -> list[dict[str, Any]]:
    return [dict(entry.load().body) for entry in entries(outbox_dir, ANNOUNCED)]


def test_it_is_on_disk_while_the_order_is_sent_and_gone_when_the_trade_is_registered(
    trade: Trade, dtms: FakeDtms, outbox_dir: Path
) -> None:
    seen: list[dict[str, Any]] = []
    (done,) = trade(dtms, [5], lambda _: seen.extend(bodies(outbox_dir)), strategy_type="kill_zone")
    (said,) = seen
    assert (said["symbol"], said["magic"], said["strategy_type"], said["process"]) == (
        "EURUSD",
        77,
        "kill_zone",
        os.getpid(),
    )
    assert done.protected
    assert (dtms.trades[5]["symbol"], dtms.trades[5]["strategy_type"]) == ("EURUSD", "kill_zone")
    assert bodies(outbox_dir) == []


def test_several_positions_may_come_of_it_and_none_at_all(trade: Trade, dtms: FakeDtms, outbox_dir: Path) -> None:
    assert [done.ticket for done in trade(dtms, [5, 6])] == [5, 6]
    assert trade(dtms, []) == []
    assert bodies(outbox_dir) == []


def test_an_exception_leaves_it_because_the_order_may_be_out(
    trade: Trade, dtms: FakeDtms, outbox_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(_: object) -> None:
        raise ConnectionResetError("the terminal went away")

    with pytest.raises(ConnectionResetError):
        trade(dtms, [5], breaks)
    assert [said["magic"] for said in bodies(outbox_dir)] == [77]
    assert "not known whether an order went out" in caplog.text


def test_a_registration_settles_it_whatever_happens_in_the_block_afterwards(
    trade: Trade, dtms: FakeDtms, outbox_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dtms.refusals[6] = (409, "registration_conflict")
    with pytest.raises(Conflict):
        trade(dtms, [5, 6])
    assert bodies(outbox_dir) == []
    assert "left announced" not in caplog.text


def test_a_registration_that_is_refused_leaves_it(trade: Trade, dtms: FakeDtms, outbox_dir: Path) -> None:
    dtms.refusals[5] = (409, "registration_conflict")
    with pytest.raises(Conflict):
        trade(dtms, [5])
    assert len(bodies(outbox_dir)) == 1


def test_two_announcements_of_the_same_order_do_not_share_a_file(dtms: FakeDtms, outbox_dir: Path) -> None:
    client = DtmsClient(URL, transport=dtms)
    with client.protecting("EURUSD", magic=77):
        with client.protecting("EURUSD", magic=77):
            assert len(bodies(outbox_dir)) == 2
        assert len(bodies(outbox_dir)) == 1


def test_a_disk_that_is_gone_stops_no_order(
    trade: Trade, dtms: FakeDtms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DTMS_SPOOL_DIR", str(tmp_path / "file" / "outbox"))
    said: list[bool] = []
    (done,) = trade(dtms, [5], lambda opening: said.append(opening.announced))
    assert (done.protected, said) == (True, [False])
    assert [record.levelno for record in caplog.records if "is not announced" in record.message] == [logging.ERROR]


def test_without_an_outbox_nothing_is_announced(trade: Trade, dtms: FakeDtms, outbox_dir: Path) -> None:
    trade(dtms, [5], lambda opening: bodies(outbox_dir), spool="off")
    assert not (outbox_dir / ANNOUNCED).exists()


@pytest.mark.parametrize("magic", [0, -1, TICKET_MAX + 1, "x"])
def test_a_magic_that_would_fit_any_position_is_refused(trade: Trade, dtms: FakeDtms, magic: object) -> None:
    with pytest.raises(Invalid, match="magic"):
        trade(dtms, [5], magic=magic)


@pytest.mark.process
def test_it_survives_the_death_of_its_program(outbox_dir: Path) -> None:
    program = (
        "import os; from dtms_client import DtmsClient\n"
        "with DtmsClient().protecting('XAUUSD', magic=770): os._exit(9)  # the order is out, the program is gone\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), timeout=30, check=False)
    assert ended.returncode == 9
    (said,) = bodies(outbox_dir)
    assert (said["symbol"], said["magic"]) == ("XAUUSD", 770)
