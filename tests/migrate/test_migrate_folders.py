"""The command on a folder: a diff by default, whole files with --apply, and never over somebody's open work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import old_programs
import pytest
from old_programs import OTHERS, PROGRAMS

from dtms_service.migrate import launch, shim, writing
from dtms_service.migrate.__main__ import main

PORT = 8001


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Old programs as they lie on a disk, without git."""
    root = tmp_path / "bot"
    for name in (*PROGRAMS, *OTHERS):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(old_programs.raw(name, PORT))
    (root / "dtms_integration").mkdir()
    (root / "dtms_integration" / "__init__.py").write_text("def add_trade_to_dtms(ticket): ...\n")
    (root / "dtms_integration.py").write_text("def auto_register_dtms(ticket, result): ...\n")
    return root


@pytest.fixture(autouse=True)
def own_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git looks neither above the folder of a test nor into a person's settings."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "core.autocrlf=false"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([*map(str, arguments), "--port", str(PORT)])
    return code, *capsys.readouterr()


def content(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_by_default_a_diff_is_shown_and_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(folder)
    code, out, _ = run(capsys, folder)
    assert content(folder) == before
    assert code == 1  # broken.py was not looked at
    assert out.startswith("--- a/agent.py\n+++ b/agent.py\n@@ ")


def test_the_diff_is_what_git_applies(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    _, out, _ = run(capsys, folder, "--apply", "--json")
    patch = "".join(one["diff"] for one in json.loads(out)["changed"])
    (tmp_path / "the.patch").write_bytes(patch.encode("latin-1"))
    git(tmp_path / "copy", "apply", str(tmp_path / "the.patch"))
    copied, written = content(tmp_path / "copy"), content(folder)
    assert [name for name in PROGRAMS if copied[name] != written[name]] == []


def test_applied_once_everything_is_rewritten_and_a_second_time_nothing_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(folder)
    _, out, _ = run(capsys, folder, "--apply")
    once = content(folder)
    assert f"{len(PROGRAMS)} rewritten" in out
    assert {name for name in before if once[name] != before[name]} == set(PROGRAMS)
    kept = {name: once[name + writing.BACKUP] for name in PROGRAMS}
    assert kept == {name: before[name] for name in PROGRAMS}
    _, out, _ = run(capsys, folder, "--apply")
    assert content(folder) == once
    assert "0 rewritten" in out


def test_a_copy_that_is_there_already_is_never_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = (folder / "form.py").read_bytes()
    run(capsys, folder / "form.py", "--apply")
    (folder / "form.py").write_bytes(first + b"# more\n")
    run(capsys, folder / "form.py", "--apply")
    assert (folder / f"form.py{writing.BACKUP}").read_bytes() == first


def test_in_a_clean_git_tree_no_copies_are_made_and_in_a_dirty_one_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("handlers/\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "old")
    (folder / "notes.txt").write_text("open work")
    before = content(folder)
    code, _, err = run(capsys, folder, "--apply")
    assert code == 1
    assert "notes.txt" in err
    assert "Try: " in err
    assert content(folder) == before
    (folder / "notes.txt").unlink()
    run(capsys, folder, "--apply")
    copies = {path.relative_to(folder).as_posix() for path in folder.rglob(f"*{writing.BACKUP}")}
    assert copies == {f"handlers/bridge.py{writing.BACKUP}"}  # git does not keep this one
    git(folder, "checkout", "--", ".")
    assert (folder / "bot.py").read_bytes() == before["bot.py"]


def test_force_writes_over_open_work_and_keeps_copies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(folder, "init", "-q")
    before = content(folder)["bot.py"]
    _, out, _ = run(capsys, folder, "--apply", "--force")
    assert "rewritten" in out
    assert (folder / f"bot.py{writing.BACKUP}").read_bytes() == before


def test_a_file_that_changes_between_reading_and_writing_is_not_overwritten(folder: Path) -> None:
    one = writing.Looked("bot.py", b"something else", b"new", ())
    before = content(folder)
    with pytest.raises(writing.Refused, match="has changed since"):
        writing.write(folder, [one], force=False)
    assert content(folder) == before


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(folder)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run(capsys, folder / "bot.py", "--apply")
    assert (code, "Try: " in err) == (1, True)
    after = content(folder)
    assert after.pop(f"bot.py{writing.BACKUP}") == before["bot.py"]
    assert after == before


def test_the_mode_of_a_file_survives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bot.py").chmod(0o750)
    run(capsys, folder / "bot.py", "--apply")
    assert (folder / "bot.py").stat().st_mode & 0o777 == 0o750


def test_links_environments_and_git_are_not_entered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = old_programs.raw("form.py", PORT)
    for place in ("venv/lib", ".git/hooks", ".hidden", "a/node_modules", "site-packages/x", "__pycache__"):
        (folder / place).mkdir(parents=True)
        (folder / place / "form.py").write_bytes(old)
    (folder / "venv" / "pyvenv.cfg").write_text("")
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "form.py").write_bytes(old)
    (folder / "linked").symlink_to(outside)
    (folder / "linked.py").symlink_to(outside / "form.py")
    _, out, _ = run(capsys, folder, "--apply", "--json")
    assert {one["file"] for one in json.loads(out)["changed"]} == set(PROGRAMS)
    assert (outside / "form.py").read_bytes() == old
    assert (folder / "venv/lib/form.py").read_bytes() == old


def test_the_report_groups_what_is_left_and_says_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, folder, "--json")
    findings: list[dict[str, Any]] = json.loads(out)["findings"]
    seen = {(finding["file"], finding["code"]) for finding in findings if not finding["mended"]}
    assert {
        ("dtms_integration.py", "shadowed-module"),
        ("dtms_integration.py", "engine-file"),
        ("dtms_integration/__init__.py", "engine-file"),
        ("dtms_api_server.py", "engine-file"),
        ("broken.py", "not-read"),
        ("hub.json", "foreign-probe"),
        (".env.example", "foreign-probe"),
        ("start_all.bat", "launcher"),
        ("start_api.py", "launcher"),
        ("static/page.js", "browser-page"),
        ("tests/test_old.py", "patched-name"),
        ("execution.py", "dead-registration"),
        ("bot.py", "duplicate-definition"),
        ("app/main_api.py", "swallowed-exception"),
        ("app/main_api.py", "ignored-result"),
        ("infra/exits.py", "state-level"),
    } <= seen
    assert "canary" not in out
    assert all(finding["line"] >= 1 and finding["why"] and finding["what_to_do"] for finding in findings)
    _, text, _ = run(capsys, folder)
    assert "  execution.py:9: if False\n" in text
    assert text.count("dead-registration: ") == 1
    assert "\n  do: make it one unconditional registration that passes strategy_type" in text


def test_the_shim_lets_untouched_programs_register(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder / "dtms_integration")
    before = {name: old_programs.raw(name, PORT) for name in PROGRAMS}
    code, out, _ = run(capsys, folder, "--shim")
    assert (code, out.count("written: ")) == (0, 2)
    assert {name: (folder / name).read_bytes() for name in PROGRAMS} == before
    program = (
        "from dtms_integration import auto_register_dtms, get_dtms_engine\n"
        "from dtms_integration.dtms_system import add_trade_to_dtms\n"
        "import dtms_client.legacy as legacy\n"
        "assert auto_register_dtms is legacy.auto_register_dtms and add_trade_to_dtms is legacy.add_trade_to_dtms\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, timeout=60)
    code, out, _ = run(capsys, folder, "--shim")
    assert (code, "nothing was written" in out) == (0, True)
    _, out, _ = run(capsys, folder, "--json")
    files = {finding["file"] for finding in json.loads(out)["findings"]}
    assert not {name for name in files if name.startswith("dtms_integration/")}


def test_the_shim_moves_an_old_package_away_only_when_it_is_told_to(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(folder)
    code, _, err = run(capsys, folder, "--shim")
    assert code == 1
    assert "Try: --shim --apply" in err
    assert content(folder) == before
    code, out, _ = run(capsys, folder, "--shim", "--apply")
    assert code == 0
    kept = folder / f"dtms_integration{shim.ASIDE}"
    assert "moved: " in out
    assert (kept / "__init__.py").read_text().startswith("def add_trade_to_dtms")
    assert shim.is_ours(folder / "dtms_integration")
    assert {name: (folder / name).read_bytes() for name in PROGRAMS} == {name: before[name] for name in PROGRAMS}


def test_a_path_that_is_not_there_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, tmp_path / "nowhere")
    assert (code, "Try: " in err) == (2, True)


def test_without_the_parser_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "NEEDS", "no_such_parser")
    assert launch.launch(["."]) == 1
    assert "pip install 'dtms[migrate]'" in capsys.readouterr().err


def test_a_folder_of_programs_that_have_nothing_to_do_with_dtms_is_left_in_peace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.py").write_text("print('hello')\n")
    code, out, _ = run(capsys, tmp_path)
    assert (code, out) == (0, "\n1 files read, 0 to rewrite (--apply writes them), 0 places; 0 findings for a person\n")


def test_a_program_that_joins_two_thousand_texts_is_rewritten_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    joined = " + ".join(f"a{number}" for number in range(2000))
    (tmp_path / "page.py").write_text(f"x = 'http://localhost:8001/dtms/status'\ny = {joined}\n")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        code, out, _ = run(capsys, tmp_path)
        assert (code, "1 to rewrite" in out) == (0, True)
        monkeypatch.setattr("dtms_service.migrate.__main__.DEEPEST", 1)
        sys.setrecursionlimit(1000)
        code, out, _ = run(capsys, tmp_path)
        assert (code, "page.py:1: RecursionError" in out) == (1, True)
    finally:
        sys.setrecursionlimit(before)
