"""What ``serve.py`` and ``test.py`` share: a virtual environment beside the sources, filled once.

``.venv`` holds a stamp per profile, written last: a hash of what was installed from. An interrupted installation has
no stamp and is simply done again. pip runs as the ordinary client, so its own configuration and ``PIP_*`` variables
apply. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
SUFFIX = ".exe" if os.name == "nt" else ""
PYTHON = BIN / f"python{SUFFIX}"
SERVER = ("-e", ".[server]")
TEST = (*SERVER, "--group", "test")
SLOWEST = ("--durations=10",)
"""Told by every check, so that whoever adds a slow test sees it."""


def serve(options: Sequence[str]) -> int:
    """Install what the service needs and run ``dtms serve``; returns its exit code."""
    extras = ("-e", ".[server,mt5]") if "--mt5" in options else SERVER
    if not installed("mt5" if "--mt5" in options else "server", extras):
        return 1
    say(f"starting: dtms {' '.join(['serve', *options])}")
    command = [str(PYTHON), "-m", "dtms_service", "serve", *options]
    if os.name == "posix":  # become the service: whoever signals, waits for or kills this process means that one
        os.execv(command[0], command)  # noqa: S606 - no shell wanted
    return run(command, cwd=None)  # on Windows exec returns to the prompt at once while the child goes on


def check(options: Sequence[str]) -> int:
    """Install everything for testing and run every gate; stops at the first that fails and returns its code."""
    if not installed("test", TEST):
        return 1
    mypy, pytest = [str(PYTHON), "-m", "mypy"], [str(PYTHON), "-m", "pytest", *options]
    # what runs on Windows only is read by nobody else on the machines of this project
    windows = [*mypy, "--platform", "win32", "--cache-dir", ".mypy_cache/win32"]
    # those that start services mostly wait; of their files only, because to collect all tests takes 15 s
    services = [*pytest, "-m", "process", *SLOWEST, "-p", "no:cacheprovider", *starting_services()]
    gates = [
        ("format", [[str(PYTHON), "-m", "ruff", "format", "--check", "."]]),
        ("lint", [[str(PYTHON), "-m", "ruff", "check", "."]]),
        ("types", [mypy, windows]),
        ("import rules", [[str(BIN / f"lint-imports{SUFFIX}")]]),
        ("tests", [pytest] if options else [[*pytest, "-m", "not process", *SLOWEST], services]),
    ]
    begun = time.monotonic()
    for name, lanes in gates:
        for command in lanes:
            say(f"{name}: {' '.join([Path(command[0]).name, *command[1:]])}")
        gate_begun = time.monotonic()
        code = run(lanes[0], cwd=ROOT) if len(lanes) == 1 else in_two_lanes(*lanes)
        if code != 0:
            again = ", or ".join(subprocess.list2cmdline(command) for command in lanes)
            say(f"FAILED: {name} (exit code {code}). Repeat it alone with: {again}")
            return code
        say(f"{name} passed in {time.monotonic() - gate_begun:.1f} s")
    say(f"all {len(gates)} gates passed in {time.monotonic() - begun:.1f} s")
    return 0


def in_two_lanes(command: Sequence[str], beside: Sequence[str]) -> int:
    """Run both at once; what the second prints comes at the end. The exit code of one that failed, else 0."""
    with tempfile.TemporaryFile() as told:
        other = subprocess.Popen(beside, cwd=ROOT, stdout=told, stderr=subprocess.STDOUT)
        try:
            code = run(command, cwd=ROOT)
            return other.wait() or code
        finally:
            other.kill()
            told.seek(0)
            sys.stdout.buffer.write(told.read())
            sys.stdout.flush()


def starting_services() -> list[str]:
    """The files with tests of the mark ``process``."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "mark.process" in file.read_text(encoding="utf-8")]


def installed(profile: str, wanted: Sequence[str]) -> bool:
    """Make sure ``.venv`` holds ``wanted``; does nothing when the stamp says so. False when it could not be done."""
    if stamped(profile):
        return True
    with alone():
        return stamped(profile) or (made() and filled(profile, wanted))


def made() -> bool:
    """A virtual environment whose pip works; one that was left half made is made again."""
    if PYTHON.exists() and run([str(PYTHON), "-m", "pip", "--version"], quiet=True) == 0:
        return True
    say(f"making a virtual environment in {VENV}")
    if run([sys.executable, "-m", "venv", "--clear", str(VENV)]) == 0:
        return True
    say(
        "could not make the virtual environment. Try: on Debian and Ubuntu 'sudo apt install python3-venv'; elsewhere "
        f"install Python from python.org, and check that {ROOT} may be written to."
    )
    return False


def filled(profile: str, wanted: Sequence[str]) -> bool:
    """Install ``wanted`` at the pinned versions, then write the stamp."""
    say(f"installing DTMS ({' '.join(wanted)}) into {VENV}: half a minute on a fast line, some minutes on a slow one")
    pip = [str(PYTHON), "-m", "pip", "install"]
    steps = [
        [
            *pip,
            "-c",
            "constraints.txt",
            "pip",
        ],  # the one that came with Python may know neither groups nor build constraints
        [*pip, "-c", "constraints.txt", "--build-constraint", "constraints.txt", *wanted],
    ]
    for step in steps:
        code = run(step)
        if code != 0:
            say(
                f"pip failed with exit code {code}; what it said is above. Try: check the network (pip's own settings, "
                "such as PIP_INDEX_URL and HTTPS_PROXY, apply), stop a running DTMS, then run this command again."
            )
            return False
    stamp(profile).write_text(digest(), encoding="ascii")
    say("installed")
    return True


def stamp(profile: str) -> Path:
    """Where a finished installation of ``profile`` is noted."""
    return VENV / f"dtms-{profile}.stamp"


def stamped(profile: str) -> bool:
    """True when ``profile`` was installed from these very files (``test`` brings what ``server`` needs)."""
    profiles = {profile, "test"} if profile == "server" else {profile}
    return PYTHON.exists() and any(
        stamp(name).is_file() and stamp(name).read_text(encoding="ascii") == digest() for name in profiles
    )


def digest() -> str:
    """Hash of what an installation depends on: requirements, pins, the environment's Python, the sources' place."""
    content = hashlib.sha256(str(ROOT).encode())
    for path in (ROOT / "pyproject.toml", ROOT / "constraints.txt", VENV / "pyvenv.cfg"):
        content.update(path.read_bytes())
    return content.hexdigest()


@contextmanager
def alone() -> Iterator[None]:
    """Hold the installation lock, so that two starts at once do not install into the same folder."""
    with (ROOT / ".venv.lock").open("a", encoding="ascii") as file:
        if not locked(file.fileno()):
            say("another installation into the same folder is running; waiting for it")
            while not locked(file.fileno()):
                time.sleep(0.5)
        yield


def locked(descriptor: int) -> bool:
    """Try to take the lock on an open file; the system drops it with the process."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def run(command: Sequence[str], *, cwd: Path | None = ROOT, quiet: bool = False) -> int:
    """Run a command and return its exit code; on Ctrl-C the child, which got it too, decides how it ends."""
    quietly = subprocess.DEVNULL if quiet else None
    sys.stdout.flush()
    try:
        process = subprocess.Popen(command, cwd=cwd, stdout=quietly, stderr=quietly)
    except OSError as error:
        say(f"could not start {command[0]}: {error}")
        return 127
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def say(sentence: str) -> None:
    """Tell the person at the terminal; standard output stays the command's own."""
    print(f"[dtms] {sentence}", file=sys.stderr, flush=True)
