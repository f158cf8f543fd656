from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dtms_service.lock import Held, Lock, account_lock, holder

HOLD = """
import sys, time
from pathlib import Path
from dtms_service.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
SPAWN = """
import subprocess, sys
from pathlib import Path
from dtms_service.lock import Lock
lock = Lock(Path(sys.argv[1]))
sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
child = subprocess.Popen(sleeper, close_fds=False, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
"""


def holding(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_the_loser_learns_the_pid_of_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "dtms.lock"
    process = holding(path)
    try:
        with pytest.raises(Held) as caught:
            Lock(path)
        assert caught.value.pid == process.pid
        assert str(process.pid) in str(caught.value)
    finally:
        ended(process)


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "dtms.lock"
    ended(holding(path))
    with Lock(path):
        assert holder(path) == os.getpid()


def test_a_released_lock_can_be_taken_again_and_releasing_twice_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / "dtms.lock"
    first = Lock(path)
    with pytest.raises(Held):
        Lock(path)
    first.release()
    with Lock(path):
        first.release()
        with pytest.raises(Held):
            Lock(path)


def test_a_child_that_outlives_the_service_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "dtms.lock"
    script = [sys.executable, "-c", SPAWN, str(path)]
    child = int(subprocess.run(script, stdout=subprocess.PIPE, text=True, check=True).stdout)
    try:
        Lock(path).release()
    finally:
        os.kill(child, 9)


def test_a_lock_file_with_anything_but_a_pid_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "dtms.lock"
    for text in ("", "12a", "-4", "\xff"):
        path.write_bytes(text.encode("latin-1"))
        assert holder(path) is None
    assert holder(tmp_path / "missing") is None


def test_one_account_has_one_lock_whatever_its_server_is_called(tmp_path: Path) -> None:
    with account_lock(tmp_path, 5001, "Broker/Demo 2"):
        with pytest.raises(Held):
            account_lock(tmp_path, 5001, "Broker/Demo 2")
        account_lock(tmp_path, 5002, "Broker/Demo 2").release()
    assert all(path.parent == tmp_path for path in tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Lock(tmp_path / "file" / "dtms.lock")
