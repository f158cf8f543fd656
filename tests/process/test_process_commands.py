"""The commands, called in this process: what they print, and how they end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from service import free_port

from dtms_service import cli

CANARY = "canary-5417"


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
    _, out, _ = dtms("config", "show", DTMS_LEDGER_URL="postgresql://dtms:canary@db/dtms")
    assert "postgresql://dtms:***@db/dtms" in out
    assert "canary" not in out


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
