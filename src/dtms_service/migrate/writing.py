"""Writing the changes: whole files or nothing, never over uncommitted work, with a copy where git has none."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dtms_service.migrate.python_file import Looked

BACKUP = ".before-dtms"
"""Added to the name of a file that git does not keep, for its copy. An older copy is never overwritten."""


class Refused(Exception):
    """Nothing was written; the message says why and what to try."""


def write(root: Path, changed: Sequence[Looked], *, force: bool) -> list[Path]:
    """Write every changed file and return the copies that were made.

    Raises `Refused` before anything is written when the folder's git tree has changes that are not committed (unless
    ``force``), or when a file has changed since it was read. Raises ``OSError`` when a file cannot be written; each is
    then whole, either as it was or as it should be.
    """
    files = [root / one.file for one in changed]
    kept_by_git = _tracked(root, files, force=force)
    for file, one in zip(files, changed, strict=True):
        if file.read_bytes() != one.before:
            raise Refused(f"{file} has changed since it was read; nothing was written. Try: run again")
    copies = []
    for file, one in zip(files, changed, strict=True):
        if file not in kept_by_git:
            copies.append(_copy(file))
        replace(file, one.after)
    return copies


def replace(file: Path, content: bytes) -> None:
    """Put ``content`` in the place of ``file`` at once: a reader sees the old or the new, never a half."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=file.parent)
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        if file.exists():
            shutil.copymode(file, fresh)
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def clean(folder: Path, *, force: bool) -> bool | None:
    """Whether git keeps ``folder``, None without git. Raises `Refused` on changes that are not committed."""
    said = _git(folder, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    if said is None:
        return None
    if said and not force:
        seen = ", ".join(line[3:] for line in said.splitlines()[:3])
        raise Refused(
            f"{folder} has changes that are not committed ({seen}); nothing was written. Try: commit or stash them "
            "first, so that this change stands alone, or use --force"
        )
    return not said


def _tracked(root: Path, files: Sequence[Path], *, force: bool) -> set[Path]:
    """The files whose present content git has."""
    if not clean(root, force=force):
        return set()
    listed = _git(root, "ls-files", "-z", "--", ".") or ""
    return {file for file in files if file.relative_to(root).as_posix() in set(listed.split("\0"))}


def _copy(file: Path) -> Path:
    copy = file.with_name(file.name + BACKUP)
    if not copy.exists():
        shutil.copy2(file, copy)
    return copy


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None without git, or outside of a work tree."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(  # noqa: S603 - a program found by its name, with arguments of ours
        [git, "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    return done.stdout if done.returncode == 0 else None
