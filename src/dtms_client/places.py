"""Where does DTMS live? The one place of its address and folders, for the client and for the service's settings.

Everything is read from the environment at each construction, never at import. Order: environment, then the TOML file
named by ``DTMS_CONFIG`` (its ``[api]`` table and ``state_dir``), then the defaults below.
"""

from __future__ import annotations

import ipaddress
import math
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dtms_client.errors import BadSetting

HOST = "127.0.0.1"
PORT = 8001
TIMEOUT_S = 5.0
"""Total seconds that one call may take, retries included."""
RETRY_COUNT = 3
"""Attempts of one call."""
OUTBOX = "outbox"
"""Name of the spool folder inside the state folder."""

_EVERYWHERE = {"0.0.0.0": HOST, "::": "::1", "": HOST}  # noqa: S104 - a listening address, replaced because nobody can dial it
_LOOPBACK_NAMES = frozenset({"localhost"})


@dataclass(frozen=True, slots=True)
class Places:
    """What a client needs to know to reach DTMS."""

    url: str
    spool_dir: Path
    token: str | None = field(default=None, repr=False)
    timeout_s: float = TIMEOUT_S
    retry_count: int = RETRY_COUNT


def read(environ: Mapping[str, str] | None = None) -> Places:
    """Read the settings of a client. Raises `BadSetting` naming the variable that cannot be used."""
    env = os.environ if environ is None else environ
    file = _file(env)
    api = file.get("api", {})
    if not isinstance(api, dict):
        raise BadSetting(f"[api] in {env['DTMS_CONFIG']} must be a table")
    return Places(
        url=_url(env, api),
        spool_dir=spool_dir(env),
        token=env.get("DTMS_API_TOKEN") or None,
        timeout_s=_seconds("DTMS_TIMEOUT", env.get("DTMS_TIMEOUT") or api.get("timeout", TIMEOUT_S)),
        retry_count=_count("DTMS_RETRY_COUNT", env.get("DTMS_RETRY_COUNT") or api.get("retry_count", RETRY_COUNT)),
    )


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of all DTMS keeps: ``DTMS_STATE_DIR``, else the platform's user state folder + ``dtms``."""
    env = os.environ if environ is None else environ
    chosen = env.get("DTMS_STATE_DIR") or _file(env).get("state_dir")
    if chosen:
        return Path(str(chosen)).expanduser()
    return user_state_dir(env) / "dtms"


def user_state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the platform's folder for state of this user; programs of all accounts and checkouts share it."""
    env = os.environ if environ is None else environ
    if sys.platform == "win32":
        local = env.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    state = env.get("XDG_STATE_HOME", "")
    return Path(state) if state.startswith("/") else Path.home() / ".local" / "state"


def spool_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of registrations that wait for delivery: ``DTMS_SPOOL_DIR``, else ``<state_dir>/outbox``."""
    env = os.environ if environ is None else environ
    chosen = env.get("DTMS_SPOOL_DIR")
    return Path(chosen).expanduser() if chosen else state_dir(env) / OUTBOX


def checked_url(url: str, name: str = "base_url") -> str:
    """Return ``url`` without its trailing slash. Raises `BadSetting` unless it is an http or https address."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        usable = usable and not (parts.username or parts.query or parts.fragment)
    except ValueError:  # brackets that do not match, a port that is no number
        usable = False
    if not usable:
        raise BadSetting(f"{name}={url!r} is not an address such as http://{HOST}:{PORT}")
    return url.strip().rstrip("/")


def is_loopback(url: str) -> bool:
    """Tell whether ``url`` names this machine."""
    host = urlsplit(url).hostname or ""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(env: Mapping[str, str], api: Mapping[str, Any]) -> str:
    given = env.get("DTMS_API_URL")
    if given:
        return checked_url(given, "DTMS_API_URL")
    host = str(env.get("DTMS_API_HOST") or api.get("host", HOST)).strip()
    port = _port(env.get("DTMS_API_PORT") or api.get("port", PORT))
    host = _EVERYWHERE.get(host, host).strip("[]")
    return checked_url(f"http://{f'[{host}]' if ':' in host else host}:{port}", "DTMS_API_HOST")


def _port(value: object) -> int:
    return _count("DTMS_API_PORT", value, highest=65535)


def _count(name: str, value: object, highest: int = 100) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if not 1 <= number <= highest:
        raise BadSetting(f"{name}={value!r} is not a whole number from 1 to {highest}")
    return number


def _seconds(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0 < number <= 300:
        raise BadSetting(f"{name}={value!r} is not a number of seconds above 0 and up to 300")
    return number


def _file(env: Mapping[str, str]) -> dict[str, Any]:
    name = env.get("DTMS_CONFIG")
    if not name:
        return {}
    try:
        return tomllib.loads(Path(name).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSetting(f"DTMS_CONFIG={name!r} cannot be read: {error}") from error
