"""The real terminal: the MetaTrader5 package, on Windows, inside the child process only.

No Linux or macOS wheel exists, so the package is imported when a terminal is opened and not before.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

PACKAGE = "MetaTrader5"
_START_TIMEOUT_MS = 60_000


def open_backend(options: Mapping[str, Any], **_timing: object) -> RealTerminal:
    """The package as it is, with an ``initialize`` without arguments. Raises ``ValueError`` where it is missing.

    ``options``: ``path`` of terminal64.exe, ``login`` (int), ``password``, ``server``, ``timeout`` (ms); all may be
    absent.
    """
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        message = (
            f"terminal.kind is mt5, but the {PACKAGE} package cannot be imported here ({error}): it exists for Windows "
            "only; install dtms[mt5] there, or choose terminal.kind = simulated"
        )
        raise ValueError(message) from error
    unknown = set(options) - {"path", "login", "password", "server", "timeout"}
    if unknown:
        message = f"unknown options of the terminal: {', '.join(sorted(unknown))}"
        raise ValueError(message)
    if options.get("login") is not None and not isinstance(options["login"], int):
        message = "the login of the terminal must be a whole number"
        raise ValueError(message)
    return RealTerminal(package, options)


class RealTerminal:
    """Everything of the package by its own name; only ``initialize`` is ours."""

    def __init__(self, package: Any, options: Mapping[str, Any]) -> None:
        self._package = package
        self._options = {name: value for name, value in options.items() if value is not None}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._package, name)

    def initialize(self) -> bool:
        """Attach to the terminal as it is logged in; log in only where credentials are given and name another account.

        Attaching without credentials is the form that works in the field: one deployment got -10005 on every
        ``initialize`` with credentials and 3 s success this way (mt5.md 2.1). It also needs no stored password.
        """
        timeout = int(self._options.get("timeout", _START_TIMEOUT_MS))
        path = (str(self._options["path"]),) if "path" in self._options else ()
        attached = bool(self._package.initialize(*path, timeout=timeout))
        login = self._options.get("login")
        if login is None:
            return attached
        credentials = {name: self._options[name] for name in ("login", "password", "server") if name in self._options}
        if not attached:
            # Nobody is logged in: the terminal can only be reached together with its login.
            return bool(self._package.initialize(*path, **credentials, timeout=timeout))
        account = self._package.account_info()
        if account is not None and account.login == login:
            return True
        return bool(self._package.login(**credentials, timeout=timeout))
