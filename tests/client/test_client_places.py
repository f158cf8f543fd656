from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dtms_client import places
from dtms_client.errors import BadSetting


def test_without_any_setting_dtms_lives_on_loopback_port_8001() -> None:
    assert places.read({"HOME": "/home/me"}).url == "http://127.0.0.1:8001"


def test_host_and_port_come_from_the_environment() -> None:
    assert places.read({"DTMS_API_HOST": "10.0.0.5", "DTMS_API_PORT": "9000"}).url == "http://10.0.0.5:9000"


def test_the_url_wins_over_host_and_port() -> None:
    env = {"DTMS_API_URL": "https://dtms.example/base/", "DTMS_API_PORT": "9000"}
    assert places.read(env).url == "https://dtms.example/base"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8001"),
        ("::", "http://[::1]:8001"),
        ("::1", "http://[::1]:8001"),
    ],
)
def test_a_listening_address_becomes_one_that_can_be_dialled(host: str, url: str) -> None:
    assert places.read({"DTMS_API_HOST": host}).url == url


def test_the_toml_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "dtms.toml"
    file.write_text('state_dir = "/var/lib/dtms"\n[api]\nhost = "10.0.0.9"\nport = 8100\n', encoding="utf-8")
    said = places.read({"DTMS_CONFIG": str(file)})
    assert said.url == "http://10.0.0.9:8100"
    assert said.spool_dir == Path("/var/lib/dtms/outbox")
    assert places.read({"DTMS_CONFIG": str(file), "DTMS_API_PORT": "8200"}).url == "http://10.0.0.9:8200"


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="the XDG rule is Linux's")
def test_the_state_folder_follows_the_platform() -> None:
    assert places.state_dir({"XDG_STATE_HOME": "/x/state"}) == Path("/x/state/dtms")
    assert places.state_dir({"XDG_STATE_HOME": "relative"}) == Path.home() / ".local/state/dtms"
    assert places.state_dir({}) == Path.home() / ".local/state/dtms"


def test_the_spool_is_inside_the_state_folder_unless_named() -> None:
    assert places.spool_dir({"DTMS_STATE_DIR": "/s"}) == Path("/s/outbox")
    assert places.spool_dir({"DTMS_STATE_DIR": "/s", "DTMS_SPOOL_DIR": "/other"}) == Path("/other")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DTMS_API_PORT", "eighty"),
        ("DTMS_API_PORT", "0"),
        ("DTMS_API_PORT", "70000"),
        ("DTMS_API_URL", "ftp://x"),
        ("DTMS_API_URL", "127.0.0.1:8001"),
        ("DTMS_API_URL", "http://u:p@host"),
        ("DTMS_API_URL", "http://host:99999"),
        ("DTMS_TIMEOUT", "0"),
        ("DTMS_TIMEOUT", "nan"),
        ("DTMS_RETRY_COUNT", "-1"),
        ("DTMS_CONFIG", "/does/not/exist.toml"),
    ],
)
def test_a_bad_value_is_an_error_that_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=name):
        places.read({name: value})


def test_a_broken_toml_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "dtms.toml"
    file.write_text("[api\n", encoding="utf-8")
    with pytest.raises(BadSetting, match=r"dtms\.toml"):
        places.read({"DTMS_CONFIG": str(file)})


def test_settings_are_read_at_each_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTMS_API_PORT", "8111")
    first = places.read()
    monkeypatch.setenv("DTMS_API_PORT", "8112")
    assert (first.url, places.read().url) == ("http://127.0.0.1:8111", "http://127.0.0.1:8112")


def test_the_token_does_not_show_in_a_printed_value() -> None:
    assert "secret" not in repr(places.read({"DTMS_API_TOKEN": "secret"}))


@pytest.mark.parametrize(
    ("url", "here"),
    [("http://127.0.0.1:1", True), ("http://[::1]:1", True), ("http://localhost", True), ("http://10.0.0.1", False)],
)
def test_loopback_is_recognised(url: str, here: bool) -> None:
    assert places.is_loopback(url) is here


def test_reading_takes_the_process_environment_by_default() -> None:
    assert places.read().url.endswith(os.environ["DTMS_API_PORT"])
