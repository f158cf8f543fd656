"""What is started, in which order, and how is it known to be ready? Reads ``config/services.toml``; starts nothing."""

from __future__ import annotations

import ast
import difflib
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "config" / "services.toml"
PLACES = ROOT / "src" / "dtms_client" / "places.py"
"""Where the default host and port are written, once for all."""

PROBES = ("dtms", "http", "tcp", "alive")
_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "command": list,
    "folder": str,
    "probe": str,
    "url": str,
    "says": str,
    "port": int,
    "ready_s": (int, float),
    "stop_s": (int, float),
    "alive_s": (int, float),
    "environment": dict,
    "optional": bool,
}
_READY_S = {"dtms": 300.0}
"""The first start of DTMS installs it; everything else has a minute."""


class Wrong(Exception):
    """The file says something that cannot be done; the sentence says what, where, and what to try."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How a service is known to be ready.

    ``dtms`` says so itself, ``http`` answers 200, ``tcp`` takes a connection, ``alive`` has run for ``alive_s`` s.
    """

    kind: str
    url: str = ""
    host: str = "127.0.0.1"
    port: int | None = None
    says: str = ""
    """Text that the answer must hold, so that another web service is not taken for this one."""
    alive_s: float = 3.0

    def __str__(self) -> str:
        if self.kind == "dtms":
            return f"DTMS says ready on port {self.port}"
        if self.kind == "http":
            return f"{self.url} answers 200" + (f" with {self.says!r}" if self.says else "")
        return f"port {self.port} takes connections" if self.kind == "tcp" else f"it lives for {self.alive_s:g} s"


@dataclass(frozen=True, slots=True)
class Service:
    """One program. ``ready_s``, ``stop_s``: how long it may take to get ready and to end."""

    name: str
    command: tuple[str, ...]
    folder: Path
    probe: Probe
    ready_s: float = 60.0
    stop_s: float = 15.0
    environment: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False
    """Its failure is said, and the others are started all the same."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything, in the order of starting. ``shared``: variables that every service gets, so that all agree."""

    services: tuple[Service, ...]
    logs: Path
    shared: Mapping[str, str]


