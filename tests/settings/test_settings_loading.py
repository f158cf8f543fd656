from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dtms_service.domain.trade import Mode
from dtms_service.settings.loading import Loaded, Misconfigured, load
from dtms_service.settings.tree import Settings, leaves, value_of


def loaded(tmp_path: Path, toml: str | None = None, env: dict[str, str] | None = None, **chosen: Any) -> Loaded:
    """Load with nothing of this machine but a state folder."""
    environ = {"DTMS_STATE_DIR": str(tmp_path / "state"), **(env or {})}
    if toml is not None:
        (tmp_path / "dtms.toml").write_text(toml)
        environ["DTMS_CONFIG"] = str(tmp_path / "dtms.toml")
    named = {name.replace("__", "."): value for name, value in chosen.items()}
    return load(named, environ=environ, mt5_importable=False)


def test_without_any_choice_the_simulated_terminal_is_protected_on_loopback_port_8001(tmp_path: Path) -> None:
    settings = loaded(tmp_path).settings
    assert (settings.api.host, settings.api.port) == ("127.0.0.1", 8001)
    assert (settings.terminal.kind, settings.mode, settings.cadence.cycle_s) == ("simulated", Mode.PROTECT, 30.0)
    assert settings.ledger.url == f"sqlite+aiosqlite:///{tmp_path}/state/dtms.db"
    assert settings.spool.folders == (tmp_path / "state" / "outbox",)


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    toml = "[api]\nport = 9001\nhost = '127.0.0.2'\n[simulator]\nseed = 3\n[logs]\nlevel = 'debug'\n"
    result = loaded(tmp_path, toml, {"DTMS_API_PORT": "9002", "DTMS_SIMULATOR__SEED": "4"}, api__port=9003)
    settings = result.settings
    assert (settings.api.port, settings.simulator.seed, settings.api.host) == (9003, 4, "127.0.0.2")
    assert (settings.logs.level, settings.cadence.cycle_s) == ("debug", 30.0)
    assert result.origins["api.port"] == "command line"
    assert result.origins["simulator.seed"] == "environment DTMS_SIMULATOR__SEED"
    assert result.origins["logs.level"] == str(tmp_path / "dtms.toml")
    assert "cadence.cycle_s" not in result.origins


def test_the_file_under_the_working_directory_is_read_when_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "dtms.toml").write_text("[api]\nport = 9100\n")
    monkeypatch.chdir(tmp_path)
    assert loaded(tmp_path).settings.api.port == 9100


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("DTMS_API_HOST", "localhost", "api.host", "localhost"),
        ("DTMS_MODE", "observe", "mode", Mode.OBSERVE),
        ("DTMS_TERMINAL", "simulated", "terminal.kind", "simulated"),
        ("DTMS_LEDGER_URL", "sqlite:////x/y.db", "ledger.url", "sqlite:////x/y.db"),
        ("DTMS_MONITORING_INTERVAL", "15", "cadence.cycle_s", 15.0),
        ("DTMS_RETRY_COUNT", "7", "api.retry_count", 7),
        ("DTMS_TIMEOUT", "2.5", "api.timeout", 2.5),
        ("DTMS_RATE_LIMIT_ENABLED", "false", "api.rate_limit.enabled", False),
        ("DTMS_ENABLE_METRICS", "false", "metrics.enabled", False),
        ("DTMS_ENGINE__TIGHTEN_R", "0.4", "engine.tighten_r", 0.4),
        ("DTMS_ENGINE__RETRY_BACKOFF_S", "[1, 2]", "engine.retry_backoff_s", (1.0, 2.0)),
        ("DTMS_SIMULATOR__CLOCK", "60", "simulator.clock", 60.0),
        ("DTMS_SIMULATOR__ACCOUNT__MARGIN_MODE", "netting", "simulator.account.margin_mode", "netting"),
        ("DTMS_API__ALLOWED_HOSTS", "dtms.example", "api.allowed_hosts", ("dtms.example",)),
    ],
)
def test_every_short_and_nested_name_reaches_its_setting(
    tmp_path: Path, variable: str, value: str, name: str, expected: object
) -> None:
    result = loaded(tmp_path, env={variable: value})
    assert value_of(result.settings, name) == expected
    assert result.origins[name] == f"environment {variable}"
    assert result.warnings == ()


