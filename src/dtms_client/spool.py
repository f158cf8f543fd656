"""The outbox on disk: registrations that nobody has confirmed yet, one fsynced file each. Standard library only.

::

    <folder>/new/<utc_ns>-<pid>-<digest>.json             waits for delivery
    <folder>/rejected/<same name>                         DTMS said no, or the file is damaged: kept for people
    <folder>/rejected/<same stem>.problem.json            why
    <folder>/announced/<utc_ns>-<pid>-<digest>.json       an order that may be on its way: see `announce`

A file is ``{"v": 1, "created_wall": <UTC s>, "url": <address or null>, "body": {"ticket": …}, "digest": <sha256>}``.
``url`` is null for "wherever DTMS lives by the settings", else the address the caller named. Files of 0600 in folders
of 0700; symbolic links are never followed. Nothing here expires and nothing is dropped. Several programs may drain one
folder at the same time: registering is idempotent, and each of them copes with files that vanish.

For a drainer (client, command line, service)::

    for entry in entries(folder):
        try:
            item = entry.load()
        except Damaged as error:
            entry.reject({"code": "damaged", "detail": str(error)})
            continue
        ...deliver item.body...
        entry.remove()          # or entry.reject(problem document)
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dtms_client.clock import CLOCK, Clock
from dtms_client.errors import OutboxFull, OutboxUnavailable

VERSION = 1
NEW = "new"
REJECTED = "rejected"
ANNOUNCED = "announced"
FILE_MAX = 64 * 1024
"""Bytes; the service refuses larger bodies, too."""
FILES_MAX = 10_000
BYTES_MAX = 50 * 1024 * 1024
STALE_TMP_S = 60.0
"""A writer that has not renamed its file after this long is dead."""
_PROBLEM = ".problem.json"
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_BUSY_TRIES = 10
_BUSY_S = 0.02
"""Windows: a scanner may hold a file for a moment; ten tries of 20 ms outlast it."""


T = TypeVar("T")


class Damaged(ValueError):
    """A file that is not what a client wrote; the message says why."""


@dataclass(frozen=True, slots=True)
class Item:
    """What one file says. ``body``: ticket and the fields of a registration."""

    body: Mapping[str, Any]
    created_wall: float
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the outbox."""

    path: Path

    @property
    def created_wall(self) -> float:
        """UTC seconds at which it was written, from its name; 0 for a name that no client made."""
        head = self.path.name.split("-", 1)[0]
        return int(head) / 1e9 if head.isascii() and head.isdigit() else 0.0

    def load(self, owners: Collection[int] | None = None) -> Item:
        """Read and verify. ``owners``: numbers of the users who may have written it; None is anybody.

        Raises `Damaged`, ``FileNotFoundError`` when another drainer was faster, and any other ``OSError`` when it
        cannot be read now: what it says is not known, so it stays.
        """
        return _parse(_patiently(lambda: _read(self.path, owners)))

    def remove(self) -> None:
        """Delete: the registration is settled. Already gone is fine."""
        _patiently(lambda: self.path.unlink(missing_ok=True))

    def reject(self, problem: Mapping[str, Any]) -> Path | None:
        """Move to ``rejected/`` beside its reason. Returns the new path, None when another drainer was faster."""
        folder = self.path.parent.parent / REJECTED
        _refuse_link(self.path.parent)
        _folder(folder)
        reason = folder / f"{self.path.stem}{_PROBLEM}"
        if not self.path.exists():
            return None
        part = folder / f"{self.path.stem}-{os.getpid()}-{threading.get_ident()}.tmp"  # others may reject it, too
        part.write_text(json.dumps(dict(problem), default=str, indent=1), encoding="utf-8")
        _replace(part, reason)
        try:
            _replace(self.path, folder / self.path.name)
        except FileNotFoundError:
            return None
        return folder / self.path.name

    def retry(self) -> None:
        """Move a rejected file back to ``new/``."""
        _replace(self.path, self.path.parent.parent / NEW / self.path.name)
        self.path.with_name(f"{self.path.stem}{_PROBLEM}").unlink(missing_ok=True)

    def reason(self) -> Mapping[str, Any]:
        """Why it was rejected; empty when nobody wrote it down."""
        try:
            found = json.loads(_read(self.path.with_name(f"{self.path.stem}{_PROBLEM}")))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def entries(folder: Path, state: str = NEW) -> list[Entry]:
    """List the files of ``new``, ``rejected`` or ``announced``, oldest first; empty when the folder does not exist.

    Raises ``OSError`` when it exists and cannot be read, or is a link: such an outbox is not an empty one.
    """
    _refuse_link(folder / state)
    try:
        with os.scandir(folder / state) as found:
            names = sorted(
                entry.name for entry in found if entry.is_file(follow_symlinks=False) and _is_item(entry.name)
            )
    except FileNotFoundError:
        return []
    return [Entry(folder / state / name) for name in names]