def read(file: Path, environ: Mapping[str, str]) -> Plan:
    """Read and check the whole file. Raises `Wrong`."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Wrong(f"{file} cannot be read: {error}. Try: --config FILE, or correct it") from error
    _known(table, {"service": list, "logs": str}, f"{file}")
    host, port = _where(environ)
    folder = file.resolve().parent.parent
    services = tuple(_services(table.get("service", []), folder, host, port))
    if not services or services[0].probe.kind != "dtms":
        raise Wrong(f'{file}: the first [[service]] must be DTMS. Try: probe = "dtms" in it, before all others')
    names = [service.name for service in services]
    if twice := {name for name in names if names.count(name) > 1}:
        raise Wrong(f"{file}: {', '.join(sorted(twice))} is there twice. Try: another name")
    shared = {"DTMS_API_PORT": str(port)} if "DTMS_API_URL" not in environ else {}
    return Plan(services, folder / table.get("logs", "logs"), shared)


def _services(tables: Sequence[Any], folder: Path, host: str, port: int) -> Iterator[Service]:
    for number, table in enumerate(tables, 1):
        where = f"service {number} ({table.get('name', 'without a name') if isinstance(table, dict) else table})"
        if not isinstance(table, dict):
            raise Wrong(f"{where} is no table. Try: [[service]]")
        _known(table, _KEYS, where)
        missing = [key for key in ("name", "command", "probe") if not table.get(key)]
        if missing:
            raise Wrong(f"{where}: {', '.join(missing)} is missing. Try: docs/howto/start-order.md has examples")
        place = (folder / table.get("folder", ".")).resolve()
        probe = _probe(table, where, host, port)
        yield Service(
            name=table["name"],
            command=_command(table["command"], place, where),
            folder=place,
            probe=probe,
            ready_s=float(table.get("ready_s", _READY_S.get(probe.kind, 60.0))),
            stop_s=float(table.get("stop_s", 30.0 if probe.kind == "dtms" else 15.0)),
            environment={name: str(value) for name, value in table.get("environment", {}).items()},
            optional=table.get("optional", False),
        )


def _probe(table: Mapping[str, Any], where: str, host: str, port: int) -> Probe:
    kind = table["probe"]
    if kind not in PROBES:
        raise Wrong(f"{where}: probe = {kind!r} is none of {', '.join(PROBES)}. Try: one of them")
    if kind == "dtms":
        return Probe(kind, host=host, port=port)
    if kind == "http":
        url = urlsplit(table.get("url", ""))
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise Wrong(f'{where}: probe = "http" needs an address. Try: url = "http://127.0.0.1:PORT/health"')
        at = url.port or (443 if url.scheme == "https" else 80)
        return Probe(kind, url=url.geturl(), host=url.hostname, port=at, says=table.get("says", ""))
    if kind == "tcp":
        if not 1 <= table.get("port", 0) <= 65535:
            raise Wrong(f'{where}: probe = "tcp" needs a port. Try: port = PORT')
        return Probe(kind, port=table["port"])
    return Probe(kind, alive_s=float(table.get("alive_s", 3.0)))


def _command(parts: Sequence[Any], folder: Path, where: str) -> tuple[str, ...]:
    """The command with its program found: ``{python}`` is the Python that runs this script."""
    words = [str(part).replace("{python}", sys.executable) for part in parts]
    if not folder.is_dir():
        raise Wrong(f'{where}: the folder {folder} does not exist. Try: folder = "…", relative to the project')
    beside = folder / words[0]
    found = str(beside) if beside.is_file() else shutil.which(words[0])
    if found is None:
        raise Wrong(
            f"{where}: there is no program {words[0]!r}, neither in {folder} nor on the PATH. Try: its full path"
        )
    if words[0] == sys.executable and len(words) > 1 and words[1].endswith(".py") and not (folder / words[1]).is_file():
        raise Wrong(f'{where}: there is no {words[1]} in {folder}. Try: folder = "…", or its full path')
    return (found, *words[1:])


def _known(table: Mapping[str, Any], keys: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    for key, value in table.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            raise Wrong(f"{where}: unknown key {key!r}. Try: {near[0] if near else ', '.join(keys)}")
        if not isinstance(value, keys[key]) or (isinstance(value, bool) and keys[key] is not bool):
            raise Wrong(f"{where}: {key} = {value!r} is of the wrong kind. Try: docs/howto/start-order.md has examples")


def _where(environ: Mapping[str, str]) -> tuple[str, int]:
    """Host to ask and port of DTMS: environment, then the settings file of DTMS, then its default."""
    named = environ.get("DTMS_CONFIG")
    file = Path(named).expanduser() if named else ROOT / "config" / "dtms.toml"
    try:
        api = tomllib.loads(file.read_text(encoding="utf-8")).get("api", {}) if named or file.is_file() else {}
    except (OSError, ValueError) as error:
        raise Wrong(f"{file} cannot be read: {error}. Try: dtms config check") from error
    defaults = _defaults()
    host = str(environ.get("DTMS_API_HOST") or api.get("host") or defaults["HOST"])
    text = str(environ.get("DTMS_API_PORT") or api.get("port") or defaults["PORT"])
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise Wrong(f"DTMS_API_PORT={text} is no port. Try: a number from 1 to 65535")
    return ("127.0.0.1" if host in {"0.0.0.0", "::", "localhost"} else host), int(text)  # noqa: S104 -- replaced, not bound


def _defaults() -> dict[str, Any]:
    """``HOST`` and ``PORT`` as the client has them, read without importing what is not installed yet."""
    found: dict[str, Any] = {}
    for node in ast.parse(PLACES.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            found |= {target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)}
    return found
