"""Where do the settings come from? Command line > environment > TOML file > defaults, each value with its origin.

An unknown TOML key is an error that names the nearest known one; an unknown ``DTMS_*`` variable is a warning, because
the environment is shared with other programs. Everything that is wrong is one `Misconfigured`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from dtms_client import places
from dtms_service.domain import bounds
from dtms_service.settings.files import CONFIG, named_file
from dtms_service.settings.tree import Leaf, Settings, folder, is_loopback, leaves

PREFIX = "DTMS_"

SHORT_NAMES: Mapping[str, str] = {
    "DTMS_API_HOST": "api.host",
    "DTMS_API_PORT": "api.port",
    "DTMS_API_TOKEN": "api.token",
    "DTMS_TIMEOUT": "api.timeout",
    "DTMS_RETRY_COUNT": "api.retry_count",
    "DTMS_RATE_LIMIT_ENABLED": "api.rate_limit.enabled",
    "DTMS_ENABLE_METRICS": "metrics.enabled",
    "DTMS_TERMINAL": "terminal.kind",
    "DTMS_LEDGER_URL": "ledger.url",
    "DTMS_MONITORING_INTERVAL": "cadence.cycle_s",
    "DTMS_SPOOL_DIR": "spool.folders",
}
"""Environment names beside the regular ones (``DTMS_`` and the dotted name with ``__`` for each dot)."""

OTHERS = frozenset({CONFIG, "DTMS_API_URL", "DTMS_MARKET_DATA"})
"""Variables of ours that are no settings of the service: the file itself, the client's address, the tests' data."""


class Misconfigured(Exception):
    """The configuration is wrong; the sentence says where, and what to try. The process ends with exit code 78."""


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where they came from."""

    settings: Settings
    origins: Mapping[str, str]
    """Dotted name -> `command line`, the environment variable, or the file; absent: default."""
    warnings: tuple[str, ...]


def load(
    chosen: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    mt5_importable: bool | None = None,
) -> Loaded:
    """Read all layers; ``chosen`` holds what the command line says, by dotted name. Raises `Misconfigured`.

    ``file`` is the command line's choice of file, ``environ`` and ``mt5_importable`` default to those of this machine.
    """
    env = os.environ if environ is None else environ
    real = importlib.util.find_spec("MetaTrader5") is not None if mt5_importable is None else mt5_importable
    found = file or named_file(env)
    flat, origins = _from_file(found) if found is not None else ({}, {})
    from_env, warnings = _from_environment(env)
    for name, (value, variable) in from_env.items():
        flat[name], origins[name] = value, f"environment {variable}"
    for name, value in (chosen or {}).items():
        flat[name], origins[name] = value, "command line"
    _fill(flat, env, real=real)
    settings = _validated(flat, origins)
    _check(settings, real=real)
    _check_alerts(settings)
    _check_engine(settings, origins)
    return Loaded(settings, origins, tuple(warnings))


def _from_file(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"the settings file {path} cannot be read: {error}. Try: correct it, or name another with --config"
        raise Misconfigured(message) from error
    known = [leaf.name for leaf in leaves()]
    groups = {name.rpartition(".")[0] for name in known} | {name.partition(".")[0] for name in known}
    flat = dict(_flattened(table, frozenset(groups)))
    for name in flat:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *groups - {""}], n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else "docs/reference/settings.md lists all"
            message = f"{path}: unknown setting {name!r}; {hint}"
            raise Misconfigured(message)
    return flat, dict.fromkeys(flat, str(path))


