"""The commands, called in this process: what they print, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from service import free_port

from dtms_service import cli
from dtms_service.domain.record import Batch
from dtms_service.ledger import marker
from dtms_service.ledger.store import SqlLedger
from dtms_service.lock import Lock

CANARY = "canary-5417-long-enough"


@pytest.fixture
def dtms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run ``dtms`` with arguments and environment; exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["dtms", *arguments])
            for name, value in {"DTMS_STATE_DIR": str(tmp_path / "state"), **environ}.items():
                patch.setenv(name, value)
            try:
                cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_config_show_names_value_and_origin_of_every_setting_and_no_secret(dtms: Any) -> None:
    code, out, _ = dtms("config", "show", DTMS_API_PORT="9055", DTMS_API_TOKEN=CANARY)
    shown = json.loads(out)
    assert code == 0
    assert shown["api.port"] == {"value": 9055, "origin": "environment DTMS_API_PORT"}
    assert shown["api.host"] == {"value": "127.0.0.1", "origin": "default"}
    assert CANARY not in out


def test_a_password_in_the_address_of_the_ledger_is_not_shown(dtms: Any) -> None:
    _, out, _ = dtms("config", "show", DTMS_LEDGER_URL="sqlite://dtms:canary@db/dtms")
    assert "sqlite://dtms:***@db/dtms" in out
    assert "canary" not in out


def test_of_an_address_that_takes_alerts_only_scheme_and_host_are_shown(dtms: Any) -> None:
    environ = {"DTMS_ALERTS__WEBHOOK__SECRET": "0123456789abcdef", "DTMS_ALERTS__DEADMAN__URL": f"https://b/{CANARY}"}
    _, out, _ = dtms("config", "show", DTMS_ALERTS__WEBHOOK__URL=f"https://u:{CANARY}@a:1/x?{CANARY}", **environ)
    shown = json.loads(out)
    assert shown["alerts.webhook.url"]["value"] == "https://a/***"
    assert shown["alerts.deadman.url"]["value"] == "https://b/***"
    assert CANARY not in out


def test_config_check_says_right_or_wrong(dtms: Any, tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text("[api]\nport = 9055\n")
    code, out, _ = dtms("config", "check", "--config", str(tmp_path / "good.toml"))
    assert (code, "the configuration is right" in out) == (0, True)
    (tmp_path / "bad.toml").write_text("[api]\nprot = 9055\n")
    code, out, err = dtms("config", "check", "--config", str(tmp_path / "bad.toml"))
    assert (code, out) == (78, "")
    assert "did you mean 'api.port'?" in err


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        ((), {"DTMS_API_PORT": "http"}, "api.port (environment DTMS_API_PORT)"),
        (("--port", "70000"), {}, "api.port (command line)"),
        (("--mt5",), {}, "the MetaTrader5 package is not installed"),
        ((), {"DTMS_SIMULATOR__MARKET": "nowhere.csv"}, "nowhere.csv does not exist"),
        (("--host", "0.0.0.0"), {}, "only with a token"),
        (("--config", "nowhere.toml"), {}, "nowhere.toml cannot be read"),
    ],
)
def test_a_service_that_is_told_nonsense_ends_with_78_and_says_what_to_try(
    dtms: Any, arguments: tuple[str, ...], environ: dict[str, str], sentence: str
) -> None:
    code, out, err = dtms("serve", *arguments, **environ)
    assert (code, out) == (78, "")
    assert sentence in err
    assert "Try: " in err
    assert len(err.splitlines()) == 1


def test_a_wrong_option_is_wrong_usage(dtms: Any) -> None:
    assert dtms("serve", "--nonsense")[0] == 2
    assert dtms("serve", "--demo", "--mt5")[0] == 2


def test_an_unknown_variable_is_mentioned_and_changes_nothing(dtms: Any) -> None:
    code, _, err = dtms("config", "check", DTMS_API_PROT="1")
    assert code == 0
    assert err.startswith("warning: the environment variable DTMS_API_PROT")


def test_the_status_of_a_service_that_is_not_there_is_a_failure_with_a_remedy(dtms: Any) -> None:
    code, out, err = dtms("status", DTMS_API_PORT=str(free_port()), DTMS_TIMEOUT="1", DTMS_RETRY_COUNT="1")
    assert (code, out) == (1, "")
    assert "Try: " in err
    assert "dtms serve" in err


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger of one commit in the state folder, as the service leaves it."""
    path = tmp_path / "state" / "dtms.db"
    path.parent.mkdir()

    async def make() -> None:
        opened = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: 1, marker=path.with_name("dtms.used"))
        await opened.commit(Batch(facts={"account": "1@Broker"}))
        await opened.close()

    asyncio.run(make())
    return path


