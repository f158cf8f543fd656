"""What is well here, and what is not? The checks of ``dtms doctor`` that need no running service."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

from dtms_client.spool import NEW, REJECTED, entries
from dtms_service import private
from dtms_service.app.build import clock_of, gateway_of, link_of
from dtms_service.app.keeping import marker, remedy_of
from dtms_service.app.port_holder import Speaker, speaker
from dtms_service.clock import SystemClock
from dtms_service.domain.errors import Invalid, StorageBusy, StorageFailed
from dtms_service.domain.outcome import Done
from dtms_service.ledger import copies, database
from dtms_service.lock import NAME, holder, is_held
from dtms_service.settings.tree import Settings, is_loopback

MIB = 1024 * 1024
LITTLE, TOO_LITTLE = 1024 * MIB, 64 * MIB
"""Free bytes that are worth a warning, and with which no start is sensible: ledger, log and one backup need them."""
OLD_S = 120.0
"""Age of a registration in the outbox from which it is worth a warning, as for the service's own alert."""


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to try where it is not well."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""


OK, WARN, FAIL = Verdict


def environment() -> Finding:
    """Which program on which machine."""
    own = "an environment of its own" if sys.prefix != sys.base_prefix else "the system's Python"
    about = f"DTMS {version('dtms')}, Python {platform.python_version()} in {own}, {platform.system()}"
    return Finding("environment", OK, f"{about} {platform.release()}")


def examined(settings: Settings) -> Iterator[Finding]:
    """Everything that these settings name, on this machine."""
    yield folder(settings)
    yield disk(settings)
    held = is_held(settings.state_dir / NAME)
    yield lock(settings, held=held)
    yield port(settings, held=held)
    yield from ledger(settings, held=held)
    for place in settings.spool.folders:
        yield outbox(place, SystemClock().now())


def folder(settings: Settings) -> Finding:
    """Whether this user may keep anything there."""
    place = _existing(settings.state_dir)
    if not os.access(place, os.W_OK):
        remedy = "set DTMS_STATE_DIR to a folder of yours"
        return Finding("state folder", FAIL, f"{place} cannot be written", remedy)
    if why := private.exposed(settings.state_dir):
        return Finding("state folder", FAIL, why, f"chmod 700 {settings.state_dir}, as its owner")
    made = "" if place == settings.state_dir else ", made at the first start"
    return Finding("state folder", OK, f"{settings.state_dir}{made}")


def disk(settings: Settings) -> Finding:
    """Whether there is room."""
    free = shutil.disk_usage(_existing(settings.state_dir)).free
    verdict = FAIL if free < TOO_LITTLE else WARN if free < LITTLE else OK
    remedy = "" if verdict is OK else "make room, or move DTMS_STATE_DIR to another disk"
    return Finding("disk", verdict, f"{free // MIB} MiB free", remedy)


def lock(settings: Settings, *, held: bool) -> Finding:
    """Who is the authority of this state folder."""
    if not held:
        return Finding("lock", OK, "free: nobody serves this state folder")
    pid = holder(settings.state_dir / NAME)
    return Finding("lock", OK, f"held by process {pid or '?'}, which serves this state folder")


def port(settings: Settings, *, held: bool) -> Finding:
    """Who answers where these settings put the service."""
    host, number = settings.api.host, settings.api.port
    found = speaker("127.0.0.1" if is_loopback(host) or host in {"0.0.0.0", "::"} else host, number)  # noqa: S104 - compared, not bound
    return port_finding(found, f"port {number}", held=held, pid=holder(settings.state_dir / NAME) if held else None)