def any_waiting(folder: Path) -> bool:
    """Tell whether at least one registration waits, at a cost that does not grow with their number.

    Raises ``OSError`` as `entries` does.
    """
    _refuse_link(folder / NEW)
    try:
        with os.scandir(folder / NEW) as found:
            return any(_is_item(entry.name) and entry.is_file(follow_symlinks=False) for entry in found)
    except FileNotFoundError:
        return False


class Spool:
    """The writing side of one outbox folder."""

    def __init__(self, folder: Path, clock: Clock = CLOCK) -> None:
        self.folder = folder
        self._clock = clock
        self._sizes: Mapping[str, int] = {}

    def write(self, body: Mapping[str, Any], url: str | None = None, state: str = NEW) -> Entry:
        """Store one registration (or announcement) durably, or find the same one already waiting.

        Costs two fsyncs (file, folder). Raises `OutboxUnavailable`, `OutboxFull`.
        """
        data, digest = _render(body, self._clock.wall_ns() / 1e9, url)
        if len(data) > FILE_MAX:
            raise OutboxUnavailable(f"the registration has {len(data)} bytes, more than {FILE_MAX}")
        try:
            _folder(self.folder)
            folder = self.folder / state
            _folder(folder)
            twin = self._room_for(folder, len(data), f"-{digest[:16]}.json")
            if twin is None:
                return self._commit(folder, data, digest)
            _sync_folder(twin.path.parent)  # its writer may not have come that far
        except OSError as error:
            raise OutboxUnavailable(f"cannot store a registration in {self.folder}: {error}") from error
        return twin

    def sweep(self) -> int:
        """Delete half-written files of dead writers (older than 60 s). Returns how many."""
        return sum(self._swept(self.folder / state) for state in (NEW, ANNOUNCED, REJECTED))

    def _swept(self, folder: Path) -> int:
        _refuse_link(folder)
        try:
            with os.scandir(folder) as found:
                stale = [entry for entry in found if entry.name.endswith(".tmp") and self._is_stale(entry)]
        except FileNotFoundError:
            return 0
        for entry in stale:
            Path(entry.path).unlink(missing_ok=True)
        return len(stale)

    def _is_stale(self, entry: os.DirEntry[str]) -> bool:
        try:
            changed = entry.stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return False
        return self._clock.wall_ns() / 1e9 - changed > STALE_TMP_S

    def _room_for(self, folder: Path, size: int, ending: str) -> Entry | None:
        names = [name for name in os.listdir(folder) if _is_item(name)]  # noqa: PTH208 - names alone: this is the hot path
        for name in names:
            if name.endswith(ending):
                return Entry(folder / name)
        if len(names) >= FILES_MAX:
            raise OutboxFull(f"{self.folder} holds {len(names)} registrations, the most it may")
        if (len(names) + 1) * FILE_MAX > BYTES_MAX:  # below that, the sum cannot be too large: spare the stats
            total = size + self._bytes(folder, names)
            if total > BYTES_MAX:
                raise OutboxFull(f"{self.folder} holds {total} bytes, more than {BYTES_MAX}")
        return None

    def _bytes(self, folder: Path, names: Iterable[str]) -> int:
        """What these files hold. They never change, so each is looked at once."""
        known = self._sizes
        self._sizes = {name: known[name] if name in known else _size(folder / name) for name in names}
        return sum(self._sizes.values())

    def _commit(self, folder: Path, data: bytes, digest: str) -> Entry:
        handle, tmp = self._open_new(folder, digest)
        path = tmp.with_suffix(".json")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _replace(tmp, path)
        except BaseException:
            tmp.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return Entry(path)

    def _open_new(self, folder: Path, digest: str) -> tuple[int, Path]:
        moment = self._clock.wall_ns()
        while True:
            tmp = folder / f"{moment:020d}-{os.getpid()}-{digest[:16]}.tmp"
            try:
                return os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o600), tmp
            except FileExistsError:  # two threads, one registration, one reading of a coarse clock
                moment += 1