def test_a_backup_never_overwrites_and_gets_a_dated_name_in_a_folder(dtms: Any, ledger: Path, tmp_path: Path) -> None:
    assert json.loads(dtms("db", "backup", str(tmp_path))[1])["commits"] == 1
    (copy,) = tmp_path.glob("dtms-*Z.db")
    before = copy.read_bytes()
    for target in (copy, ledger):
        code, out, err = dtms("db", "backup", str(target))
        assert (code, out) == (1, "")
        assert "exists already and was not touched. Try: " in err
    assert copy.read_bytes() == before


def test_a_ledger_that_lacks_commits_is_not_backed_up(dtms: Any, ledger: Path, tmp_path: Path) -> None:
    used = ledger.with_name("dtms.used")
    known = marker.read(used)
    assert known is not None
    marker.create(used, replace(known, commits=2))
    code, out, err = dtms("db", "backup", str(tmp_path / "copy.db"))
    assert (code, out) == (75, "")
    assert "it ends at commit 1, but 2 were made" in err
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.parametrize("command", [("db", "verify"), ("db", "backup", "copy.db"), ("serve", "--simulated")])
def test_a_damaged_marker_does_not_lead_to_a_restore(dtms: Any, ledger: Path, command: tuple[str, ...]) -> None:
    used = ledger.with_name("dtms.used")
    used.write_bytes(used.read_bytes().replace(b"1", b"0", 1))
    code, _, err = dtms(*command, DTMS_API_PORT=str(free_port()))
    assert (code, "restore" in err) == (75, False)
    assert f"remove {used} and start" in err


def test_a_path_that_is_not_there_is_not_blamed_on_the_ledger(dtms: Any, ledger: Path, tmp_path: Path) -> None:
    code, _, err = dtms("db", "backup", str(tmp_path / "nope" / "copy.db"))
    assert (code, str(ledger) in err) == (1, False)
    assert f"the folder {tmp_path / 'nope'} does not exist. Try: make it" in err
    code, _, err = dtms("db", "verify", str(tmp_path / "nope"))
    assert (code, "restore" in err) == (75, False)
    assert "is no file. Try: the path of a copy" in err


@pytest.mark.parametrize("both", [("--observe", "--protect"), ("--mt5", "--simulated")])
def test_options_that_contradict_each_other_are_refused(dtms: Any, both: tuple[str, str]) -> None:
    code, out, err = dtms("serve", *both)
    assert (code, out) == (2, "")
    assert f"{both[0]} and {both[1]} contradict each other" in err


def test_verify_and_restore_of_a_damaged_copy_end_with_75_and_change_nothing(
    dtms: Any, ledger: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    assert dtms("db", "backup", str(copy))[0] == 0
    copy.write_bytes(copy.read_bytes()[:-4096])
    before = ledger.read_bytes()
    for command in ("verify", "restore"):
        code, out, err = dtms("db", command, str(copy))
        assert (code, out) == (75, "")
        assert "Try: " in err
    assert ledger.read_bytes() == before
    assert not list(ledger.parent.glob("*.replaced-*"))


def test_restore_and_upgrade_wait_for_nobody_and_name_who_serves(dtms: Any, ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert dtms("db", "backup", str(copy))[0] == 0
    for lock in ("dtms.lock", "dtms.db.lock"):
        with Lock(ledger.with_name(lock)):
            for command in (("restore", str(copy)), ("upgrade",)):
                code, out, err = dtms("db", *command)
                assert (code, out) == (73, "")
                assert f"process {os.getpid()} already" in err
    code, out, _ = dtms("db", "restore", str(copy))
    assert code == 0
    assert Path(json.loads(out)["kept"]).is_file()
    code, out, _ = dtms("db", "upgrade")
    assert (code, json.loads(out)["commits"]) == (0, 1)


def test_a_ledger_that_is_not_there_is_neither_verified_nor_copied_nor_begun(dtms: Any, tmp_path: Path) -> None:
    for command in (("verify",), ("backup", str(tmp_path / "copy.db")), ("upgrade",)):
        assert dtms("db", *command)[0] == 75
    assert not (tmp_path / "state" / "dtms.db").exists()
