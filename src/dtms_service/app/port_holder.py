"""Who listens on a port? What it says of itself, and what the operating system knows about it.

Standard library only: the start script, which runs before anything is installed, reads this module too.

The Windows and macOS branches read documented output of ``netstat``, ``tasklist`` and ``lsof``; tests read samples of
it, no such machine has run them yet.
"""

from __future__ import annotations

import contextlib
import csv
import http.client
import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ASK_S = 0.5
"""How long whoever holds the port may take to say who it is."""
_TOOL_S = 5.0
"""How long a tool of the operating system may take."""
_LISTENS = "0A"
"""State of a listening socket in ``/proc/net/tcp``."""
_SERVICE = "dtms"


@dataclass(frozen=True, slots=True)
class Holder:
    """The process behind a port, as far as this user may see."""

    pid: int
    program: str


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who answers on a port. ``kind``: ``nobody``, ``dtms``, ``web`` (HTTP, but not DTMS) or ``other``."""

    kind: str
    name: str = ""
    """The instance id of a DTMS; what a web service calls itself."""
    holder: Holder | None = None

    def __str__(self) -> str:
        """As a part of a sentence: ``port N is taken by …``."""
        process = f", process {self.holder.pid} ({self.holder.program})" if self.holder is not None else ""
        if self.kind == "dtms":
            return f"another DTMS (instance {self.name}){process}"
        if self.kind == "web":
            named = f" ({self.name})" if self.name else ""
            return f"another web service{named}{process}"
        return f"another program{process}"


def speaker(host: str, port: int) -> Speaker:
    """Ask whoever listens there. Never raises for what it hears."""
    try:
        socket.create_connection((host, port), _ASK_S).close()
    except OSError:
        return Speaker("nobody", holder=holder(port))  # it may listen on another address of this machine
    kind, name = _said(host, port)
    return Speaker(kind, name, holder(port))


def holder(port: int) -> Holder | None:
    """The process that listens on ``port``; None where this user may not see it."""
    if sys.platform == "win32":
        pid = windows_pid(_printed("netstat", "-ano", "-p", "TCP"), port)
        return None if pid is None else Holder(pid, windows_program(_printed(*_tasklist(pid))) or "?")
    if sys.platform == "darwin":
        return macos_holder(_printed("lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"))
    return _linux_holder(port)


def windows_pid(netstat: str, port: int) -> int | None:
    """The pid in ``netstat -ano``; a listener is known by its foreign address, for the word is translated."""
    for line in netstat.splitlines():
        parts = line.split()
        if len(parts) >= 5 and parts[1].endswith(f":{port}") and parts[2] in {"0.0.0.0:0", "[::]:0"}:
            return int(parts[-1]) if parts[-1].isdigit() else None
    return None


def windows_program(tasklist: str) -> str | None:
    """The image name in ``tasklist /FO CSV /NH``."""
    rows = [row for row in csv.reader(tasklist.splitlines()) if len(row) > 1]
    return rows[0][0] if rows else None


def macos_holder(lsof: str) -> Holder | None:
    """The process in ``lsof -Fpc``: a line ``p<pid>``, then a line ``c<command>``."""
    fields = {line[:1]: line[1:] for line in lsof.splitlines() if line}
    return Holder(int(fields["p"]), fields.get("c", "?")) if fields.get("p", "").isdigit() else None


def _said(host: str, port: int) -> tuple[str, str]:
    connection = http.client.HTTPConnection(host, port, timeout=_ASK_S)
    try:
        connection.request("GET", "/health/live")
        answer = connection.getresponse()
        server, body = answer.getheader("Server") or "", answer.read(4096)
    except (OSError, http.client.HTTPException, ValueError):
        return "other", ""
    finally:
        connection.close()
    with contextlib.suppress(ValueError):
        told = json.loads(body)
        if isinstance(told, dict) and told.get("service") == _SERVICE:
            return "dtms", str(told.get("instance_id", "?"))
        if isinstance(told, dict) and isinstance(told.get("service"), str):
            return "web", told["service"][:60]
    return "web", server[:60]


def _linux_holder(port: int) -> Holder | None:
    tables = [Path("/proc/net", name) for name in ("tcp", "tcp6")]
    sockets = {f"socket:[{inode}]" for table in tables for inode in _listening_inodes(table, port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = list((process / "fd").iterdir())
            command = (process / "cmdline").read_bytes()
        except OSError:  # another user's, or gone meanwhile
            continue
        if any(_target(link) in sockets for link in links):
            return Holder(int(process.name), command.replace(b"\0", b" ").decode("utf-8", "replace").strip()[:120])
    return None


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


def _listening_inodes(table: Path, port: int) -> list[str]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except (OSError, ValueError):
        return []
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port]


def _tasklist(pid: int) -> tuple[str, ...]:
    return ("tasklist", "/FI", f"PID eq {pid}", "/FO", "CSV", "/NH")


def _printed(*command: str) -> str:
    """What a tool of the operating system prints; nothing when it does not exist or does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TOOL_S, check=False).stdout  # noqa: S603 - a literal command and a number
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
