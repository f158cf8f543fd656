"""The service empties the callers' spool itself, so that a registration arrives although its caller died."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dtms_client.spool import REJECTED, Damaged, Entry, entries
from dtms_service import private
from dtms_service.api import spooled
from dtms_service.app.announcing import Folder, Moment, is_here
from dtms_service.clock import wall_clock
from dtms_service.domain.admission import Registration
from dtms_service.domain.errors import DtmsError, Invalid, NotAccepting, StorageBusy
from dtms_service.domain.unmanaged import Announcement
from dtms_service.engine.authority import Authority
from dtms_service.engine.registrar import Registered

log = logging.getLogger(__name__)

EVERY_S = 2.0
"""Seconds between two looks; a registration made while the service was down is in within 5 s of READY."""
AT_ONCE = 200
"""Files per look: one read at the terminal, one transaction."""
OLD_S = 120.0
"""Age of the oldest registration at which people are told."""
OLD, DAMAGED = "spool_old", "spool_damaged"


async def ingest(authority: Authority, intakes: Sequence[Intake]) -> None:
    """Empty the folders every two seconds, for ever. Raises ``StorageFailed``."""
    while True:
        await take_in(authority, intakes)
        await asyncio.sleep(EVERY_S)


async def take_in(authority: Authority, intakes: Sequence[Intake]) -> None:
    """One look at every folder. Raises ``StorageFailed``."""
    for intake in intakes:
        await intake.look()
    authority.unmanaged.announcements = [said for intake in intakes for said in intake.said]


@dataclass(slots=True)
class Intake:
    """The looks at one folder; ``said`` is what callers have announced there.

    ``port`` is this service's; ``wall`` the machine's clock as it is, by which clients date their files; ``steady``
    one that nobody sets; ``speed`` that of the engine's clock, as in `Moment`.
    """

    authority: Authority
    folder: Folder
    port: int
    speed: float | None
    wall: Callable[[], float] = wall_clock
    steady: Callable[[], float] = time.monotonic
    said: Sequence[Announcement] = ()
    _told: bool = field(default=False, init=False)
    _failures: int = field(default=0, init=False)
    _unusable_since: float = field(default=0.0, init=False)
    _oldest: tuple[str, float] = field(default=("", 0.0), init=False)
    """Name of the registration that waits longest, and when it was written by the steady clock."""

    async def look(self) -> None:
        """One look: what callers announced, what they registered, and whether something waits too long.

        Raises ``StorageFailed``.
        """
        authority, path = self.authority, self.folder.path
        try:
            report = authority.report()
            if report.account is not None:  # before that, the engine's clock may not show the simulator's date (R35)
                now = Moment(self.wall(), authority.now(), self.speed, authority.counts.started_at)
                self.said = await asyncio.to_thread(self.folder.read, self.port, authority.unmanaged.used, now)
            while authority.report().accepting and await _emptied(authority, path, self.port) == AT_ONCE:
                continue
            waits = await asyncio.to_thread(_waiting_longest, path, self.port)
        except OSError as error:  # the files stay; taking one in twice changes nothing
            await self._unusable(str(error))
            return
        self._failures = 0
        await self._tell(None if waits is None else self._age(waits))

    def _age(self, entry: Entry) -> float:
        """Seconds for which it has waited: by the machine's clock when it was seen first, which may jump later."""
        now = self.steady()
        if entry.path.name != self._oldest[0]:
            self._oldest = (entry.path.name, now - max(0.0, self.wall() - entry.created_wall))
        return now - self._oldest[1]

    async def _unusable(self, why: str) -> None:
        """A folder that cannot be read may hold a registration: it is told like one that waits as long."""
        now = self.steady()
        self._unusable_since = self._unusable_since if self._failures else now
        self._failures += 1
        if not self._failures & (self._failures - 1):  # 1, 2, 4, 8, …
            facts = {"folder": str(self.folder.path), "failures": self._failures, "why": why}
            log.warning("spool_unusable", extra=facts)
        await self._tell(now - self._unusable_since, f"{self.folder.path} cannot be used (spool_unusable): {why}")

    async def _tell(self, age_s: float | None, why: str = "") -> None:
        """The alert about a registration that is not taken in, once; and its end."""
        about, alerting = str(self.folder.path), self.authority.alerting
        try:
            if age_s is not None and age_s > OLD_S:
                if not self._told:
                    log.error("spool_old", extra={"folder": about, "age_s": round(age_s)})
                    waits = f"a registration in {about} waits for {age_s:.0f} s; the log says why it is not taken in"
                    detail = why or waits
                    await alerting.tell(OLD, detail, about=about)
                    self._told = True
                return
            if why:  # not yet for long
                return
            self._told = False
            if alerting.standing(OLD, about):
                await alerting.tell_over(OLD, f"nothing in {about} waits any more", about=about)
        except (NotAccepting, StorageBusy) as error:
            log.warning("alert_not_stored", extra={"code": OLD, "why": error.detail})


