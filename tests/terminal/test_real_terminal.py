"""The real terminal's own part: attaching, and telling why not. The package is a stand-in that follows mt5.md 2.1."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import simulated_kit

from dtms_service.domain.outcome import Done, Refused
from dtms_service.terminal.gateway import Gateway
from dtms_service.terminal.link import InlineLink
from dtms_service.terminal.mt5 import PACKAGE, RealTerminal, open_backend

RIGHT, WRONG = "hunter2", "hunter3"
PATH = r"C:\Terminal\terminal64.exe"
OK, REFUSED, NO_LINK = (1, "Success"), (-6, "Terminal: Authorization failed"), (-10004, "No IPC connection")


class Shown(NamedTuple):
    login: int
    server: str


OURS, OTHER = Shown(501, "Broker-Demo"), Shown(777, "Broker-Live")


class Package:
    """Shaped like the module: one pipe, one ``last_error`` that every call overwrites, one account for everybody."""

    POSITION_TYPE_BUY = 0

    def __init__(self, shown: Shown | None, *, unreached: tuple[int, str] = REFUSED) -> None:
        """``shown``: the account the terminal is logged in to; ``unreached``: what initialize says without one."""
        self.shown = shown
        self.unreached = unreached
        self.passwords = {OURS.login: RIGHT}
        self.lands_on: str | None = None
        self.connected = False
        self.calls: list[tuple[str, tuple[Any, ...], Mapping[str, Any]]] = []
        self._error = OK

    def initialize(self, *args: Any, **kwargs: Any) -> bool:
        self.calls.append(("initialize", args, kwargs))
        self._error, self.connected = OK, False
        if "password" in kwargs:
            self._switch(kwargs)
        if self._error == OK and self.shown is None:
            self._error = self.unreached
        self.connected = self._error == OK
        return self.connected

    def login(self, **kwargs: Any) -> bool:
        self.calls.append(("login", (), kwargs))
        self._error = OK if self.connected else NO_LINK
        if self.connected:
            self._switch(kwargs)
        return self._error == OK

    def shutdown(self) -> bool:
        self.calls.append(("shutdown", (), {}))
        self._error, self.connected = OK, False
        return True

    def account_info(self) -> Shown | None:
        self._error = OK if self.connected else NO_LINK
        return self.shown if self.connected else None

    def positions_get(self) -> tuple[()] | None:
        self._error = OK if self.connected else NO_LINK
        return () if self.connected else None

    def last_error(self) -> tuple[int, str]:
        return self._error

    def _switch(self, wanted: Mapping[str, Any]) -> None:
        if self.passwords.get(wanted["login"]) == wanted["password"]:
            self.shown = Shown(wanted["login"], self.lands_on or wanted.get("server", OURS.server))
        else:  # a failed login leaves the terminal logged out, and the pipe open
            self.shown, self._error = None, REFUSED

    @property
    def made(self) -> list[str]:
        return [name for name, _, _ in self.calls]


def terminal_on(package: Package, **options: Any) -> RealTerminal:
    return RealTerminal(package, {"path": PATH, **options})


def test_the_terminal_is_attached_to_as_it_is_when_it_shows_the_wanted_account() -> None:
    package = Package(OURS)
    terminal = terminal_on(package, login=OURS.login, server=OURS.server)
    assert terminal.initialize() is True
    assert terminal.last_error() == OK
    assert package.calls == [("initialize", (PATH,), {"timeout": 50_000})]


def test_without_a_wanted_account_whichever_shows_is_taken_and_no_path_is_made_up() -> None:
    package = Package(OTHER)
    assert RealTerminal(package, {"timeout": 5}).initialize() is True
    assert package.calls == [("initialize", (), {"timeout": 5})]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"login": 501}, "the terminal shows account 777@Broker-Live, not 501"),
        ({"login": 777, "server": "Broker-Demo"}, "the terminal shows account 777@Broker-Live, not 777@Broker-Demo"),
        ({"server": "Broker-Demo"}, "the terminal shows account 777@Broker-Live, not Broker-Demo"),
    ],
)
def test_another_account_is_not_attached_to_and_never_switched_without_a_password(
    wanted: dict[str, Any], told: str
) -> None:
    package = Package(OTHER)
    terminal = terminal_on(package, **wanted)
    assert terminal.initialize() is False
    assert terminal.last_error() == (-6, told)
    assert (package.shown, package.connected) == (OTHER, False)
    assert package.made == ["initialize", "shutdown"]
    assert terminal.positions_get() is None
    assert terminal.last_error() == NO_LINK, "the error belongs to the latest call again"


def test_with_a_password_the_terminal_is_moved_to_the_wanted_account() -> None:
    package = Package(OTHER)
    terminal = terminal_on(package, login=OURS.login, server=OURS.server, password=RIGHT)
    assert terminal.initialize() is True
    assert package.calls[1] == ("login", (), {**OURS._asdict(), "password": RIGHT, "timeout": 50_000})
    assert (package.shown, package.connected) == (OURS, True)


def test_a_login_that_leads_to_another_server_is_not_attached_to() -> None:
    package = Package(OTHER)
    package.lands_on = "Broker-Demo-2"
    terminal = terminal_on(package, login=OURS.login, server=OURS.server, password=RIGHT)
    assert terminal.initialize() is False
    assert terminal.last_error()[1] == "the terminal shows account 501@Broker-Demo-2, not 501@Broker-Demo"
    assert package.connected is False


@pytest.mark.parametrize("unreached", [REFUSED, (-10005, "IPC timeout")])
def test_a_terminal_without_an_account_is_logged_in_only_with_a_password(unreached: tuple[int, str]) -> None:
    package = Package(None, unreached=unreached)
    terminal = terminal_on(package, login=OURS.login, server=OURS.server)
    assert terminal.initialize() is False
    assert terminal.last_error() == unreached
    assert package.made == ["initialize", "shutdown"]

    package = Package(None, unreached=unreached)
    assert terminal_on(package, login=OURS.login, password=RIGHT).initialize() is True
    assert package.made == ["initialize", "initialize"]
    assert package.calls[1][1:] == ((PATH,), {"login": 501, "password": RIGHT, "timeout": 50_000})


@pytest.mark.parametrize("shown", [OTHER, None])
def test_a_refused_login_closes_the_pipe_tells_its_own_error_and_offers_the_password_once(shown: Shown | None) -> None:
    package = Package(shown)
    terminal = terminal_on(package, login=OURS.login, password=WRONG)
    assert terminal.initialize() is False
    assert terminal.last_error() == REFUSED
    assert package.connected is False
    assert package.made[-1] == "shutdown"
    package.calls.clear()
    assert terminal.initialize() is False
    assert package.made == ["initialize", "shutdown"], "brokers lock an account that is offered wrong passwords"


def test_a_program_that_is_not_there_is_not_asked_twice() -> None:
    missing = (-10003, "IPC initialize failed, MetaTrader 5 x64 not found")
    package = Package(None, unreached=missing)
    terminal = terminal_on(package, login=OURS.login, password=RIGHT)
    assert terminal.initialize() is False
    assert terminal.last_error() == missing
    assert package.made == ["initialize", "shutdown"]


def test_an_account_that_cannot_be_read_is_no_reason_to_log_in() -> None:
    package = Package(OURS)
    package.account_info = lambda: None  # type: ignore[method-assign]
    package.last_error = lambda: (-10002, "IPC recv failed")  # type: ignore[method-assign]
    terminal = terminal_on(package, login=OURS.login, password=RIGHT)
    assert terminal.initialize() is False
    assert terminal.last_error() == (-10002, "IPC recv failed")
    assert "login" not in package.made


def test_everything_else_is_the_packages_own() -> None:
    package = Package(OURS)
    terminal = terminal_on(package)
    assert terminal.initialize() is True
    assert terminal.positions_get() == ()
    assert terminal.POSITION_TYPE_BUY == 0
    assert terminal.shutdown() is True
    assert terminal.account_info() is None
    assert terminal.last_error() == NO_LINK
    with pytest.raises(AttributeError):
        _ = terminal.no_such_function


def test_without_the_package_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(ValueError, match=r"exists for Windows only; install dtms\[mt5\] there, or choose"):
        open_backend({"path": None, "login": None, "server": None})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"portable": True}, "unknown options of the terminal: portable"),
        ({"login": "501"}, "must be a whole number"),
        ({"login": True}, "must be a whole number"),
        ({"password": RIGHT}, "needs a login"),
    ],
)
def test_an_unusable_option_of_the_terminal_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], told: str
) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, Package(OURS))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=told) as refused:
        open_backend(options)
    assert RIGHT not in str(refused.value)


@pytest.mark.parametrize("ahead", [0, 1])
async def test_the_gateway_reaches_the_wanted_account_or_says_which_one_shows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ahead: int
) -> None:
    """The simulated terminal stands in for the package: it has the same functions, errors and structures."""
    simulated = simulated_kit.opened(tmp_path)
    login, server = simulated.account_info()[0], simulated.account_info().server
    monkeypatch.setitem(sys.modules, PACKAGE, simulated)  # type: ignore[arg-type]
    options = {"path": PATH, "login": login + ahead, "server": server}
    link = InlineLink("dtms_service.terminal.mt5", options, wall=lambda: 0.0, sleep=lambda _: None)
    gateway = Gateway(link, kind="mt5", now=lambda: simulated.simulator_clock()["now"], broker_offset=0.0)
    answer = await gateway.connect()
    if not ahead:
        assert isinstance(answer, Done)
        assert (answer.value.login, answer.value.server, answer.value.kind) == (login, server, "mt5")
        assert await gateway.positions() == Done(())
    else:
        assert isinstance(answer, Refused)
        assert f"the terminal shows account {login}@{server}, not {login + 1}@{server}" in answer.detail
        assert isinstance(await gateway.positions(), Refused), "what another account holds is never read"
    await gateway.close()
