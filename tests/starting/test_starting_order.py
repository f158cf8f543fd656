"""``start_all_services``: DTMS first, each waits for the one before it, all end in reverse, nobody is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from service import ROOT, free_port

from dtms_service.app.port_holder import speaker

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.name != "posix", reason="the stand-ins are ended by signals"),
]
STANDIN = Path(__file__).with_name("starting_standin.py")
LONG_S = 60.0


class Start:
    """The start script on a file of its own, with stand-ins for all services."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = folder / "notes"
        self.notes.touch()
        self.port = free_port()
        self.file = folder / "config" / "services.toml"
        self.file.parent.mkdir()
        self.process: subprocess.Popen[str] | None = None

    def plan(self, *services: dict[str, Any]) -> None:
        """Write the file; ``words`` of a service are the stand-in's."""
        lines = []
        for service in services:
            words = service.pop("words", None)
            if words is not None:
                service["command"] = ["{python}", str(STANDIN), service["name"], *words]
            lines += ["[[service]]", *(f"{key} = {json.dumps(value)}" for key, value in service.items())]
        self.file.write_text("\n".join(lines))

    def dtms(self, *words: str, **more: Any) -> dict[str, Any]:
        return {"name": "dtms", "words": [str(self.port), "dtms", *words], "probe": "dtms", **more}

    def begin(self, *options: str) -> subprocess.Popen[str]:
        script = ROOT / "scripts" / "start_all_services.py"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DTMS_")}
        self.process = subprocess.Popen(
            [sys.executable, str(script), "--config", str(self.file), *options],
            env={**kept, "DTMS_API_PORT": str(self.port), "STANDIN_NOTES": str(self.notes)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def run(self, *options: str) -> tuple[int, str, str]:
        process = self.begin(*options)
        out, err = process.communicate(timeout=LONG_S)
        return process.returncode, out, err

    def until(self, seen: Callable[[list[str]], bool]) -> None:
        """Wait for what the notes say."""
        deadline = time.monotonic() + LONG_S
        while not seen(self.noted()):
            assert time.monotonic() < deadline, self.notes.read_text()
            assert self.process is not None
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def until_all_run(self, *names: str) -> None:
        self.until(
            lambda notes: [note for note in notes if note.startswith("begins")] == [f"begins {n}" for n in names]
        )
        assert self.process is not None
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "Ctrl-C stops them" in line:
                return

    def noted(self) -> list[str]:
        return [" ".join(line.split()[:2]) for line in self.notes.read_text().splitlines()]

    def pids(self) -> list[int]:
        fields = [line.split() for line in self.notes.read_text().splitlines()]
        own = [int(field[2]) for field in fields]
        return own + [int(field[0].partition("=")[2]) for field in fields if field[0].startswith("child=")]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made = Start(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.communicate()
    assert gone(made.pids())


def test_each_waits_for_the_one_before_it_and_ctrl_c_ends_all_in_reverse(start: Start) -> None:
    hub = free_port()
    start.plan(
        start.dtms("late=0.5"),
        {
            "name": "hub",
            "words": [str(hub), "late=0.3"],
            "probe": "http",
            "url": f"http://127.0.0.1:{hub}/",
            "says": "hub",
        },
        {"name": "bot", "words": ["0", "child"], "probe": "alive", "alive_s": 0.2},
    )
    process = start.begin()
    start.until_all_run("dtms", "hub", "bot")
    assert {line.split()[3] for line in start.notes.read_text().splitlines()} == {str(start.port)}
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LONG_S)
    assert process.returncode == 0
    assert [note for note in start.noted() if note.startswith("ends")] == ["ends bot", "ends hub", "ends dtms"]
    assert [line.split()[1] for line in err.splitlines() if "stopped (" in line] == ["bot:", "hub:", "dtms:"]
    assert gone(start.pids())
    assert "hub says hello" in (start.folder / "logs" / "hub.log").read_text()


def test_nobody_is_started_while_dtms_is_not_ready_and_the_reason_is_said(start: Start) -> None:
    start.plan(start.dtms("never", ready_s=1), {"name": "bot", "words": ["0"], "probe": "alive"})
    code, _, err = start.run()
    assert code == 1
    assert start.noted() == ["begins dtms", "ends dtms"]
    assert "dtms is not ready after 1 s: DTMS is connecting: the terminal is away" in err
    assert "dtms says hello" in err
    assert "Try: " in err


def test_a_web_service_that_answers_with_another_name_is_not_the_one_that_was_meant(start: Start) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    hub = {"name": "hub", "words": [str(port)], "probe": "http", "url": url, "says": "command", "ready_s": 1}
    start.plan(start.dtms(), hub)
    code, _, err = start.run()
    assert code == 1
    assert f"{url} answers without 'command'" in err
    assert start.noted()[-2:] == ["ends hub", "ends dtms"]


def test_one_that_dies_during_its_start_ends_what_was_started_and_its_last_words_are_shown(start: Start) -> None:
    start.plan(start.dtms(), {"name": "bot", "words": ["0", "dies=0.1"], "probe": "alive", "alive_s": 30})
    code, _, err = start.run()
    assert code == 1
    assert "bot ended with 3 while it was starting" in err
    assert "bot says hello" in err
    assert start.noted() == ["begins dtms", "begins bot", "ends dtms"]


def test_an_optional_one_that_fails_is_said_and_left_out(start: Start) -> None:
    news = {"name": "news", "words": ["0", "dies=0.1"], "probe": "alive", "alive_s": 30, "optional": True}
    start.plan(start.dtms(), news, {"name": "bot", "words": ["0"], "probe": "alive", "alive_s": 0.1})
    process = start.begin()
    start.until_all_run("dtms", "news", "bot")
    process.terminate()
    process.communicate(timeout=LONG_S)
    assert [note for note in start.noted() if note.startswith("ends")] == ["ends bot", "ends dtms"]


def test_another_program_on_the_port_of_dtms_is_named_and_nothing_is_started(start: Start) -> None:
    start.plan(start.dtms(), {"name": "bot", "words": ["0"], "probe": "alive"})
    with socket.create_server(("127.0.0.1", start.port)):
        code, _, err = start.run()
        shown, out, _ = start.run("--dry-run")
    assert (code, shown) == (74, 74)
    for said in (err, out):
        assert f"port {start.port} is taken by another program" in said
        assert f"process {os.getpid()} (" in said or sys.platform != "linux"
    assert "DTMS_API_PORT" in err
    assert start.noted() == []


def test_a_port_of_a_later_one_is_looked_at_before_the_first_is_started(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        start.plan(start.dtms(), {"name": "hub", "words": ["0"], "probe": "tcp", "port": port})
        code, _, err = start.run()
    assert code == 74
    assert f"hub: port {port} is taken by another program" in err
    assert start.noted() == []


def test_a_web_service_that_comes_up_in_the_place_of_dtms_is_not_trusted(start: Start) -> None:
    hub = {"name": "hub", "words": [str(start.port)], "probe": "dtms"}
    start.plan(hub, {"name": "bot", "words": ["0"], "probe": "alive"})
    code, _, err = start.run()
    assert code == 2
    assert "which is not DTMS" in err
    assert start.noted() == ["begins hub", "ends hub"]


def test_a_dtms_that_runs_already_is_used_and_left_running(start: Start) -> None:
    start.plan(start.dtms(), {"name": "bot", "words": ["0"], "probe": "alive", "alive_s": 0.1})
    command = [sys.executable, str(STANDIN), "before", str(start.port), "dtms"]
    before = subprocess.Popen(command, env={**os.environ, "STANDIN_NOTES": os.devnull}, stdout=subprocess.DEVNULL)
    try:
        while speaker("127.0.0.1", start.port).kind != "dtms":
            time.sleep(0.02)
        process = start.begin()
        start.until_all_run("bot")
        process.terminate()
        process.communicate(timeout=LONG_S)
        assert speaker("127.0.0.1", start.port).kind == "dtms"
        shown = start.run("--dry-run")
    finally:
        before.kill()
        before.wait()
    assert (shown[0], "already" in shown[1]) == (0, True)
    assert start.noted() == ["begins bot", "ends bot"]


def test_one_that_ends_later_is_said_and_the_others_go_on(start: Start) -> None:
    start.plan(start.dtms(), {"name": "bot", "words": ["0", "dies=0.6"], "probe": "alive", "alive_s": 0.1})
    process = start.begin()
    start.until_all_run("dtms", "bot")
    assert process.stderr is not None
    said = next(line for line in process.stderr if "ended with 3" in line)
    assert "still running: dtms" in said
    assert "Try: its log" in said
    process.terminate()
    process.communicate(timeout=LONG_S)
    assert start.noted()[-1] == "ends dtms"


def test_one_that_does_not_listen_is_ended_all_the_same_and_so_is_what_it_started(start: Start) -> None:
    deaf = {"name": "bot", "words": ["0", "deaf", "child"], "probe": "alive", "alive_s": 0.5, "stop_s": 0.3}
    start.plan(start.dtms(), deaf)
    process = start.begin()
    start.until(lambda notes: len(notes) == 3)
    process.terminate()
    process.communicate(timeout=LONG_S)
    assert gone(start.pids())
    assert start.noted()[-1] == "ends dtms"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it; Windows needs a run on Windows")
def test_nobody_outlives_a_starter_that_is_killed(start: Start) -> None:
    start.plan(start.dtms(), {"name": "bot", "words": ["0"], "probe": "alive", "alive_s": 0.1})
    process = start.begin()
    start.until_all_run("dtms", "bot")
    process.kill()
    process.communicate()
    assert gone(start.pids())
    assert not any(note.startswith("ends") for note in start.noted())


def test_a_dry_run_shows_the_order_and_starts_nothing(start: Start) -> None:
    start.plan(start.dtms(), {"name": "bot", "words": ["0"], "probe": "alive"})
    code, out, err = start.run("--dry-run")
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if line[:1].isdigit()] == ["1. dtms", "2. bot"]
    assert f"DTMS says ready on port {start.port}" in out
    assert out.splitlines()[-1] == "stopped in reverse: bot, dtms"
    assert start.noted() == []
    assert not (start.folder / "logs").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the first [[service]] must be DTMS"),
        ('[[service]]\nname = "bot"\ncommand = ["{python}"]\nprobe = "alive"', "the first [[service]] must be DTMS"),
        (
            '[[service]]\nname = "dtms"\ncommand = ["no-such-program"]\nprobe = "dtms"',
            "there is no program 'no-such-program'",
        ),
        ('[[service]]\nname = "dtms"\ncommand = ["{python}", "gone.py"]\nprobe = "dtms"', "there is no gone.py"),
        ('[[service]]\nname = "dtms"\ncommand = ["{python}"]\nprobe = "dtms"\nfolder = "gone"', "does not exist"),
        (
            '[[service]]\nname = "dtms"\ncommand = ["{python}"]\nprobe = "ping"',
            "'ping' is none of dtms, http, tcp, alive",
        ),
        ('[[service]]\nname = "dtms"\ncommand = ["{python}"]\nprob = "dtms"', "unknown key 'prob'. Try: probe"),
        ('[[service]]\nname = "dtms"\ncommand = "python"\nprobe = "dtms"', "command = 'python' is of the wrong kind"),
        ('[[service]]\nname = "dtms"\nprobe = "dtms"', "command is missing"),
        ('[[service]]\nname = "a"\ncommand = ["{python}"]\nprobe = "dtms"\n' * 2, "a is there twice"),
        ('[[service]]\nname = "a"\ncommand = ["{python}"]\nprobe = "http"', "needs an address"),
        ('[[service]]\nname = "a"\ncommand = ["{python}"]\nprobe = "tcp"', "needs a port"),
        ("[[service", "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_78_and_says_what_to_try(start: Start, text: str, sentence: str) -> None:
    start.file.write_text(text)
    code, out, err = start.run()
    assert (code, out) == (78, "")
    assert sentence in err
    assert "Try: " in err.splitlines()[-1]


def test_a_port_that_is_no_port_is_78(start: Start) -> None:
    start.plan(start.dtms())
    start.port = 70000
    assert start.run("--dry-run")[0] == 78


def test_the_file_of_the_project_can_be_used_and_the_shell_door_opens(start: Start) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DTMS_")}
    done = subprocess.run(
        [str(ROOT / "scripts" / "start_all_services.sh"), "--dry-run"],
        env={**kept, "PYTHON": sys.executable, "DTMS_API_PORT": str(start.port)},
        capture_output=True,
        text=True,
        check=False,
        cwd=start.folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "1. dtms"


def test_the_doors_do_nothing_but_call_the_script() -> None:
    for suffix in ("sh", "bat", "ps1"):
        text = (ROOT / "scripts" / f"start_all_services.{suffix}").read_text("utf-8")
        assert "start_all_services.py" in text
        assert len(text.splitlines()) <= 9


def test_the_script_needs_nothing_but_python() -> None:
    code = (
        "import sys; sys.path[:0] = ['scripts', 'src']; before = set(sys.modules); from starting import order\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "['dtms_service', 'starting']"
