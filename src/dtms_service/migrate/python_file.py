"""One Python file: everything that is looked for in it, and what it would be afterwards."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import libcst as cst

from dtms_service.migrate import imports, lint, posts, urls
from dtms_service.migrate.findings import Finding
from dtms_service.migrate.outcome import Gathered
from dtms_service.migrate.source import Edit, Source, Unreadable, Unsafe, dotted


@dataclass(frozen=True, slots=True)
class Looked:
    """``after`` equals ``before`` when there is nothing to rewrite."""

    file: str
    before: bytes
    after: bytes
    findings: tuple[Finding, ...]
    encoding: str = "utf-8"

    @property
    def changed(self) -> bool:
        """Whether there is something to write."""
        return self.after != self.before


def look(file: str, raw: bytes, port: int, exported: frozenset[str] | None = None) -> Looked:
    """Look through one file; never raises: what cannot be read or changed safely is a finding, and left alone."""
    try:
        source = Source(file, raw)
    except Unreadable as error:
        return Looked(file, raw, raw, (Finding(file, error.line, "not-read", str(error)),))
    gathered = Gathered(source)
    try:
        imports.look(gathered, exported)
        urls.look(gathered, port, posts.look(gathered, port))
        lint.look(gathered)
        after = source.changed([*gathered.edits, *_needed(gathered)])
        ast.parse(after, file)
    except (Unsafe, SyntaxError, ValueError, RecursionError) as error:
        spoiled = tuple(sorted({Finding(f.file, f.line, f.code, f.detail) for f in gathered.findings}))
        return Looked(file, raw, raw, (*spoiled, Finding(file, 1, "not-safe", str(error))), source.encoding)
    return Looked(file, raw, after, tuple(sorted(set(gathered.findings))), source.encoding)


def _needed(gathered: Gathered) -> list[Edit]:
    """One import line for each module whose names the changes use and the file does not import yet."""
    source = gathered.source
    missing = sorted(gathered.needs - _imported(source.module))
    if not missing:
        return []
    taken = _defined(source)
    for _, name in missing:
        if name in taken:
            raise Unsafe(f"the file has a {name} of its own")
    lines = [
        f"from {module} import {', '.join(name for m, name in missing if m == module)}"
        for module in sorted({module for module, _ in missing})
    ]
    at, before, after = _place(source)
    return [Edit(at, at, before + source.newline.join(lines) + after)]


def _place(source: Source) -> tuple[int, str, str]:
    """Behind the imports that the file begins with, else behind its docstring, else in front of everything."""
    last: cst.CSTNode | None = None
    for statement in source.module.body:
        if not isinstance(statement, cst.SimpleStatementLine) or not _opens(statement.body[0]):
            break
        last = statement
    if last is not None:
        end = source.end_of_line(last)
        return end, "" if source.text[end - 1 : end] in {"\n", "\r"} else source.newline, source.newline
    first = source.module.body[0]
    decorators = getattr(first, "decorators", ())
    return source.begin_of_line(decorators[0] if decorators else first), "", source.newline


def _opens(part: cst.CSTNode) -> bool:
    """An import, or a docstring."""
    if isinstance(part, cst.Expr):
        return isinstance(part.value, cst.SimpleString | cst.ConcatenatedString)
    return isinstance(part, cst.Import | cst.ImportFrom)


def _imported(module: cst.Module) -> set[tuple[str, str]]:
    """What the top level imports from where, without another name."""
    found: set[tuple[str, str]] = set()
    for line in module.body:
        for part in line.body if isinstance(line, cst.SimpleStatementLine) else ():
            if isinstance(part, cst.ImportFrom) and not isinstance(part.names, cst.ImportStar):
                plain = [alias for alias in part.names if alias.evaluated_alias is None]
                found |= {(dotted(part.module), dotted(alias.name)) for alias in plain}
    return found


def _defined(source: Source) -> set[str]:
    """Names that the file gives to something else: parameters, variables, functions, classes."""
    names: set[str] = set()
    for node in source.below():
        if isinstance(node, cst.AssignTarget):
            names.add(dotted(node.target))
        elif isinstance(node, cst.Param | cst.FunctionDef | cst.ClassDef):
            names.add(node.name.value)
    return names
