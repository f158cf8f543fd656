"""What runs on Windows only, run here on stand-ins that behave as Microsoft's and Python's documentation says.

It shows that the lines run and say to the system what they should; what the system does then, only Windows can show.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dtms_service.app.loops import GONE, accepted

WIDE = 0x1_0000_0004
"""A handle that needs more than 32 bits."""


def as_on_windows(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """The module's source, run anew as if this were Windows."""
    here = importlib.import_module(name)  # what it imports is loaded as what it is on this machine
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location(f"{name}_on_windows", str(here.__file__))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Msvcrt(ModuleType):
    """Byte-range locks: a byte of a file belongs to one descriptor until that unlocks it, closing does not suffice."""

    LK_UNLCK, LK_NBLCK = 0, 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.held: dict[tuple[int, int], int] = {}
        self.refusals_left: int | None = None

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        assert count == 1
        byte = os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR)
        if mode == self.LK_UNLCK:
            if self.held.pop(byte, None) != descriptor:
                raise PermissionError(13, "Permission denied")
            return
        if byte in self.held and self.refusals_left != 0:
            if self.refusals_left is not None:
                self.refusals_left -= 1
            raise PermissionError(13, "Permission denied")
        self.held[byte] = descriptor


@pytest.fixture
def msvcrt(monkeypatch: pytest.MonkeyPatch) -> Msvcrt:
    module = Msvcrt()
    monkeypatch.setitem(sys.modules, "msvcrt", module)
    return module


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def test_the_locked_byte_lies_far_beyond_the_name_and_is_unlocked_by_hand(
    monkeypatch: pytest.MonkeyPatch, msvcrt: Msvcrt, slept: list[float], tmp_path: Path
) -> None:
    lock = as_on_windows(monkeypatch, "dtms_service.lock")
    path = tmp_path / "dtms.lock"
    with lock.Lock(path):
        ((_, byte),) = msvcrt.held
        assert byte >= 2**30
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(lock.Held) as refused:
            lock.Lock(path)
        assert refused.value.pid == os.getpid()
        assert 0.9 <= sum(slept) <= 1.5
    assert msvcrt.held == {}
    lock.Lock(path).release()


def test_the_lock_of_a_killed_process_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, msvcrt: Msvcrt, slept: list[float], tmp_path: Path
) -> None:
    lock = as_on_windows(monkeypatch, "dtms_service.lock")
    path = tmp_path / "dtms.lock"
    killed = lock.Lock(path)
    msvcrt.refusals_left = 5
    with lock.Lock(path):
        assert len(slept) == 5
    os.close(killed._descriptor)


class Function:
    """One function of a system library: remembers its prototype and its calls."""

    def __init__(self, answer: int | None) -> None:
        self.restype: Any = ctypes.c_int
        self.argtypes: tuple[Any, ...] | None = None
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any) -> int | None:
        assert self.argtypes is not None
        assert len(args) == len(self.argtypes)
        for arg, kind in zip(args, self.argtypes, strict=True):
            kind.from_param(arg)  # raises where ctypes would
        self.calls.append(args)
        return self.answer


class Kernel:
    """kernel32, as far as it is asked."""

    def __init__(self) -> None:
        self.CreateJobObjectW = Function(WIDE)
        self.SetInformationJobObject = Function(1)
        self.OpenProcess = Function(WIDE + 4)
        self.AssignProcessToJobObject = Function(1)
        self.CloseHandle = Function(1)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()

    def library(name: str, *, use_last_error: bool) -> Kernel:
        assert (name, use_last_error) == ("kernel32", True)
        return made

    def error(code: int) -> OSError:
        return OSError(code, f"code {code}")

    monkeypatch.setattr(ctypes, "WinDLL", library, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: 5, raising=False)
    monkeypatch.setattr(ctypes, "WinError", error, raising=False)
    return made