def _flattened(table: Mapping[str, Any], groups: frozenset[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict) and name in groups:
            yield from _flattened(value, groups, f"{name}.")
        else:
            yield name, value


def _from_environment(env: Mapping[str, str]) -> tuple[dict[str, tuple[Any, str]], list[str]]:
    tree = {leaf.name: leaf for leaf in leaves()}
    names = {PREFIX + name.upper().replace(".", "__"): name for name in tree}
    found: dict[str, tuple[Any, str]] = {}
    warnings = []
    for variable in sorted(name for name in env if name.startswith(PREFIX) and name not in OTHERS):
        name = names.get(variable) or SHORT_NAMES.get(variable)
        if name is None:
            near = difflib.get_close_matches(variable, [*names, *SHORT_NAMES], n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.append(f"the environment variable {variable} is not a setting of DTMS{hint}")
        elif env[variable]:
            found[name] = (_decoded(tree[name], env[variable], variable), variable)
    return found, warnings


def _decoded(leaf: Leaf, text: str, variable: str) -> Any:
    """A list is a JSON list or one bare value; everything else is text that the type turns into its value."""
    if get_origin(leaf.type) is not tuple:
        return text
    if not text.lstrip().startswith("["):
        return [text]
    try:
        return json.loads(text)
    except ValueError as error:
        message = f'{variable} is not a JSON list: {error}. Try: \'["a", "b"]\''
        raise Misconfigured(message) from error


def _fill(flat: dict[str, Any], env: Mapping[str, str], *, real: bool) -> None:
    """Defaults that depend on other settings or on the machine (`DERIVED`)."""
    if "terminal.kind" not in flat and real:
        message = (
            "MetaTrader5 is installed here, so the terminal must be chosen. "
            "Try: dtms serve --mt5, or dtms serve --simulated (terminal.kind, DTMS_TERMINAL)"
        )
        raise Misconfigured(message)
    if flat.get("terminal.kind") == "mt5":
        flat.setdefault("mode", "observe")
    without_file = {name: value for name, value in env.items() if name != CONFIG}
    state = folder(Path(flat.setdefault("state_dir", places.state_dir(without_file))))
    flat.setdefault("ledger.url", f"sqlite+aiosqlite:///{(state / 'dtms.db').as_posix()}")
    flat.setdefault("spool.folders", [state / places.OUTBOX])


def _validated(flat: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, last = name.split(".")
        table = nested
        for group in groups:
            table = table.setdefault(group, {})
        table[last] = value
    try:
        return Settings.model_validate(nested)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        name = max((n for n in flat if path == n or path.startswith(f"{n}.")), key=len, default=path)
        origin = origins.get(name, "default")
        message = f"{name} ({origin}): {first['msg']}. Try: docs/reference/settings.md says what it may be"
        raise Misconfigured(message) from error


def _check(settings: Settings, *, real: bool) -> None:
    """Rules over more than one setting, and files that must exist."""
    if settings.terminal.kind == "mt5" and not real:
        message = (
            "terminal.kind is mt5, but the MetaTrader5 package is not installed (it exists for Windows only). "
            "Try: pip install 'dtms[server,mt5]' on Windows, or dtms serve --simulated"
        )
        raise Misconfigured(message)
    path = settings.terminal.path
    if path is not None and settings.terminal.kind == "mt5" and not path.is_file():
        message = f"terminal.path: {path} does not exist. Try: the full path of terminal64.exe"
        raise Misconfigured(message)
    market = settings.simulator.market
    if market != "synthetic" and settings.terminal.kind == "simulated" and not Path(market).expanduser().exists():
        message = f"simulator.market: {market} does not exist. Try: synthetic, or a file or folder of bars"
        raise Misconfigured(message)
    _check_doors(settings)
    if not is_loopback(settings.api.host) and not settings.tokens:
        message = (
            f"api.host is {settings.api.host}: DTMS listens beyond this machine only with a token. "
            f"Try: set DTMS_API_TOKEN, or api.host = {places.HOST}"
        )
        raise Misconfigured(message)


def _check_doors(settings: Settings) -> None:
    """Addresses that could never be opened or would never match."""
    backend = settings.ledger.url.partition(":")[0].partition("+")[0]
    if backend != "sqlite":
        message = f"ledger.url: {backend} is not supported. Try: sqlite+aiosqlite:///path/to/dtms.db, or unset it"
        raise Misconfigured(message)
    host = settings.api.host
    if re.fullmatch(r"[\d.]+", host) and not _is_address(host):
        message = f"api.host: {host} is no address. Try: {places.HOST}, or an address of this machine"
        raise Misconfigured(message)
    for name in ("allowed_hosts", "allowed_origins"):
        if any("*" in entry for entry in getattr(settings.api, name)):
            message = f"api.{name}: * stands for nothing, names are compared exactly. Try: one entry for each name"
            raise Misconfigured(message)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _check_alerts(settings: Settings) -> None:
    webhook = settings.alerts.webhook
    if (webhook.url is None) != (webhook.secret is None):
        message = (
            "alerts.webhook needs both url and secret: every post is signed. "
            "Try: DTMS_ALERTS__WEBHOOK__URL and DTMS_ALERTS__WEBHOOK__SECRET"
        )
        raise Misconfigured(message)


def _check_engine(settings: Settings, origins: Mapping[str, str]) -> None:
    """The limits of the rules' numbers, and how they must lie to each other (``domain/bounds.py``)."""
    wrong = bounds.broken(settings.engine)
    if wrong is None:
        return
    names = [f"engine.{name}" for name in wrong.names]
    where = ", ".join(f"{name} ({origins.get(name, 'default')})" for name in names)
    message = f"{where}: {wrong.sentence}. Try: docs/reference/settings.md says what it may be"
    raise Misconfigured(message)
