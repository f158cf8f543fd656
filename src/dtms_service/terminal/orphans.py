"""No terminal process survives the service that started it, however the service ends.

Linux: the child asks the kernel for SIGKILL when its parent dies; that also ends a child that is stuck inside a call
of the extension, which a thread watching the pipe cannot (it never gets the GIL). Windows: the service holds a Job
Object that kills the child when its last handle goes; **this half has run on stand-ins only: it was written against
the documentation on a machine without Windows**. macOS: only the simulated terminal runs there, and it leaves at the
end of its input.

In a virtual environment on Windows the process that we start and tie is not the child itself: ``python.exe`` there is
a starter, whose own job, with these very limits, ends the real interpreter when the starter ends (PC/venvlauncher.c).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_JOB_OBJECT_EXTENDED_LIMIT_INFORMATION = 9
_KILL_ON_JOB_CLOSE = 0x2000
_SILENT_BREAKAWAY_OK = 0x1000
_PROCESS_SET_QUOTA_AND_TERMINATE = 0x0100 | 0x0001


def die_with(parent: int) -> None:
    """In the child, first of all: be killed when process ``parent`` dies; leave at once if it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died between the start of this process and the line above.
    if sys.platform != "win32" and os.getppid() != parent:
        raise SystemExit(0)


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class Leash:
    """In the service: what ties child processes to it. Does nothing where the child ties itself."""

    def __init__(self) -> None:
        self._job: int | None = None
        if sys.platform == "win32":
            self._job = _new_job()

    def hold(self, pid: int) -> None:
        """Tie process ``pid``. Raises ``OSError`` on Windows when that fails: an untied child must not trade."""
        if sys.platform == "win32":
            kernel = _kernel()
            process = kernel.OpenProcess(_PROCESS_SET_QUOTA_AND_TERMINATE, False, pid)  # noqa: FBT003 -- the API's own order
            if not process:
                raise ctypes.WinError(ctypes.get_last_error())
            tied = kernel.AssignProcessToJobObject(self._job, process)
            error = ctypes.get_last_error()
            kernel.CloseHandle(process)
            if not tied:
                raise ctypes.WinError(error)


if sys.platform == "win32":

    def _kernel() -> ctypes.WinDLL:
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        # A handle is as wide as a pointer; ctypes would cut it to an int.
        kernel.CreateJobObjectW.restype = ctypes.c_void_p
        kernel.CreateJobObjectW.argtypes = (ctypes.c_void_p, ctypes.c_wchar_p)
        kernel.OpenProcess.restype = ctypes.c_void_p
        kernel.OpenProcess.argtypes = (ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32)
        kernel.AssignProcessToJobObject.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        kernel.SetInformationJobObject.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
        kernel.CloseHandle.argtypes = (ctypes.c_void_p,)
        return kernel

    def _new_job() -> int:
        kernel = _kernel()
        job = kernel.CreateJobObjectW(None, None)
        if not job:
            raise ctypes.WinError(ctypes.get_last_error())
        limits = _ExtendedLimits()
        # Breakaway: terminal64.exe, which ``initialize`` may start, belongs to the trader and stays when we go.
        limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE | _SILENT_BREAKAWAY_OK
        if not kernel.SetInformationJobObject(
            job, _JOB_OBJECT_EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits)
        ):
            raise ctypes.WinError(ctypes.get_last_error())
        return int(job)
