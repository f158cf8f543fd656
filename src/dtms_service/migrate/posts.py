"""Posts of a registration: ``client.post(".../dtms/trade/enable", json=…)`` becomes ``enable_trade(json=…)``."""

from __future__ import annotations

import libcst as cst

from dtms_service.migrate.addresses import Meaning, whole
from dtms_service.migrate.names import ENABLE, POSTING
from dtms_service.migrate.outcome import Gathered
from dtms_service.migrate.source import Edit, Unsafe, dotted, last_name, string_of

_MODULES = frozenset({"requests", "httpx"})
"""Whose ``post`` is a plain function: it never needs an ``await``."""


def look(gathered: Gathered, port: int) -> set[cst.CSTNode]:
    """Rewrite the posts. Returns the address literals that are gone with them."""
    posts = _Posts(gathered, port)
    gathered.source.show(posts)
    return posts.gone


class _Posts:
    def __init__(self, gathered: Gathered, port: int) -> None:
        self._out = gathered
        self._port = port
        self.gone: set[cst.CSTNode] = set()

    def visit_Call(self, node: cst.Call) -> None:
        if last_name(node.func) != "post" or not node.args or node.args[0].keyword is not None:
            return
        if not self._enables(node.args[0].value):
            return
        body = next(
            (arg for arg in node.args if arg.keyword is not None and arg.keyword.value in {"json", "data"}), None
        )
        name = self._function(node)
        if body is not None and body.keyword is not None and body.keyword.value == "data":
            self._out.say(body, "form-body", "data=", mended=name is not None)
        if body is None or name is None or len(node.args) < 2:
            self._out.say(node, "plain-http", ENABLE)
            return
        if self._out.change(node, "plain-http", ENABLE, lambda: self._edits(node, body, name)):
            self._out.needs.add((POSTING, name))
            self.gone.add(node.args[0].value)

    def _edits(self, node: cst.Call, body: cst.Arg, name: str) -> list[Edit]:
        source = self._out.source
        start, after_address = source.span(node.args[0].value)
        second = node.args[1].keyword
        if second is None:
            raise Unsafe("the address is followed by something without a name")
        next_argument, _ = source.span(second)
        between = source.text[after_address:next_argument]
        kept = between.partition(",")[2].lstrip() if "#" in between else ""  # a comment there stays, with its line end
        edits = [Edit(*source.span(node.func), name), Edit(start, next_argument, kept)]
        if body.keyword is not None and body.keyword.value == "data":
            edits.append(Edit(*source.span(body.keyword), "json"))
        return edits

    def _enables(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Call) and last_name(node.func) == "dtms_url" and len(node.args) == 1:
            return string_of(node.args[0].value) == ENABLE
        address = whole(string_of(node) or "", self._port)
        return address is not None and address.meaning is Meaning.DTMS and address.path == ENABLE

    def _function(self, node: cst.Call) -> str | None:
        """What the call becomes; None where it is neither awaited nor surely synchronous."""
        parent = self._out.source.parent(node)
        if isinstance(parent, cst.Await):
            return "enable_trade_async"
        if isinstance(parent, cst.WithItem) or not isinstance(node.func, cst.Attribute):
            return None
        synchronous = dotted(node.func.value) in _MODULES or not self._in_a_coroutine(node)
        return "enable_trade" if synchronous else None

    def _in_a_coroutine(self, node: cst.CSTNode) -> bool:
        above = self._out.source.parent(node)
        while above is not None and not isinstance(above, cst.FunctionDef):
            above = self._out.source.parent(above)
        return above is not None and above.asynchronous is not None
