"""``dtms migrate-callers`` as a program of its own: only it loads the parser of programs, which few commands need."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dtms_service.migrate import report, shim, tree, writing

DONE, FAILED, USAGE = 0, 1, 2
DEEPEST = 100_000
"""Levels of nesting that a program may have; each text that is joined with ``+`` is one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code of INTERFACE 5."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # old programs may hold characters that this console does not have
            reconfigure(errors="backslashreplace")
    sys.setrecursionlimit(max(DEEPEST, sys.getrecursionlimit()))
    chosen = _parser().parse_args(arguments)
    if not chosen.path.exists():
        return _fail(USAGE, f"{chosen.path} does not exist. Try: the folder that holds the programs")
    try:
        return _shim(chosen) if chosen.shim else _migrate(chosen)
    except writing.Refused as error:
        return _fail(FAILED, str(error))
    except OSError as error:
        return _fail(FAILED, f"{error}. Try: check the permissions of this folder, then run again")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dtms migrate-callers", description=__doc__)
    parser.add_argument("path", type=Path, help="a folder of programs, or one file")
    parser.add_argument("--port", type=int, required=True, help="where DTMS listens")
    parser.add_argument("--apply", action="store_true", help="write the changes; without it only a diff is shown")
    parser.add_argument("--shim", action="store_true", help="write a package dtms_integration instead")
    parser.add_argument("--force", action="store_true", help="also over changes that are not committed")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")
    return parser


def _migrate(chosen: argparse.Namespace) -> int:
    found = tree.look(chosen.path, chosen.port)
    copies = writing.write(found.root, found.changed, force=chosen.force) if chosen.apply and found.changed else []
    if chosen.json:
        _say(report.for_pipes(found, applied=chosen.apply, copies=[str(copy) for copy in copies]) + "\n")
    else:
        for one in () if chosen.apply else found.changed:
            _say(report.difference(one))
        for piece in report.for_people(found, applied=chosen.apply):
            _say(piece)
        for copy in copies:
            _say(f"kept: {copy}\n")
    return FAILED if found.unread else DONE


def _shim(chosen: argparse.Namespace) -> int:
    if not chosen.path.is_dir():
        return _fail(USAGE, "--shim needs the folder that the programs are started in")
    written, moved = shim.write(chosen.path, replace_old=chosen.apply, force=chosen.force)
    if moved is not None:
        _say(f"moved: the old package, to {moved}\n")
    for name in written:
        _say(f"written: {chosen.path / name}\n")
    if not written:
        _say("the package is there already; nothing was written\n")
    return DONE


def _say(text: str) -> None:
    sys.stdout.write(text)


def _fail(code: int, sentence: str) -> int:
    sys.stderr.write(f"dtms: {sentence}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
