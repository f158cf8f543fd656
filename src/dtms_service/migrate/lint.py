"""What surrounds a registration and makes it fail without a word, and what still believes in a local engine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import libcst as cst

from dtms_service.migrate.names import AWAITED, ENABLE, ENGINE, KEPT, POSTS, REGISTERING
from dtms_service.migrate.outcome import Gathered
from dtms_service.migrate.source import Source, dotted, last_name, string_of

_COMMENTED = re.compile(
    r"\b(?:auto_initialize_dtms|initialize_dtms|start_dtms_monitoring|stop_dtms_monitoring|run_dtms_monitoring_cycle"
    r"|_dtms_engine|dtms_core|DTMSEngine)\b"
)
_NEVER = frozenset({"False", "0", "None", '""', "''", "not True", "not 1"})
_PATH_OF_A_TRADE = "/dtms/trade/"


def look(gathered: Gathered) -> None:
    """Report, change nothing."""
    local = _local_names(gathered.source)
    gathered.source.show(_Lint(gathered, local))
    for node in gathered.source.below():
        if isinstance(node, cst.FunctionDef):
            _States(gathered, local, node).look()


def _local_names(source: Source) -> dict[str, str]:
    """Local name -> name: also of what was imported by another one, ``import auto_register_dtms as reg``."""
    local = {name: name for name in KEPT | POSTS}
    for node in source.below():
        if isinstance(node, cst.ImportAlias) and node.evaluated_alias and last_name(node.name) in KEPT | POSTS:
            local[node.evaluated_alias] = last_name(node.name)
    return local


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


class _Lint:
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
        """Whether a registration is called or imported somewhere in ``node``."""
        return any(
            registers(part, self._local) or (isinstance(part, cst.ImportAlias) and last_name(part.name) in REGISTERING)
            for part in self._out.source.below(node)
        )

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


class _States:
    """Reads of a trade's ``state`` in one function that looked in the wrong place."""

    def __init__(self, gathered: Gathered, local: dict[str, str], function: cst.FunctionDef) -> None:
        self._out = gathered
        self._local = local
        self._nodes = list(gathered.source.below(function))
        self._helper: set[str] = set()
        self._body: set[str] = set()

    def look(self) -> None:
        """First who holds an answer, then what is read of it."""
        over_http = any(_asks_for_a_trade(node) for node in self._nodes)
        for node in self._nodes:
            if isinstance(node, cst.Assign):
                self._assigned(node, over_http=over_http)
        for node in self._nodes:
            if isinstance(node, cst.Call) and last_name(node.func) == "get" and node.args:
                self._read(node, getattr(node.func, "value", node), string_of(node.args[0].value))
            elif isinstance(node, cst.Subscript) and isinstance(index := node.slice[0].slice, cst.Index):
                self._read(node, node.value, string_of(index.value))

    def _assigned(self, node: cst.Assign, *, over_http: bool) -> None:
        value = node.value.expression if isinstance(node.value, cst.Await) else node.value
        names = {dotted(target.target) for target in node.targets}
        if self._is_helper(value):
            self._helper |= names
        elif over_http and isinstance(value, cst.Call) and last_name(value.func) == "json":
            self._body |= names

    def _read(self, node: cst.CSTNode, of: cst.CSTNode, key: str | None) -> None:
        name = dotted(of.left if isinstance(of, cst.BooleanOperation) else of)
        if key == "trade_info" and (name in self._helper or self._is_helper(of)):
            self._out.say(node, "state-level", "trade_info of get_dtms_trade_status")
        elif key == "state" and name in self._body:
            self._out.say(node, "state-level", "state at the top of the answer")

    def _is_helper(self, node: cst.CSTNode) -> bool:
        return isinstance(node, cst.Call) and self._local.get(last_name(node.func)) == "get_dtms_trade_status"


def _asks_for_a_trade(node: cst.CSTNode) -> bool:
    text = string_of(node) if isinstance(node, cst.SimpleString | cst.FormattedString) else None
    return text is not None and _PATH_OF_A_TRADE in text and ENABLE not in text


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
