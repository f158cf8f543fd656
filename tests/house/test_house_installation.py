"""The two commands on a fresh checkout, with a Python in its environment that only notes what it is asked to do."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDER = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in *"{fails}"*) exit 9 ;; esac
"""
NEVER = "nothing of this kind"


class Checkout:
    """A copy of what the commands read, with a recording Python."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "calls.log"
        shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, root)
        (root / ".venv" / "bin").mkdir(parents=True)
        (root / ".venv" / "pyvenv.cfg").write_text("version = 3.11.7\n")
        self.python(fails=NEVER)

    def python(self, fails: str) -> None:
        """The environment's programs; calls that contain ``fails`` end with 9."""
        for name in ("python", "lint-imports"):
            program = self.root / ".venv" / "bin" / name
            program.write_text(RECORDER.format(log=self.log, fails=fails))
            program.chmod(0o755)

    def run(self, script: str, *options: str) -> subprocess.CompletedProcess[str]:
        self.log.write_text("")
        command = [sys.executable, str(self.root / "scripts" / script), *options]
        return subprocess.run(command, capture_output=True, text=True, cwd=self.root, check=False, timeout=60)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / "with space").mkdir()
    return (
        Checkout(tmp_path / "with space" / "dtms")
        if os.name == "posix"
        else pytest.skip("the recorder is a shell script")
    )


def installs(calls: list[str]) -> list[str]:
    return [call for call in calls if call.startswith("-m pip install")]


def test_serving_installs_once_and_passes_every_option_on(checkout: Checkout) -> None:
    first = checkout.run("serve.py", "--demo", "--port", "9")
    assert first.returncode == 0
    assert installs(checkout.calls) == [
        "-m pip install -c constraints.txt pip",
        "-m pip install -c constraints.txt --build-constraint constraints.txt -e .[server]",
    ]
    assert checkout.calls[-1] == "-m dtms_service serve --demo --port 9"
    assert "installing DTMS" in first.stderr
    assert first.stdout == ""
    checkout.run("serve.py")
    assert checkout.calls == ["-m dtms_service serve"]


def test_a_changed_requirement_or_a_moved_checkout_installs_again(checkout: Checkout) -> None:
    checkout.run("serve.py")
    (checkout.root / "constraints.txt").write_text("pip==99\n")
    checkout.run("serve.py")
    assert installs(checkout.calls)
    moved = checkout.root.with_name("moved")
    checkout.root.rename(moved)
    checkout.root, checkout.log = moved, moved / "calls.log"
    checkout.python(fails=NEVER)
    checkout.run("serve.py")
    assert installs(checkout.calls)


def test_an_installation_that_failed_or_was_interrupted_is_done_again(checkout: Checkout) -> None:
    checkout.python(fails=".[server]")
    failed = checkout.run("serve.py")
    assert failed.returncode == 1
    assert "Try: check the network" in failed.stderr
    assert not any("dtms_service" in call for call in checkout.calls)
    checkout.python(fails=NEVER)
    assert checkout.run("serve.py").returncode == 0
    assert installs(checkout.calls)


def test_the_real_terminals_package_is_installed_only_when_it_is_asked_for(checkout: Checkout) -> None:
    checkout.run("serve.py", "--mt5")
    assert installs(checkout.calls)[-1].endswith("-e .[server,mt5]")


def test_the_check_runs_every_gate_in_order_and_serving_needs_no_second_installation(checkout: Checkout) -> None:
    result = checkout.run("test.py", "-k", "one")
    assert result.returncode == 0
    assert installs(checkout.calls)[-1].endswith("-e .[server] --group test")
    gates = [call for call in checkout.calls if "pip" not in call]
    assert gates[:2] == ["-m ruff format --check .", "-m ruff check ."]
    assert sorted(gates[2:4]) == ["-m mypy", "-m mypy --platform win32 --cache-dir .mypy_cache/win32"]
    assert gates[4:] == ["", "-m pytest -k one"]
    checkout.run("serve.py")
    assert checkout.calls == ["-m dtms_service serve"]


def test_without_options_the_tests_run_in_two_lanes_and_each_can_fail_the_check(checkout: Checkout) -> None:
    (checkout.root / "tests" / "some").mkdir(parents=True)
    (checkout.root / "tests" / "some" / "test_one.py").write_text("pytestmark = pytest.mark.process\n")
    (checkout.root / "tests" / "some" / "test_two.py").write_text("")
    assert checkout.run("test.py").returncode == 0
    lanes = [call for call in checkout.calls if "pytest" in call]
    file = str(Path("tests", "some", "test_one.py"))
    assert sorted(lanes) == [
        "-m pytest -m not process --durations=10",
        f"-m pytest -m process --durations=10 -p no:cacheprovider {file}",
    ]
    for lane, gate in (
        ("pytest -m not process", "tests"),
        ("pytest -m process", "tests"),
        ("win32", "types"),
    ):
        checkout.python(fails=lane)
        failed = checkout.run("test.py")
        assert failed.returncode == 9, lane
        assert f"FAILED: {gate} (exit code 9)" in failed.stderr


def test_the_check_stops_at_the_first_gate_that_fails_and_says_which(checkout: Checkout) -> None:
    checkout.python(fails="mypy")
    result = checkout.run("test.py")
    assert result.returncode == 9
    assert "FAILED: types (exit code 9)" in result.stderr
    assert not any("pytest" in call for call in checkout.calls)


def test_two_at_once_install_one_after_the_other(checkout: Checkout) -> None:
    with (checkout.root / ".venv.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        command = [sys.executable, str(checkout.root / "scripts" / "serve.py")]
        waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        assert "waiting for it" in waiting.stderr.readline()
        assert not checkout.log.exists()
        fcntl.flock(other, fcntl.LOCK_UN)
        assert waiting.wait(60) == 0
        waiting.stderr.close()
    assert installs(checkout.calls)


def test_an_environment_that_was_left_half_made_is_made_again(checkout: Checkout) -> None:
    checkout.python(fails="pip --version")
    log = checkout.root / "venv.log"
    stand_in = checkout.root / "python3"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\nexit 1\n')
    stand_in.chmod(0o755)
    code = f"import sys; sys.executable = {str(stand_in)!r}; sys.path.insert(0, 'scripts'); import installation; "
    result = subprocess.run(
        [sys.executable, "-c", code + "sys.exit(installation.serve([]))"],
        capture_output=True,
        text=True,
        cwd=checkout.root,
        check=False,
    )
    assert result.returncode == 1
    assert log.read_text().split() == [
        "-m",
        "venv",
        "--clear",
        str(checkout.root / ".venv").split()[0],
        *str(checkout.root / ".venv").split()[1:],
    ]
    assert "python3-venv" in result.stderr
