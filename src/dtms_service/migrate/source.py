"""One Python file: its tree, where each node stands in its text, and changes that leave every other byte alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

_LINE_END = re.compile(r"\r\n|\n|\r")


class Unreadable(Exception):
    """The file is not a program that Python accepts; the message says where."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


class Unsafe(Exception):
    """A change could not be placed exactly; nothing may be written."""


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Replace the characters from ``start`` up to ``end``."""

    start: int
    end: int
    new: str


class Source:
    """A file that was parsed. Raises `Unreadable`."""

    def __init__(self, name: str, raw: bytes) -> None:
        self.name = name
        self.raw = raw
        try:
            module = cst.parse_module(raw)
            self.encoding = module.encoding
            self.text = raw.decode(self.encoding)
            wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
            self._ranges: Mapping[cst.CSTNode, CodeRange] = wrapper.resolve(PositionProvider)
        except cst.ParserSyntaxError as error:
            raise Unreadable(error.raw_line, f"line {error.raw_line}: {error.message}") from error
        except (SyntaxError, UnicodeDecodeError, LookupError, RecursionError) as error:
            raise Unreadable(1, f"{type(error).__name__}: {error}") from error
        self.module = wrapper.module
        self._children: dict[cst.CSTNode, Sequence[cst.CSTNode]] = {}
        self._parents: dict[cst.CSTNode, cst.CSTNode] = {}
        self._number_nodes()
        self._starts = (0, *(match.end() for match in _LINE_END.finditer(self.text)))

    def _number_nodes(self) -> None:
        """Without recursion: a program may join a thousand texts with ``+``, and each is one level deeper."""
        waiting: list[cst.CSTNode] = [self.module]
        while waiting:
            node = waiting.pop()
            children = self._children[node] = node.children
            self._parents.update(dict.fromkeys(children, node))
            waiting += children

    def below(self, node: cst.CSTNode | None = None) -> Iterator[cst.CSTNode]:
        """``node`` (the module) and everything in it, in the order of the text."""
        waiting = [node or self.module]
        while waiting:
            following = waiting.pop()
            yield following
            waiting += reversed(self._children[following])

    def show(self, to: object) -> None:
        """Show every node to the method of ``to`` that has its name, such as ``visit_Call``."""
        methods: dict[type[cst.CSTNode], Callable[[Any], None] | None] = {}
        for node in self.below():
            kind = type(node)
            if kind not in methods:
                methods[kind] = getattr(to, f"visit_{kind.__name__}", None)
            method = methods[kind]
            if method is not None:
                method(node)

    def line(self, node: cst.CSTNode) -> int:
        """The line that ``node`` begins on, from 1."""
        return self._ranges[node].start.line

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """What ``node`` stands in; None for the module."""
        return self._parents.get(node)

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        """Where ``node`` stands in the text, without brackets around it. Raises `Unsafe` if it is not there."""
        where = self._ranges[node]
        start = self._starts[where.start.line - 1] + where.start.column
        end = self._starts[where.end.line - 1] + where.end.column
        bare = node.with_changes(lpar=[], rpar=[]) if isinstance(node, cst.BaseExpression) else node
        if self.text[start:end] != self.module.code_for_node(bare):
            raise Unsafe(f"line {where.start.line}: the text is not where the tree says")
        return start, end

    def code(self, node: cst.CSTNode) -> str:
        """The text of ``node``, without brackets around it."""
        start, end = self.span(node)
        return self.text[start:end]

    def begin_of_line(self, node: cst.CSTNode) -> int:
        """Where the line of ``node`` begins."""
        return self._starts[self.line(node) - 1]

    def end_of_line(self, node: cst.CSTNode) -> int:
        """Where the line after ``node`` begins."""
        line = self._ranges[node].end.line
        return self._starts[line] if line < len(self._starts) else len(self.text)

    @property
    def newline(self) -> str:
        """How this file ends its lines."""
        return self.module.default_newline

    def changed(self, edits: Iterable[Edit]) -> bytes:
        """The bytes of the file with ``edits`` made. Raises `Unsafe` when two of them touch each other."""
        pieces: list[str] = []
        reached = 0
        for edit in sorted(edits):
            if edit.start < reached:
                raise Unsafe("two changes in one place")
            pieces += [self.text[reached : edit.start], edit.new]
            reached = edit.end
        return "".join([*pieces, self.text[reached:]]).encode(self.encoding)


def dotted(node: cst.CSTNode | None) -> str:
    """``a.b.c`` of a name or an attribute; empty for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr.value}" if head else ""
    return ""


def last_name(node: cst.CSTNode) -> str:
    """The name that is called: ``c`` of ``a.b().c``."""
    if isinstance(node, cst.Attribute):
        return node.attr.value
    return node.value if isinstance(node, cst.Name) else ""


def string_of(node: cst.CSTNode) -> str | None:
    """The text of a string; ``{}`` stands for what a format string puts in. None for bytes and everything else."""
    if isinstance(node, cst.SimpleString):
        value: Any = node.evaluated_value
        return value if isinstance(value, str) else None
    if isinstance(node, cst.FormattedString):
        parts = (p.value if isinstance(p, cst.FormattedStringText) else "{}" for p in node.parts)
        return "".join(parts)
    if isinstance(node, cst.ConcatenatedString):
        both = string_of(node.left), string_of(node.right)
        return None if None in both else f"{both[0]}{both[1]}"
    return None