def _waiting_longest(folder: Path, port: int) -> Entry | None:
    """The oldest registration that is meant for this service; None when there is none."""
    for entry in entries(folder):
        try:
            url = entry.load().url
            if url is None or is_here(url, port):
                return entry
        except (FileNotFoundError, Damaged):
            continue
    return None  # any other OSError passes: what cannot be read may be a registration that waits


async def _emptied(authority: Authority, folder: Path, port: int) -> int:
    """Take in what lies in one folder; returns how many registrations were decided on."""
    waiting, damaged = await asyncio.to_thread(_read, folder, port)
    for name, why in damaged:
        await _tell_damaged(authority, folder, name, why)
    if not waiting:
        return 0
    try:
        answers = await authority.register([registration for _, registration in waiting])
    except (NotAccepting, StorageBusy) as error:
        log.warning("spool_waits", extra={"folder": str(folder), "files": len(waiting), "why": error.detail})
        return 0
    return await asyncio.to_thread(_settled, waiting, answers)


async def _tell_damaged(authority: Authority, folder: Path, name: str, why: str) -> None:
    log.error("spool_damaged", extra={"folder": str(folder), "file": name, "why": why})
    detail = f"{name} {why}; it was moved to {folder / REJECTED}, and its registration is not known"
    try:
        await authority.alerting.tell(DAMAGED, detail, about=name)
    except (NotAccepting, StorageBusy) as error:
        log.warning("alert_not_stored", extra={"code": DAMAGED, "why": error.detail})


def _settled(waiting: Sequence[tuple[Entry, Registration]], answers: Sequence[Registered | DtmsError]) -> int:
    """Remove what is committed, set aside what is refused; returns how many files are gone."""
    decided = 0
    for (entry, registration), answer in zip(waiting, answers, strict=True):
        if isinstance(answer, DtmsError):
            decided += _refuse(entry, answer)
        else:
            entry.remove()
            decided += 1
            log.info("spool_taken_in", extra={"ticket": registration.ticket, "outcome": answer.outcome})
    return decided


def _read(folder: Path, port: int) -> tuple[list[tuple[Entry, Registration]], list[tuple[str, str]]]:
    """What is meant for this service and makes sense, and the names of damaged files with what is wrong with each.

    What makes no sense is set aside with its reason; what cannot be read now stays.
    """
    good: list[tuple[Entry, Registration]] = []
    damaged: list[tuple[str, str]] = []
    for entry in entries(folder):
        try:
            item = entry.load(private.trusted())
            if item.url is None or is_here(item.url, port):
                good.append((entry, spooled.registration(item.body)))
        except FileNotFoundError:  # its own client delivered it meanwhile
            continue
        except Damaged as error:
            entry.reject({"code": "damaged", "detail": str(error)})
            damaged.append((entry.path.name, str(error)))
        except OSError as error:
            log.warning("spool_unread", extra={"file": str(entry.path), "why": str(error)})
        except Invalid as error:
            _refuse(entry, error)
        if len(good) == AT_ONCE:
            break
    return good, damaged


def _refuse(entry: Entry, error: DtmsError) -> bool:
    """Set a refused registration aside; one that may succeed later stays. True when it was set aside."""
    problem = spooled.refusal(error, entry.path.name)
    if problem is None:
        return False
    entry.reject(problem)
    log.warning("spool_refused", extra={"file": str(entry.path), "code": error.code, "why": error.detail})
    return True
