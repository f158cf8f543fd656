"""The real terminal: the MetaTrader5 package, on Windows, inside the child process only.

No Linux or macOS wheel exists, so the package is imported when a terminal is opened and not before.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

PACKAGE = "MetaTrader5"
WAIT_MS = 50_000
"""Longest wait for the terminal to be logged in, per attempt; two of them fit into the gateway's 120 s (R19)."""
_OPTIONS = frozenset({"path", "login", "password", "server", "timeout"})
_AUTHORIZATION, _TIMED_OUT = -6, -10005
_NOBODY_LOGGED_IN = frozenset({_AUTHORIZATION, _TIMED_OUT})
"""What ``initialize`` answers when the terminal was reached and shows no account."""


def open_backend(options: Mapping[str, Any], **_timing: object) -> RealTerminal:
    """The package as it is, with an ``initialize`` without arguments. Raises ``ValueError`` where it is missing.

    ``options``: ``path`` of terminal64.exe, ``login`` (int), ``server``, ``password``, ``timeout`` (ms); all may be
    absent. Without a password nobody is ever logged in: the terminal has to show the account already. No setting holds
    a password today.
    """
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        message = (
            f"terminal.kind is mt5, but the {PACKAGE} package cannot be imported here ({error}): it exists for Windows "
            "only; install dtms[mt5] there, or choose terminal.kind = simulated"
        )
        raise ValueError(message) from error
    given = {name: value for name, value in options.items() if value is not None}
    unknown = given.keys() - _OPTIONS
    if unknown:
        message = f"unknown options of the terminal: {', '.join(sorted(unknown))}"
        raise ValueError(message)
    if type(given.get("login", 0)) is not int:
        message = "the login of the terminal must be a whole number"
        raise ValueError(message)
    if "password" in given and "login" not in given:
        message = "a password of the terminal needs a login"
        raise ValueError(message)
    return RealTerminal(package, given)


class RealTerminal:
    """Everything of the package by its own name; ``initialize`` is ours, and ``last_error`` tells how it failed."""

    def __init__(self, package: Any, options: Mapping[str, Any]) -> None:
        """``options``: see ``open_backend``; all present, none None."""
        self._package = package
        self._path = (str(options["path"]),) if "path" in options else ()
        self._timeout = int(options.get("timeout", WAIT_MS))
        self._account = {name: options[name] for name in ("login", "server") if name in options}
        self._password = options.get("password")
        self._failure: tuple[int, str] | None = None

    def __getattr__(self, name: str) -> Any:
        """Whatever else the package has. A call that is not ours ends what ``last_error`` knew of ours."""
        self._failure = None
        return getattr(self._package, name)

    def initialize(self) -> bool:
        """Attach to the terminal as it is logged in; log in only with a password, and only where another account shows.

        Attaching without credentials is the form that works in the field: one deployment got -10005 on every
        ``initialize`` with credentials and 3 s success this way (mt5.md 2.1). False leaves no connection.
        """
        self._failure = self._attached()
        if self._failure is None:
            return True
        # A failed login keeps the pipe open, to a terminal that may be logged out or show somebody else's account.
        self._package.shutdown()
        return False

    def last_error(self) -> tuple[int, str]:
        """Code and text of the latest call; after our ``initialize``, of the step of it that failed."""
        return self._failure or self._package.last_error()

    def _attached(self) -> tuple[int, str] | None:
        """None when the terminal shows the account that is wanted, otherwise why not."""
        if self._package.initialize(*self._path, timeout=self._timeout):
            failure = self._shown()
            if failure is None or failure[0] != _AUTHORIZATION or self._password is None:
                return failure
            return self._logged_in(self._package.login, ())
        failure = self._error()
        if failure[0] in _NOBODY_LOGGED_IN and self._password is not None:
            return self._logged_in(self._package.initialize, self._path)
        return failure

    def _logged_in(self, function: Any, path: tuple[str, ...]) -> tuple[int, str] | None:
        """Log in with ``function``; a password that was refused is not offered again: brokers lock accounts for it."""
        if function(*path, **self._account, password=self._password, timeout=self._timeout):
            return self._shown()
        failure = self._error()
        if failure[0] == _AUTHORIZATION:
            self._password = None
        return failure

    def _shown(self) -> tuple[int, str] | None:
        """None when the account that the terminal shows has the login and the server that are wanted."""
        account = self._package.account_info()
        if account is None:
            return self._error()
        if all(getattr(account, name) == wanted for name, wanted in self._account.items()):
            return None
        names = "@".join(str(value) for value in self._account.values())
        return _AUTHORIZATION, f"the terminal shows account {account.login}@{account.server}, not {names}"

    def _error(self) -> tuple[int, str]:
        code, text = self._package.last_error()
        return int(code), str(text)
