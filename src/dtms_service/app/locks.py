"""What this process must hold before it may touch anything: state folder, ledger, account. Each held for life."""

from __future__ import annotations

from pathlib import Path

from dtms_service.app.leaving import LOCK_HELD, STORAGE_FAILED, Exit
from dtms_service.domain.values import Account
from dtms_service.ledger.database import path_of
from dtms_service.lock import NAME, Held, Lock, account_lock
from dtms_service.settings.tree import Settings


def state_lock(settings: Settings) -> Lock:
    """Hold the state folder. Raises `Exit`."""
    path = settings.state_dir / NAME
    try:
        return Lock(path)
    except Held as held:
        sentence = (
            f"{_who(held)} already serves {path.parent}. Try: dtms status, or stop it first, or set DTMS_STATE_DIR"
        )
        raise Exit(LOCK_HELD, sentence) from held
    except OSError as error:
        sentence = (
            f"the state folder {path.parent} cannot be used: {error}. Try: set DTMS_STATE_DIR to a folder of yours"
        )
        raise Exit(STORAGE_FAILED, sentence) from error


def ledger_lock(settings: Settings) -> Lock | None:
    """Hold the ledger, which two state folders may name; None where its folder does not exist. Raises `Exit`."""
    path = path_of(settings.ledger.url)
    if not path.parent.is_dir():
        return None
    try:
        return Lock(path.with_name(path.name + ".lock"))
    except Held as held:
        sentence = f"{_who(held)} already writes to {path}. Try: another ledger.url, or stop that service first"
        raise Exit(LOCK_HELD, sentence) from held
    except OSError as error:
        sentence = f"the folder of the ledger, {path.parent}, cannot be written: {error}. Try: another ledger.url"
        raise Exit(STORAGE_FAILED, sentence) from error


def claimed(folder: Path, account: Account) -> Lock:
    """Hold the account (R33). Raises `Exit`."""
    try:
        return account_lock(folder, account.login, account.server)
    except Held as held:
        sentence = f"{_who(held)} already guards this account. Try: dtms status, or stop that service first"
        raise Exit(LOCK_HELD, sentence) from held


def _who(held: Held) -> str:
    return f"process {held.pid}" if held.pid else "another process"
