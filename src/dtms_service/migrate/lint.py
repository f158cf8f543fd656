"""What surrounds a registration and makes it fail without a word, and what still believes in a local engine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import libcst as cst

from dtms_service.migrate.names import AWAITED, ENABLE, ENGINE, KEPT, POSTS, REGISTERING
from dtms_service.migrate.outcome import Gathered
from dtms_service.migrate.source import dotted, last_name, string_of

_COMMENTED = re.compile(
    r"\b(?:auto_initialize_dtms|initialize_dtms|start_dtms_monitoring|stop_dtms_monitoring|run_dtms_monitoring_cycle"
    r"|_dtms_engine|dtms_core|DTMSEngine)\b"
)
_NEVER = frozenset({"False", "0", "None", '""', "''", "not True", "not 1"})
_PATH_OF_A_TRADE = "/dtms/trade/"


def look(gathered: Gathered) -> None:
    """Report, change nothing."""
    names = _Names()
    gathered.source.visit(names)
    gathered.source.visit(_Lint(gathered, names.local))
    gathered.source.visit(_States(gathered, names.local))


class _Names(cst.CSTVisitor):
    """Local names of what was imported: ``import auto_register_dtms as reg`` -> ``reg``."""

    def __init__(self) -> None:
        self.local = {name: name for name in KEPT | POSTS}

    def visit_ImportAlias(self, node: cst.ImportAlias) -> None:
        alias, name = node.evaluated_alias, last_name(node.name)
        if alias is not None and name in KEPT | POSTS:
            self.local[alias] = name


class _Registrations(cst.CSTVisitor):
    """Whether a registration is called or imported somewhere in here."""

    def __init__(self, local: dict[str, str]) -> None:
        self._local = local
        self.found = False

    def visit_Call(self, node: cst.Call) -> None:
        self.found |= registers(node, self._local)

    def visit_ImportAlias(self, node: cst.ImportAlias) -> None:
        self.found |= last_name(node.name) in REGISTERING


def registers(node: cst.CSTNode, local: dict[str, str]) -> bool:
    """A call that puts a trade under protection, in its old or its new form."""
    if not isinstance(node, cst.Call):
        return False
    name = local.get(last_name(node.func), "")
    if name in REGISTERING | POSTS:
        return True
    return last_name(node.func) == "post" and any(ENABLE in (_text(arg.value)) for arg in node.args)


def _text(node: cst.CSTNode) -> str:
    if isinstance(node, cst.Call) and len(node.args) == 1:
        return string_of(node.args[0].value) or ""
    return string_of(node) or ""


class _Lint(cst.CSTVisitor):
    def __init__(self, gathered: Gathered, local: dict[str, str]) -> None:
        self._out = gathered
        self._local = local
        self._comment_line = -1

    def visit_Module(self, node: cst.Module) -> None:
        self._duplicates(node.body)

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self._duplicates(node.body.body)

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._duplicates(node.body.body)

    def visit_Try(self, node: cst.Try) -> None:
        if not self._registers_in(node.body):
            return
        for handler in node.handlers:
            if _says_nothing(handler.body):
                kind = dotted(handler.type) or "everything"
                self._out.say(handler, "swallowed-exception", f"except {kind}")

    def visit_With(self, node: cst.With) -> None:
        calls = (item.item.func for item in node.items if isinstance(item.item, cst.Call))
        if any(last_name(call) == "suppress" for call in calls) and self._registers_in(node.body):
            self._out.say(node, "swallowed-exception", "suppress")

    def visit_If(self, node: cst.If) -> None:
        if self._out.source.code(node.test) in _NEVER and self._registers_in(node.body):
            self._out.say(node, "dead-registration", f"if {self._out.source.code(node.test)}")

    def visit_Expr(self, node: cst.Expr) -> None:
        call = node.value.expression if isinstance(node.value, cst.Await) else node.value
        if not isinstance(call, cst.Call):
            return
        name = self._local.get(last_name(call.func), "")
        if name in AWAITED and call is node.value:
            self._out.say(node, "not-awaited", name)
        if registers(call, self._local):
            self._out.say(node, "ignored-result", name or ENABLE)

    def visit_Call(self, node: cst.Call) -> None:
        name = self._local.get(last_name(node.func), "")
        if name in ENGINE:
            self._out.say(node, "local-engine", name)

    def visit_Name(self, node: cst.Name) -> None:
        if node.value == "_dtms_engine":
            self._out.say(node, "local-engine", node.value)

    def visit_Comment(self, node: cst.Comment) -> None:
        named = _COMMENTED.search(node.value)
        line = self._out.source.line(node)
        if named is not None and line != self._comment_line + 1:
            self._out.say(node, "commented-engine", named[0])
        if named is not None or line == self._comment_line + 1:
            self._comment_line = line

    def _registers_in(self, node: cst.CSTNode) -> bool:
        looking = _Registrations(self._local)
        node.visit(looking)
        return looking.found

    def _duplicates(self, body: Sequence[cst.CSTNode]) -> None:
        last: dict[str, cst.FunctionDef] = {}
        for statement in reversed(body):
            if not isinstance(statement, cst.FunctionDef):
                continue
            name = statement.name.value
            later = last.setdefault(name, statement)
            if later is not statement and not _is_one_of_several(statement) and self._registers_in(statement.body):
                line = self._out.source.line(later)
                self._out.say(statement, "duplicate-definition", f"{name} again in line {line}")


class _States(cst.CSTVisitor):
    """Reads of a trade's ``state`` that looked in the wrong place."""

    def __init__(self, gathered: Gathered, local: dict[str, str]) -> None:
        self._out = gathered
        self._local = local
        self._asks_http: list[bool] = [False]
        self._helper: set[str] = set()
        self._body: set[str] = set()

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        asked = _Asks()
        node.visit(asked)
        self._asks_http.append(asked.found)
        self._helper, self._body = set(), set()

    def leave_FunctionDef(self, original_node: cst.FunctionDef) -> None:
        self._asks_http.pop()

    def visit_Assign(self, node: cst.Assign) -> None:
        value = node.value.expression if isinstance(node.value, cst.Await) else node.value
        if not isinstance(value, cst.Call):
            return
        names = {dotted(target.target) for target in node.targets}
        if self._local.get(last_name(value.func)) == "get_dtms_trade_status":
            self._helper |= names
        elif last_name(value.func) == "json" and self._asks_http[-1]:
            self._body |= names

    def visit_Call(self, node: cst.Call) -> None:
        if isinstance(node.func, cst.Attribute) and node.func.attr.value == "get" and node.args:
            self._reads(node, node.func.value, string_of(node.args[0].value))

    def visit_Subscript(self, node: cst.Subscript) -> None:
        index = node.slice[0].slice if len(node.slice) == 1 else None
        if isinstance(index, cst.Index):
            self._reads(node, node.value, string_of(index.value))

    def _reads(self, node: cst.CSTNode, of: cst.CSTNode, key: str | None) -> None:
        name = dotted(of.left if isinstance(of, cst.BooleanOperation) else of)
        if key == "trade_info" and (name in self._helper or self._is_helper(of)):
            self._out.say(node, "state-level", "trade_info of get_dtms_trade_status")
        elif key == "state" and name in self._body:
            self._out.say(node, "state-level", "state at the top of the answer")

    def _is_helper(self, node: cst.CSTNode) -> bool:
        return isinstance(node, cst.Call) and self._local.get(last_name(node.func)) == "get_dtms_trade_status"


class _Asks(cst.CSTVisitor):
    """Whether a function asks for one trade over HTTP."""

    def __init__(self) -> None:
        self.found = False

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        self._see(string_of(node))

    def visit_FormattedString(self, node: cst.FormattedString) -> None:
        self._see(string_of(node))

    def _see(self, text: str | None) -> None:
        self.found |= text is not None and _PATH_OF_A_TRADE in text and ENABLE not in text


def _says_nothing(body: cst.BaseSuite) -> bool:
    statements: Iterable[cst.CSTNode] = body.body
    small = [
        part for line in statements for part in (line.body if isinstance(line, cst.SimpleStatementLine) else (line,))
    ]
    return all(
        isinstance(part, cst.Pass | cst.Continue)
        or (isinstance(part, cst.Expr) and isinstance(part.value, cst.Ellipsis | cst.SimpleString))
        for part in small
    )


def _is_one_of_several(function: cst.FunctionDef) -> bool:
    """An overload, or the setter of a property: its name is meant to come again."""
    marks = (last_name(d.decorator) for d in function.decorators)
    return any(mark in {"overload", "setter", "getter", "deleter", "property", "register"} for mark in marks)