def port_finding(found: Speaker, where: str, *, held: bool, pid: int | None = None) -> Finding:
    """What a speaker on our port means. ``pid``: the process that serves this state folder."""
    if found.kind == "dtms" and held:
        return Finding("port", OK, f"{where}: DTMS, instance {found.name}")
    if found.kind == "other" and pid is not None and found.holder is not None and found.holder.pid == pid:
        remedy = f"look at its log: it ends itself when it stays stuck; else stop process {pid} and start it again"
        return Finding("port", FAIL, f"{where}: DTMS, process {pid}, does not answer", remedy)
    if found.kind == "nobody" and held:
        remedy = "wait, it may be starting; else compare its --port and DTMS_API_PORT, and look at its log"
        return Finding("port", FAIL, f"{where}: nobody listens, although this state folder is served", remedy)
    if found.kind == "nobody":
        return Finding("port", WARN, f"{where}: free, DTMS does not run", "dtms serve")
    if found.kind == "dtms":
        remedy = "set DTMS_STATE_DIR to its folder, or choose another port for this one"
        return Finding("port", WARN, f"{where}: {found}, with another state folder", remedy)
    remedy = "stop it, or set DTMS_API_PORT to another port for the service and for every client"
    return Finding("port", FAIL, f"{where} is taken by {found}", remedy)


def ledger(settings: Settings, *, held: bool) -> Iterator[Finding]:
    """Whether the record is sound, whose account it is, and how far the broker's clock is ahead."""
    try:
        path = database.path_of(settings.ledger.url)
        if not path.exists() and not marker(settings).exists():
            yield Finding("ledger", OK, f"{path}: none yet, the first start makes it")
            return
        found = copies.verify(path, marker(settings))
        facts = copies.facts(path)
        open_trades = 0 if held else copies.open_trades(path)
    except StorageBusy as error:
        yield Finding("ledger", WARN, error.detail, "again in a moment; find the program that holds it")
    except StorageFailed as error:
        remedy = remedy_of(error, "dtms db restore FILE with a backup that dtms db verify FILE finds sound")
        yield Finding("ledger", FAIL, error.detail, remedy)
    else:
        yield Finding("ledger", OK, f"{found.path}: sound, {found.trades} trades, {found.commits} commits")
        if open_trades:
            detail = f"DTMS does not run, and {open_trades} trades of this ledger are open: nobody looks after them"
            yield Finding("open trades", FAIL, detail, "dtms serve")
        yield from _remembered(facts)


def _remembered(facts: Mapping[str, str]) -> Iterator[Finding]:
    """What the ledger has pinned: the account (R45), and the offset that a closed market cannot show."""
    if account := facts.get("account"):
        yield Finding("pinned account", OK, account)
    if offset := facts.get("broker_offset"):
        yield Finding("clock offset", OK, f"the broker's clock was measured {float(offset) / 3600:+g} h from UTC")


def outbox(place: Path, now: float) -> Finding:
    """Whether registrations wait. ``now``: UTC seconds."""
    try:
        waiting, rejected = entries(place, NEW), entries(place, REJECTED)
    except OSError as error:
        return Finding("outbox", FAIL, f"{place} cannot be read: {error}", "the folder's permissions (DTMS_SPOOL_DIR)")
    if why := private.exposed(place):
        return Finding("outbox", FAIL, why, f"chmod 700 {place}, as its owner")
    if rejected:
        detail = f"{place}: {len(rejected)} registrations were rejected"
        return Finding("outbox", WARN, detail, "dtms-client outbox list, then outbox retry")
    if not waiting:
        return Finding("outbox", OK, f"{place}: nothing waits")
    age = now - min(entry.created_wall for entry in waiting)
    detail = f"{place}: {len(waiting)} registrations wait, the oldest since {age:.0f} s"
    verdict = WARN if age > OLD_S else OK
    return Finding("outbox", verdict, detail, "start DTMS: dtms serve" if verdict is WARN else "")


async def terminal(settings: Settings) -> Finding:
    """Attach to the terminal once, in a child process of our own, and let it go again. Sends nothing."""
    gateway = gateway_of(settings, link_of(settings), clock_of(settings))
    try:
        found = await gateway.connect()
    except Invalid as error:
        return Finding("terminal", FAIL, error.detail, "dtms config show")
    finally:
        await gateway.close()
    if not isinstance(found, Done):
        remedy = "start the terminal and log in; terminal.path, terminal.login and terminal.server"
        return Finding("terminal", FAIL, found.detail, remedy)
    account = found.value
    offset = gateway.broker_offset
    clock = "not measured yet" if offset is None else f"{offset / 3600:+g} h from UTC"
    return Finding("terminal", OK, f"account {account.login}@{account.server}; the broker's clock: {clock}")


def _existing(place: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next((parent for parent in (place, *place.parents) if parent.exists()), Path(place.anchor or "."))
