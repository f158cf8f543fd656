"""Addresses in string literals: rewritten to ``dtms_url(…)``, or reported (contract.md 7 C and D)."""

from __future__ import annotations

import re

import libcst as cst

from dtms_service.migrate.addresses import Address, Meaning, found, whole
from dtms_service.migrate.names import LEGACY, OLD_PACKAGE, OTHER_ENGINES
from dtms_service.migrate.outcome import Gathered
from dtms_service.migrate.source import Edit, Unsafe, dotted, last_name, string_of

_OPENING = re.compile(r"[A-Za-z]*(?:\"\"\"|'''|\"|')")
_PAGE = re.compile(r"<script|fetch\(|XMLHttpRequest|axios", re.IGNORECASE)
_FUNCTION = "dtms_url"
_PATCHING = frozenset({"patch", "setattr", "object", "dict", "pop", "setitem", "delitem", "get"})


def look(gathered: Gathered, port: int, gone: set[cst.CSTNode]) -> None:
    """Rewrite and report the addresses but those that are ``gone``; ``port`` is where DTMS listens."""
    gathered.source.show(_Urls(gathered, port, gone))


class _Urls:
    def __init__(self, gathered: Gathered, port: int, gone: set[cst.CSTNode]) -> None:
        self._out = gathered
        self._port = port
        self._gone = gone

    def visit_ConcatenatedString(self, node: cst.ConcatenatedString) -> None:
        """Pieces in a row cannot become a call one by one: they are reported as the whole that they are."""
        if not self._is_piece(node):
            for address in found(string_of(node) or "", self._port):
                self._said(node, address)

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        text = string_of(node)
        if text is not None and node not in self._gone and not self._is_piece(node):
            self._string(node, text)
            self._module(node, text)

    def visit_FormattedString(self, node: cst.FormattedString) -> None:
        if node not in self._gone and not self._is_piece(node):
            self._string(node, string_of(node) or "")

    def _is_piece(self, node: cst.CSTNode) -> bool:
        return isinstance(self._out.source.parent(node), cst.ConcatenatedString)

    def visit_Assign(self, node: cst.Assign) -> None:
        names = {dotted(target.target).lower() for target in node.targets}
        number = node.value.value if isinstance(node.value, cst.Integer) else None
        if number == str(self._port) and any("dtms" in name and "port" in name for name in names):
            self._out.say(node, "hard-coded-port", number)

    def _string(self, node: cst.SimpleString | cst.FormattedString, text: str) -> None:
        parent = self._out.source.parent(node)
        if isinstance(parent, cst.Arg) and self._is_exchange(self._out.source.parent(parent)):
            return
        is_text = isinstance(parent, cst.Expr | cst.MatchValue)
        address = whole(text, self._port)
        if address is not None and not is_text:
            self._whole(node, address)
            return
        inside = [one for one in found(text, self._port) if one.head not in self._replaced(node)]
        bases = sorted({one.head for one in inside if one.meaning is Meaning.DTMS and _is_plain(one)})
        if bases and not is_text and _PAGE.search(text):
            self._page(node, bases)
            inside = [one for one in inside if one.head not in bases]
        for one in inside:
            self._said(node, one)

    def _whole(self, node: cst.SimpleString | cst.FormattedString, address: Address) -> None:
        named = address.meaning is Meaning.BASE and "dtms" in self._assigned_to(node)
        if address.meaning is Meaning.DTMS or named:
            if self._out.change(node, "hard-coded-port", address.text, lambda: self._as_call(node, address)):
                self._out.needs.add((LEGACY, _FUNCTION))
        else:
            self._said(node, address)

    def _as_call(self, node: cst.SimpleString | cst.FormattedString, address: Address) -> list[Edit]:
        start, end = self._out.source.span(node)
        opening = _OPENING.match(self._out.source.text, start)
        if opening is None or not self._out.source.text.startswith(address.head, opening.end()):
            raise Unsafe("the address is not written plainly")
        front = f"{_FUNCTION}({opening[0]}"
        return [Edit(start, opening.end() + len(address.head), front), Edit(end, end, ")")]

    def _page(self, node: cst.SimpleString | cst.FormattedString, bases: list[str]) -> None:
        """A page for a browser keeps its text; the address is exchanged when it is sent."""

        def edits() -> list[Edit]:
            _, end = self._out.source.span(node)
            words = "".join(f'.replace("{base}/dtms", {_FUNCTION}("/dtms"))' for base in bases)
            return [Edit(end, end, words)]

        if self._out.change(node, "hard-coded-port", ", ".join(bases), edits):
            self._out.say(node, "browser-page", ", ".join(bases))
            self._out.needs.add((LEGACY, _FUNCTION))

    def _replaced(self, node: cst.CSTNode) -> set[str]:
        """The addresses that the ``.replace(…)`` behind this text exchanges already."""
        done: set[str] = set()
        reading = self._out.source.parent(node)
        while isinstance(reading, cst.Attribute) and reading.attr.value == "replace":
            call = self._out.source.parent(reading)
            if not isinstance(call, cst.Call):
                break
            if self._is_exchange(call):
                done.add((string_of(call.args[0].value) or "").removesuffix("/dtms"))
            reading = self._out.source.parent(call)
        return done

    @staticmethod
    def _is_exchange(call: cst.CSTNode | None) -> bool:
        """Whether this is ``….replace("<address>", dtms_url(…))``."""
        if not isinstance(call, cst.Call) or last_name(call.func) != "replace" or len(call.args) != 2:
            return False
        by = call.args[1].value
        return isinstance(by, cst.Call) and last_name(by.func) == _FUNCTION

    def _said(self, node: cst.CSTNode, address: Address) -> None:
        if address.meaning is Meaning.FOREIGN or (address.meaning is Meaning.BASE and not self._assigned_to(node)):
            self._out.say(node, "foreign-probe", address.text)
        else:
            self._out.say(node, "hard-coded-port", address.text)

    def _assigned_to(self, node: cst.CSTNode) -> str:
        """The names, in lower case, that this literal is given to; empty when it is not."""
        parent = self._out.source.parent(node)
        if isinstance(parent, cst.Assign):
            return " ".join(dotted(target.target) for target in parent.targets).lower()
        if isinstance(parent, cst.AnnAssign):
            return dotted(parent.target).lower()
        if isinstance(parent, cst.Param):
            return parent.name.value.lower()
        return ""

    def _module(self, node: cst.SimpleString, text: str) -> None:
        """An old module named in a string: patched by a test, watched by a reloader, imported by name."""
        if text.partition(".")[0] not in {OLD_PACKAGE, *OTHER_ENGINES} or not re.fullmatch(r"[\w.]+", text):
            return
        around = self._out.source.parent(node)
        if isinstance(around, cst.List | cst.Element):
            self._out.say(node, "launcher", text)
        elif self._is_patched(node):
            self._out.say(node, "patched-name", text)
        else:
            self._out.say(node, "module-string", text)

    def _is_patched(self, node: cst.CSTNode) -> bool:
        above: cst.CSTNode | None = node
        for _ in range(4):
            above = self._out.source.parent(above) if above is not None else None
            if isinstance(above, cst.Call):
                return last_name(above.func) in _PATCHING
            if isinstance(above, cst.Subscript):
                return dotted(above.value) == "sys.modules"
        return False


def _is_plain(address: Address) -> bool:
    """Not through the main API: its ``/api/dtms`` cannot be exchanged by a base alone."""
    return "/dtms" not in address.head and not address.head.endswith("/api")
