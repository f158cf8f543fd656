"""A folder of programs: which files are looked at, and what they add up to. Links and environments are left out."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dtms_service.migrate import python_file, text_file
from dtms_service.migrate.findings import Finding
from dtms_service.migrate.names import ENGINE_FILES, ENGINE_FOLDERS, OLD_PACKAGE, SHIM_MARK
from dtms_service.migrate.python_file import Looked

_PYTHON = frozenset({".py", ".pyw"})
_LEFT_OUT = frozenset({"node_modules", "__pycache__", "site-packages", "dist-packages"})
_LONGEST = 10 * 1024 * 1024
"""Bytes; no program that a person wrote is longer."""
_WORTH_A_LOOK = (b"dtms", b"DTMS")


@dataclass(frozen=True, slots=True)
class Report:
    """Everything about one folder."""

    root: Path
    looked: tuple[Looked, ...]
    findings: tuple[Finding, ...]
    files: int
    """How many files were read."""

    @property
    def changed(self) -> tuple[Looked, ...]:
        """The files that there is something to write for."""
        return tuple(one for one in self.looked if one.changed)

    @property
    def unread(self) -> tuple[Finding, ...]:
        """Files that nothing was looked for in."""
        return tuple(one for one in self.findings if one.code == "not-read")


def look(path: Path, port: int) -> Report:
    """Look through a folder, or one file. ``port``: where DTMS listens. Raises ``OSError`` without a ``path``."""
    root = path if path.is_dir() else path.parent
    exported = _exported(root)
    looked: list[Looked] = []
    findings: list[Finding] = list(_shadowed(root) if path.is_dir() else ())
    count = 0
    for file in files(path):
        count += 1
        name = file.relative_to(root).as_posix()
        raw = _read(file)
        if raw is None:
            findings.append(Finding(name, 1, "not-read", "it cannot be read, or it is longer than 10 MiB"))
        elif SHIM_MARK.encode() in raw:
            continue
        elif file.suffix not in _PYTHON:
            findings += text_file.look(name, _suffix(file), raw, port)
        elif _is_engine(file.relative_to(root)):
            findings.append(Finding(name, 1, "engine-file", name))
        elif any(word in raw for word in _WORTH_A_LOOK) or str(port).encode() in raw:
            one = python_file.look(name, raw, port, exported)
            looked.append(one)
            findings += one.findings
    return Report(root, tuple(looked), tuple(sorted(findings)), count)


def files(path: Path) -> Iterator[Path]:
    """The files below ``path`` that are looked at, in the order of their names."""
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(path)
        yield path
        return
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if _is_worth_entering(here / name))
        for name in sorted(names):
            file = here / name
            if not file.is_symlink() and file.is_file() and (file.suffix in _PYTHON or _suffix(file) in text_file.READ):
                yield file


def _is_worth_entering(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name in _LEFT_OUT
    return not hidden and not folder.is_symlink() and not (folder / "pyvenv.cfg").exists()


def _suffix(file: Path) -> str:
    """``.env`` of ``.env`` and ``.env.example`` too."""
    return ".env" if file.name.startswith(".env") else file.suffix.lower()


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes() if file.stat().st_size <= _LONGEST else None
    except OSError:
        return None


def _is_engine(file: Path) -> bool:
    return bool(ENGINE_FOLDERS & set(file.parts[:-1])) or file.name in ENGINE_FILES


def _shadowed(root: Path) -> Iterator[Finding]:
    """Packages that hide a module of the same name beside them."""
    for file in files(root):
        package = file.with_suffix("")
        if file.suffix == ".py" and (package / "__init__.py").is_file():
            name = file.relative_to(root).as_posix()
            yield Finding(name, 1, "shadowed-module", f"{package.name}/__init__.py is imported instead")


def _exported(root: Path) -> frozenset[str] | None:
    """What the old package in this folder defines at its top; None when there is none, or it cannot be read."""
    package, module = root / OLD_PACKAGE / "__init__.py", root / f"{OLD_PACKAGE}.py"
    file = package if package.is_file() else module
    raw = _read(file) if file.is_file() else None
    if raw is None or SHIM_MARK.encode() in raw:
        return None
    try:
        body = ast.parse(raw).body
    except (SyntaxError, ValueError):
        return None
    names: set[str] = set()
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.alias):
                names.add(node.asname or node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return frozenset(names)