def _is_item(name: str) -> bool:
    return name.endswith(".json") and not name.endswith(_PROBLEM) and not name.startswith(".")


def _render(body: Mapping[str, Any], created: float, url: str | None) -> tuple[bytes, str]:
    """Return the file's bytes and the digest of what is registered where: equal digests mean equal registrations."""
    digest = _digest(body, url)
    file = {"v": VERSION, "created_wall": created, "url": url, "body": dict(body), "digest": digest}
    return json.dumps(file, sort_keys=True, allow_nan=False).encode(), digest


def _digest(body: Mapping[str, Any], url: str | None) -> str:
    whole = json.dumps({"body": dict(body), "url": url}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(whole.encode()).hexdigest()


def _parse(raw: bytes) -> Item:
    if len(raw) > FILE_MAX:
        raise Damaged(f"has more than {FILE_MAX} bytes")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"is not JSON: {error}") from error
    if not isinstance(found, dict) or found.get("v") != VERSION:
        raise Damaged(f"is not of version {VERSION}")
    body, url, created = found.get("body"), found.get("url"), found.get("created_wall")
    if not isinstance(body, dict) or not (url is None or isinstance(url, str)) or not isinstance(created, (int, float)):
        raise Damaged("lacks a body, an address or a time")
    try:
        intact = found.get("digest") == _digest(body, url)
        wall = float(created)
        json.dumps([body, url], ensure_ascii=False).encode()
    except (ValueError, OverflowError, RecursionError) as error:  # text or a number that no client can have written
        raise Damaged(f"holds what no client writes: {error}") from error
    if not intact:
        raise Damaged("does not match its digest")
    if not math.isfinite(wall):
        raise Damaged("has no time")
    return Item(body, wall, url)


def _read(path: Path, owners: Collection[int] | None = None) -> bytes:
    if path.is_symlink():
        raise Damaged("is a link")
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Damaged("is not a file")
        if owners is not None and found.st_uid not in owners:
            raise Damaged(f"belongs to another user (number {found.st_uid})")
        return file.read(FILE_MAX + 1)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _folder(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        if sys.platform != "win32":
            _sync_folder(path.parent)
        mode = path.lstat().st_mode
    if path.name in {NEW, REJECTED, ANNOUNCED} and not stat.S_ISDIR(mode):
        raise NotADirectoryError(f"{path} is not a folder (symbolic links are not followed)")


def _refuse_link(path: Path) -> None:
    """What lies behind a link was left there by somebody else, for another purpose."""
    if path.is_symlink():
        raise NotADirectoryError(f"{path} is not a folder (symbolic links are not followed)")


def _replace(source: Path, target: Path) -> None:
    _patiently(lambda: source.replace(target))


def _patiently(act: Callable[[], T]) -> T:
    for _ in range(_BUSY_TRIES - 1):
        try:
            return act()
        except PermissionError:
            if sys.platform != "win32":
                raise
            time.sleep(_BUSY_S)
    return act()


def _sync_folder(path: Path) -> None:
    if sys.platform == "win32":
        return  # Windows cannot fsync a folder; NTFS journals the rename
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
