"""What would become of each ticket, and that registering it does exactly that, once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from old_databases import DTMS_TRADES, UNIVERSAL_TRADES, dtms_trade, universal_trade, write

from dtms_client import delivery
from dtms_client.errors import Unreachable
from dtms_client.flusher import FLUSHER
from dtms_client.sync import DtmsClient
from dtms_client.testing import FakeDtms
from dtms_service.adopt import taking
from dtms_service.adopt.plan import Verdict
from dtms_service.domain.ownership import DTMS_STRATEGIES


class Terminal(FakeDtms):
    """A fake that also has positions; ``lists``: it is a real one, and the service names what nobody registered."""

    def __init__(self, *tickets: int, lists: bool = True) -> None:
        super().__init__()
        self.open = tickets
        self.lists = lists

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path, (ours, simulated) = request.url.path, (taking.UNMANAGED, taking.SIMULATED)
        if path == ours and self.lists:
            tickets = [ticket for ticket in self.open if ticket not in self.trades]
            rows = [{"ticket": t, "symbol": "EURUSD", "side": "BUY", "volume": 0.1} for t in tickets]
            hedge = {"ticket": 77, "symbol": "EURUSD", "side": "SELL", "volume": 0.1, "own": True}
            return httpx.Response(200, json={"positions": [*rows, hedge]})
        if path == simulated and not self.lists:
            shown = [{"ticket": t, "symbol": "EURUSD", "type": 0, "volume": 0.1, "magic": 7} for t in self.open]
            return httpx.Response(200, json={"positions": shown})
        return super().handle_request(request)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DTMS_STATE_DIR", str(tmp_path / "state"))
    delivery._SAID.clear()
    yield
    FLUSHER.reset()


def client(terminal: FakeDtms) -> DtmsClient:
    return DtmsClient("http://dtms.test", transport=terminal, spool="off", retries=1)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [
        write(tmp_path / "dtms_trades.db", DTMS_TRADES, dtms_trade(1), dtms_trade(2), dtms_trade(9), dtms_trade(5)),
        write(
            tmp_path / "universal.db",
            UNIVERSAL_TRADES,
            universal_trade(2, "kill_zone"),
            universal_trade(3, "micro_scalp", ""),
            universal_trade(4, "micro_scalp", "legacy_exit_manager"),
        ),
    ]


@pytest.mark.parametrize("lists", [True, False])
def test_each_ticket_is_told_what_would_become_of_it(files: list[Path], lists: bool) -> None:
    terminal = Terminal(1, 2, 3, 4, 5, 6, lists=lists)
    with client(terminal) as dtms:
        dtms.register(5)
        sent = len(terminal.requests)
        found = {one.ticket: one for one in taking.look(dtms, files, DTMS_STRATEGIES)}
    assert {ticket: one.verdict for ticket, one in found.items()} == {
        1: Verdict.PROTECT,  # the old DTMS had it
        2: Verdict.OBSERVE,  # the Universal Manager has it, although the old DTMS was told of it as well
        3: Verdict.PROTECT,  # a strategy that the Universal Manager refuses
        4: Verdict.OBSERVE,  # another manager's by its own record
        5: Verdict.REGISTERED,
        6: Verdict.PROTECT,  # nobody ever wrote it down
        9: Verdict.ABSENT,
    }
    assert found[2].why == "managed by the Universal Manager (kill_zone)"
    assert found[6].found_in == "terminal"
    assert all(request.method == "GET" for request in terminal.requests[sent:])  # looking changes nothing
    assert set(terminal.trades) == {5}


def test_what_would_be_registered_is_registered_once_and_twice_is_harmless(files: list[Path]) -> None:
    terminal = Terminal(1, 2, 6)
    with client(terminal) as dtms:
        taken = taking.take(dtms, taking.look(dtms, files, DTMS_STRATEGIES))
        assert {one.candidate.ticket: one.outcome for one in taken} == {
            1: "protected",
            2: "protected",  # this fake does not know the Universal Manager; the service answers observed
            3: "not at the terminal",
            4: "not at the terminal",
            5: "not at the terminal",
            6: "protected",
            9: "not at the terminal",
        }
        assert terminal.trades[2]["strategy_type"] == "kill_zone"
        assert {trade["source"] for trade in terminal.trades.values()} == {"adopt"}
        before = dict(terminal.trades)
        again = taking.take(dtms, taking.look(dtms, files, DTMS_STRATEGIES))
        assert {one.outcome for one in again} == {"already registered", "not at the terminal"}
        assert not any(one.failed for one in again)
    assert terminal.trades == before


def test_in_observe_mode_nothing_is_promised(files: list[Path]) -> None:
    terminal = Terminal(1)
    terminal.mode = "observe"
    with client(terminal) as dtms:
        one = taking.look(dtms, files, DTMS_STRATEGIES)[0]
    assert (one.verdict, one.why) == (Verdict.OBSERVE, "the service is in mode observe")


def test_a_refusal_of_one_is_told_and_the_others_go_on(files: list[Path]) -> None:
    terminal = Terminal(1, 6)
    terminal.refusals[1] = (409, "registration_conflict")
    with client(terminal) as dtms:
        taken = {one.candidate.ticket: one for one in taking.take(dtms, taking.look(dtms, files, DTMS_STRATEGIES))}
    assert (taken[1].failed, taken[6].failed) == (True, False)
    assert "registration_conflict" in taking.row(taken[1])["why"]
    assert set(terminal.trades) == {6}


def test_a_closed_trade_of_the_record_is_registered_already_and_our_hedge_is_never_taken(files: list[Path]) -> None:
    terminal = Terminal(6, 7, lists=False)
    hedge = {"ticket": 7, "identifier": 7, "side": "SELL", "volume": 0.1, "price_open": 1.1, "stop_loss": None}
    with client(terminal) as dtms:
        dtms.register_batch([{"ticket": 1}, {"ticket": 6}])
        terminal.trades[1]["state"] = "CLOSED"
        terminal.trades[6]["hedge"] = hedge
        found = {one.ticket: one for one in taking.look(dtms, files, DTMS_STRATEGIES)}
    assert (found[1].verdict, found[1].why) == (Verdict.REGISTERED, "it is CLOSED")
    assert 7 not in found


def test_every_page_of_the_trades_is_read() -> None:
    class Paged(Terminal):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            if request.url.path != "/dtms/trades":
                return answer
            body: dict[str, Any] = answer.json()
            at = int(request.url.params.get("cursor", 0))
            following = str(at + 1) if at + 1 < len(body["trades"]) else None
            page = {**body, "trades": body["trades"][at : at + 1], "next_cursor": following}
            return httpx.Response(200, json=page)

    terminal = Paged(1, 2, 3, lists=False)
    with client(terminal) as dtms:
        dtms.register_batch([{"ticket": ticket} for ticket in (1, 2, 3)])
        assert {one.verdict for one in taking.look(dtms, [], DTMS_STRATEGIES)} == {Verdict.REGISTERED}


def test_a_service_that_is_away_is_an_error_and_not_an_empty_list() -> None:
    terminal = Terminal(1)
    terminal.reachable = False
    with client(terminal) as dtms, pytest.raises(Unreachable, match=re.escape("http://dtms.test did not answer")):
        taking.look(dtms, [], DTMS_STRATEGIES)