def test_a_job_ends_the_child_with_the_service_and_lets_the_terminal_go(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel
) -> None:
    orphans = as_on_windows(monkeypatch, "dtms_service.terminal.orphans")
    leash = orphans.Leash()
    ((job, kind, limits, size),) = kernel.SetInformationJobObject.calls
    assert (job, kind) == (WIDE, 9)
    assert limits._obj.BasicLimitInformation.LimitFlags == 0x2000 | 0x1000, "kill on close, silent breakaway"
    assert size == ctypes.sizeof(limits._obj)
    leash.hold(4711)
    assert kernel.OpenProcess.calls == [(0x0101, False, 4711)], "may set quota and terminate; not inherited"
    assert kernel.AssignProcessToJobObject.calls == [(WIDE, WIDE + 4)]
    assert kernel.CloseHandle.calls == [(WIDE + 4,)], "the process; the job stays open for life"
    for function in (kernel.CreateJobObjectW, kernel.OpenProcess):
        assert ctypes.sizeof(function.restype) == ctypes.sizeof(ctypes.c_void_p), "a handle is as wide as a pointer"


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="the layout of 64-bit Windows")
def test_the_limits_are_laid_out_as_in_winnt_h(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    del kernel
    orphans = as_on_windows(monkeypatch, "dtms_service.terminal.orphans")
    limits, basic = orphans._ExtendedLimits, orphans._BasicLimits
    assert (ctypes.sizeof(basic), ctypes.sizeof(limits)) == (64, 144)
    assert (basic.LimitFlags.offset, limits.IoInfo.offset, limits.ProcessMemoryLimit.offset) == (16, 64, 112)


@pytest.mark.parametrize(
    "fails", ["CreateJobObjectW", "SetInformationJobObject", "OpenProcess", "AssignProcessToJobObject"]
)
def test_a_child_that_cannot_be_tied_is_an_error_of_the_system(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel, fails: str
) -> None:
    orphans = as_on_windows(monkeypatch, "dtms_service.terminal.orphans")
    getattr(kernel, fails).answer = None if fails in {"CreateJobObjectW", "OpenProcess"} else 0
    with pytest.raises(OSError, match="code 5"):
        orphans.Leash().hold(4711)
    opened = fails == "AssignProcessToJobObject"
    assert len(kernel.CloseHandle.calls) == opened, "what was opened is closed"


def test_ctrl_c_and_ctrl_break_ask_the_loop_to_end_and_a_late_one_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: dict[int, Callable[..., None]] = {}
    asked: list[str] = []
    monkeypatch.setattr(signal, "SIGBREAK", 21, raising=False)
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    server = as_on_windows(monkeypatch, "dtms_service.app.server")

    async def live() -> None:
        server.on_signals(lambda: asked.append("asked"))
        for number in (signal.SIGINT, 21):
            handlers[number](number, None)
        await asyncio.sleep(0)

    loop = asyncio.SelectorEventLoop()
    loop.run_until_complete(live())
    loop.close()
    assert asked == ["asked", "asked"]
    handlers[signal.SIGINT](signal.SIGINT, None)


class WindowsError(OSError):
    """An ``OSError`` as Windows raises it."""

    def __init__(self, winerror: int) -> None:
        super().__init__(22, f"winerror {winerror}")
        self.winerror = winerror


@pytest.mark.parametrize("code", sorted(GONE))
async def test_a_caller_that_is_gone_before_it_is_accepted_does_not_end_the_listening(code: int) -> None:
    errors = [WindowsError(code), WindowsError(code)]

    async def accept() -> str:
        if errors:
            raise errors.pop()
        return "connection"

    assert await accepted(accept) == "connection"


async def test_an_error_of_the_listening_socket_itself_is_raised() -> None:
    async def accept() -> str:
        raise WindowsError(10038)  # not a socket

    with pytest.raises(OSError, match="10038"):
        await accepted(accept)


class Proactor:
    """``asyncio.IocpProactor``: one future per accept; the newest one is kept."""

    pending: asyncio.Future[str]

    def accept(self, listener: object) -> asyncio.Future[str]:
        del listener
        self.pending = asyncio.get_running_loop().create_future()
        return self.pending


async def test_the_windows_loop_accepts_patiently_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "IocpProactor", Proactor, raising=False)
    monkeypatch.setattr(asyncio, "ProactorEventLoop", lambda proactor: proactor, raising=False)
    proactor = as_on_windows(monkeypatch, "dtms_service.app.loops").new_event_loop()
    accepting = proactor.accept("listener")
    await asyncio.sleep(0)
    first = proactor.pending
    first.set_exception(WindowsError(64))
    async with asyncio.timeout(5):
        while proactor.pending is first:
            await asyncio.sleep(0.005)
    proactor.pending.set_result("connection")
    assert await accepting == "connection"
    accepting = proactor.accept("listener")
    await asyncio.sleep(0)
    accepting.cancel()
    await asyncio.wait({accepting})
    assert proactor.pending.cancelled(), "the pending accept of the system is taken back"
