from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from client_world import closed_port, listening

from dtms_client import DtmsClient, cli, present
from dtms_client.spool import NEW, REJECTED, Spool, entries
from dtms_client.testing import FakeDtms


@pytest.fixture
def url(dtms: FakeDtms, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with listening(dtms) as address:
        monkeypatch.setenv("DTMS_API_URL", address)
        yield address


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "wants_json", lambda _, *, forced: forced)


Out = pytest.CaptureFixture[str]


def test_wait_ready_is_0_when_ready(url: str, capsys: Out) -> None:
    assert cli.main(["wait-ready", "--timeout", "5"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "ready"


def test_wait_ready_is_1_in_time_with_the_reasons(url: str, dtms: FakeDtms, capsys: Out) -> None:
    dtms.ready = False
    assert cli.main(["wait-ready", "--timeout", "0"]) == 1
    said = capsys.readouterr().err
    assert "the terminal is not connected yet" in said
    assert said.splitlines()[-1].startswith("Try: ")


def test_wait_ready_is_1_when_nobody_answers(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["wait-ready", "--timeout", "0", "--url", f"http://127.0.0.1:{closed_port()}"]) == 1
    assert "dtms serve" in capsys.readouterr().err.splitlines()[-1]


def test_wait_ready_is_2_at_once_when_something_else_answers(capsys: Out) -> None:
    class Other(FakeDtms):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"status": "ready", "service": "phone-hub"})

    with listening(Other()) as address:
        assert cli.main(["wait-ready", "--timeout", "600", "--url", address]) == 2
    assert "DTMS_API_PORT" in capsys.readouterr().err.splitlines()[-1]


def test_a_bad_setting_is_78_and_names_the_variable(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setenv("DTMS_API_PORT", "eighty")
    assert cli.main(["status"]) == 78
    said = capsys.readouterr().err.splitlines()
    assert "DTMS_API_PORT" in said[0]
    assert said[-1].startswith("Try: ")


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["wait-ready", "--timeout", "-1"], ["outbox"], ["register"]])
def test_wrong_usage_is_2(argv: list[str], capsys: Out) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    assert ended.value.code == 2


def test_status_is_a_table_for_people_and_json_for_pipes(
    url: str, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["status"]) == 0
    assert json.loads(capsys.readouterr().out)["dtms_status"]["active_trades"] == 0
    monkeypatch.setattr(cli, "wants_json", lambda _, *, forced: forced)
    assert cli.main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith("mode")] == [["mode", "protect"]]
    assert cli.main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mode"] == "protect"


def test_register_says_what_became_of_it(url: str, dtms: FakeDtms, capsys: Out, person: None) -> None:
    assert cli.main(["register", "17", "--symbol", "EURUSD", "--side", "buy", "--stop-loss", "1.05"]) == 0
    assert "protected" in capsys.readouterr().out
    assert (dtms.trades[17]["side"], dtms.trades[17]["stop_loss"]) == ("BUY", 1.05)


def test_register_fails_when_dtms_says_no(url: str, dtms: FakeDtms, capsys: Out) -> None:
    dtms.refusals[17] = (409, "registration_conflict")
    assert cli.main(["register", "17"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("Try: ")


def test_register_is_queued_when_nobody_answers(capsys: Out, outbox_dir: Path) -> None:
    assert cli.main(["register", "17"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "queued"
    assert len(entries(outbox_dir)) == 1


def test_the_outbox_is_listed_with_ages_and_reasons(capsys: Out, outbox_dir: Path, person: None) -> None:
    spool = Spool(outbox_dir)
    spool.write({"ticket": 1, "symbol": "EURUSD"}, "http://elsewhere:1")
    spool.write({"ticket": 2}, "http://elsewhere:1").reject({"detail": "BUY against SELL"})
    (outbox_dir / NEW / "00000000000000000001-1-a.json").write_text("torn")
    assert cli.main(["outbox", "list"]) == 0
    text = capsys.readouterr().out
    assert "EURUSD" in text
    assert "BUY against SELL" in text
    assert "is not JSON" in text
    assert cli.main(["outbox", "list", "--json"]) == 0
    assert [row["state"] for row in json.loads(capsys.readouterr().out)] == ["new", "new", "rejected"]


def test_an_order_that_may_be_out_is_listed(capsys: Out, dtms: FakeDtms, person: None) -> None:
    client = DtmsClient("http://dtms.test", transport=dtms)
    with client.protecting("XAUUSD", magic=770):
        assert cli.main(["outbox", "list"]) == 0
    shown = capsys.readouterr().out
    assert "announced" in shown
    assert "magic 770 may be out" in shown


def test_an_empty_outbox_says_so(capsys: Out, person: None) -> None:
    assert cli.main(["outbox", "list"]) == 0
    assert "nothing waits" in capsys.readouterr().out


def test_flush_delivers_and_fails_when_something_is_left(
    url: str, dtms: FakeDtms, outbox_dir: Path, capsys: Out, person: None
) -> None:
    Spool(outbox_dir).write({"ticket": 1})
    assert cli.main(["outbox", "flush"]) == 0
    assert 1 in dtms.trades
    dtms.accepting = False
    Spool(outbox_dir).write({"ticket": 2})
    assert cli.main(["outbox", "flush", "--timeout", "0.1"]) == 1
    said = capsys.readouterr()
    assert "1 registrations still wait" in said.out
    assert said.err.splitlines()[-1].startswith("Try: ")


def test_retry_gives_the_rejected_another_chance(url: str, dtms: FakeDtms, outbox_dir: Path, capsys: Out) -> None:
    Spool(outbox_dir).write({"ticket": 1}).reject({"detail": "no"})
    assert cli.main(["outbox", "retry"]) == 0
    assert 1 in dtms.trades
    assert entries(outbox_dir, REJECTED) == []
    assert cli.main(["outbox", "retry"]) == 0


def test_a_table_lines_up_its_columns() -> None:
    rows = [{"ticket": 1, "price": 1.5}, {"ticket": 23456, "price": None}]
    assert present.table(rows, ("ticket", "price")).splitlines() == ["ticket  price", "1       1.5", "23456   -"]
    assert present.table([], ("ticket",)) == "(none)"


def test_a_reason_in_another_script_breaks_no_old_console(
    outbox_dir: Path, monkeypatch: pytest.MonkeyPatch, person: None
) -> None:
    Spool(outbox_dir).write({"ticket": 2}).reject({"detail": "\u62d2\u7edd"})
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="cp1252", write_through=True))
    for options in ([], ["--json"]):
        assert cli.main(["outbox", "list", *options]) == 0
    assert shown.getvalue().count(b"\\u62d2\\u7edd") == 2