def test_an_empty_variable_chooses_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path, env={"DTMS_API_PORT": ""}).settings.api.port == 8001


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[api]\nprot = 1\n", "'api.prot'; did you mean 'api.port'?"),
        ("[engin]\ntighten_r = 1\n", "'engin'; did you mean 'engine'?"),
        ("[engine]\ntigthen_r = 1\n", "'engine.tigthen_r'; did you mean 'engine.tighten_r'?"),
        ("zzz = 1\n", "'zzz'; docs/reference/settings.md lists all"),
        ("[simulator.account]\ncurency = 'USD'\n", "did you mean 'simulator.account.currency'?"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest_known_one(tmp_path: Path, toml: str, named: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        loaded(tmp_path, toml)
    assert named in str(caught.value)
    assert "dtms.toml" in str(caught.value)


def test_an_unknown_variable_is_a_warning_that_names_the_nearest_known_one(tmp_path: Path) -> None:
    result = loaded(tmp_path, env={"DTMS_API_PROT": "1"})
    assert result.warnings == (
        "the environment variable DTMS_API_PROT is not a setting of DTMS; did you mean DTMS_API_PORT?",
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DTMS_API_PORT", "0"),
        ("DTMS_API_PORT", "http"),
        ("DTMS_MONITORING_INTERVAL", "301"),
        ("DTMS_MODE", "attack"),
        ("DTMS_TERMINAL", "mt6"),
        ("DTMS_SIMULATOR__CLOCK", "-1"),
        ("DTMS_SIMULATOR__CLOCK", "nan"),
        ("DTMS_API__TOKENS", '[{"sha256": "00", "scopes": ["read"]}]'),
        ("DTMS_API__ALLOWED_HOSTS", '["a", '),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_variable_and_a_remedy(
    tmp_path: Path, variable: str, value: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        loaded(tmp_path, env={variable: value})
    assert variable in str(caught.value)
    assert "Try: " in str(caught.value)


def test_a_file_that_is_missing_or_no_toml_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        loaded(tmp_path, "port = = 1")
    with pytest.raises(Misconfigured, match=r"missing\.toml"):
        load(environ={"DTMS_CONFIG": str(tmp_path / "missing.toml")}, mt5_importable=False)


def test_a_real_terminal_only_observes_until_told_otherwise(tmp_path: Path) -> None:
    environ = {"DTMS_TERMINAL": "mt5", "DTMS_STATE_DIR": str(tmp_path)}
    assert load(environ=environ, mt5_importable=True).settings.mode is Mode.OBSERVE
    assert load({"mode": "protect"}, environ=environ, mt5_importable=True).settings.mode is Mode.PROTECT


def test_where_metatrader5_can_be_imported_the_terminal_must_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="must be chosen"):
        load(environ={"DTMS_STATE_DIR": str(tmp_path)}, mt5_importable=True)
    chosen = load({"terminal.kind": "simulated"}, environ={"DTMS_STATE_DIR": str(tmp_path)}, mt5_importable=True)
    assert chosen.settings.terminal.kind == "simulated"


def test_the_real_terminal_without_its_package_is_an_error_and_never_the_simulator(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="MetaTrader5 package is not installed"):
        loaded(tmp_path, env={"DTMS_TERMINAL": "mt5"})


def test_a_terminal_program_or_bar_file_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"simulator\.market: .*nowhere\.csv does not exist"):
        loaded(tmp_path, env={"DTMS_SIMULATOR__MARKET": str(tmp_path / "nowhere.csv")})
    with pytest.raises(Misconfigured, match=r"terminal\.path: .*nowhere\.exe does not exist"):
        load(
            {"terminal.kind": "mt5", "terminal.path": str(tmp_path / "nowhere.exe")},
            environ={"DTMS_STATE_DIR": str(tmp_path)},
            mt5_importable=True,
        )


def test_listening_beyond_this_machine_needs_a_token(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="only with a token"):
        loaded(tmp_path, env={"DTMS_API_HOST": "0.0.0.0"})
    settings = loaded(tmp_path, env={"DTMS_API_HOST": "0.0.0.0", "DTMS_API_TOKEN": "open sesame, please"}).settings
    assert settings.api.host == "0.0.0.0"


def test_the_token_of_the_environment_counts_as_one_with_all_scopes_and_is_never_printed(tmp_path: Path) -> None:
    settings = loaded(tmp_path, env={"DTMS_API_TOKEN": "canary-5417-long-enough"}).settings
    (token,) = settings.tokens
    assert token.sha256 == hashlib.sha256(b"canary-5417-long-enough").hexdigest()
    assert set(token.scopes) == {"read", "register", "control"}
    assert "canary-5417-long-enough" not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize("token", ["", "fifteen letters"])
def test_a_token_that_can_be_guessed_is_refused_and_not_repeated(tmp_path: Path, token: str) -> None:
    with pytest.raises(Misconfigured, match=r"api\.token .*at least 16") as caught:
        loaded(tmp_path, f'[api]\nhost = "0.0.0.0"\ntoken = "{token}"\n')
    assert not token or token not in str(caught.value)


def test_an_empty_variable_for_the_token_means_that_there_is_none(tmp_path: Path) -> None:
    assert loaded(tmp_path, env={"DTMS_API_TOKEN": ""}).settings.tokens == ()


def test_a_rejected_secret_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        loaded(tmp_path, '[api]\ntokens = [{ sha256 = "canary-5417-long-enough", scopes = ["read"] }]\n')
    assert "canary-5417-long-enough" not in str(caught.value)


def test_dates_without_a_zone_are_utc(tmp_path: Path) -> None:
    for text in ("2022-01-21T00:00:00", "2022-01-21T00:00:00Z", "2022-01-21T02:00:00+02:00"):
        start = loaded(tmp_path, f"[simulator]\nstart = {text}\n").settings.simulator.start
        assert start is not None
        assert start.isoformat() == "2022-01-21T00:00:00+00:00"


def test_the_clock_is_live_or_a_factor_or_stepped(tmp_path: Path) -> None:
    factors = [
        loaded(tmp_path, env={"DTMS_SIMULATOR__CLOCK": text}).settings.simulator.factor
        for text in ("live", "60", "stepped")
    ]
    assert factors == [1.0, 60.0, None]


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = loaded(tmp_path).settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.mode = Mode.OBSERVE


def test_every_setting_has_one_name_and_the_tree_holds_its_value(tmp_path: Path) -> None:
    names = [leaf.name for leaf in leaves()]
    assert len(names) == len(set(names))
    settings: Settings = loaded(tmp_path).settings
    for name in names:
        value_of(settings, name)


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("DTMS_LEDGER_URL", "postgresql://db/dtms", "ledger.url: postgresql is not supported"),
        ("DTMS_LEDGER_URL", "nonsense", "ledger.url: nonsense is not supported"),
        ("DTMS_API_HOST", "999.1.1.1", "api.host: 999.1.1.1 is no address"),
        ("DTMS_API__ALLOWED_HOSTS", "*.example", "api.allowed_hosts: * stands for nothing"),
        ("DTMS_API__ALLOWED_ORIGINS", "*", "api.allowed_origins: * stands for nothing"),
        ("DTMS_ALERTS__DEADMAN__URL", "https://a:99999/", "alerts.deadman.url"),
    ],
)
def test_an_address_that_can_never_work_is_refused_by_its_name(
    tmp_path: Path, variable: str, value: str, named: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        loaded(tmp_path, env={variable: value, "DTMS_API_TOKEN": "sixteen letters!"})
    assert named in str(caught.value)
    assert "Try: " in str(caught.value)
