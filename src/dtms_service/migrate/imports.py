"""The old imports: each name that the client has is imported from there instead (contract.md 7 A and B)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import libcst as cst

from dtms_service.migrate.names import KEPT, LEGACY, OLD_PACKAGE, OTHER_ENGINES
from dtms_service.migrate.outcome import Gathered
from dtms_service.migrate.source import Edit, Source, Unsafe, dotted


def look(gathered: Gathered, exported: frozenset[str] | None) -> None:
    """Rewrite the imports. ``exported``: what the old package in this folder defines, None without one."""
    gathered.source.show(_Imports(gathered, exported, _uses(gathered.source)))


def _uses(source: Source) -> defaultdict[str, set[str]]:
    """Which attributes of which plain name the file reads, however deep: ``a`` -> {``b.c``}."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for node in source.below():
        parent = source.parent(node)
        if isinstance(node, cst.Attribute) and not isinstance(parent, cst.Attribute | cst.ImportFrom | cst.ImportAlias):
            head, _, rest = dotted(node).partition(".")
            found[head].add(rest)
    return found


class _Imports:
    def __init__(self, gathered: Gathered, exported: frozenset[str] | None, uses: defaultdict[str, set[str]]) -> None:
        self._out = gathered
        self._exported = exported
        self._uses = uses

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        module = dotted(node.module)
        top = module.partition(".")[0]
        if node.relative or not module:
            return
        if top in OTHER_ENGINES:
            self._out.say(node, "local-engine", f"import from {module}")
        elif top == OLD_PACKAGE and isinstance(node.names, cst.ImportStar):
            self._out.say(node, "star-import", f"from {module} import *")
        elif top == OLD_PACKAGE and not isinstance(node.names, cst.ImportStar):
            self._from(node, module, node.names)

    def _from(self, node: cst.ImportFrom, module: str, aliases: Sequence[cst.ImportAlias]) -> None:
        names = [dotted(alias.name) for alias in aliases]
        if module == OLD_PACKAGE and self._exported is not None:
            for name in sorted(set(names) - self._exported):
                self._out.say(node, "missing-name", f"{name} from {module}", mended=name in KEPT)
        known = [alias for alias, name in zip(aliases, names, strict=True) if name in KEPT]
        if module == OLD_PACKAGE and names == ["dtms_system"]:
            self._submodule(node, aliases[0])
            return
        for name in names:
            if name not in KEPT:
                self._out.say(node, "unknown-name", f"{name} from {module}")
        if len(known) == len(names):
            self._out.change(node, "old-import", f"from {module}", lambda: self._renamed(node))
        elif known:
            self._out.change(node, "old-import", f"from {module}", lambda: self._split(node, module, aliases))

    def _renamed(self, node: cst.ImportFrom) -> list[Edit]:
        assert node.module is not None  # noqa: S101 - `from . import` was left out above
        return [Edit(*self._out.source.span(node.module), LEGACY)]

    def _split(self, node: cst.ImportFrom, module: str, aliases: Sequence[cst.ImportAlias]) -> list[Edit]:
        """Two statements instead of one: what the client has, and the rest as it was."""
        source = self._out.source
        text = source.code(node)
        if "#" in text:
            raise Unsafe("a comment stands between the imported names")
        parts: dict[str, list[str]] = {LEGACY: [], module: []}
        for alias in aliases:
            name, other = dotted(alias.name), alias.evaluated_alias
            parts[LEGACY if name in KEPT else module].append(name if other is None else f"{name} as {other}")
        start, end = source.span(node)
        begin = source.begin_of_line(node)
        indent = source.text[begin:start]
        alone = indent.strip() == "" and source.text[end : end + 1] in {"\r", "\n", ""}
        between = source.newline + indent if alone else "; "
        return [
            Edit(start, end, between.join(f"from {name} import {', '.join(words)}" for name, words in parts.items()))
        ]

    def _submodule(self, node: cst.ImportFrom, alias: cst.ImportAlias) -> None:
        local = alias.evaluated_alias or "dtms_system"
        if self._all_kept(node, local, self._uses[local]):
            package, _, module = LEGACY.rpartition(".")

            def edits() -> list[Edit]:
                words = f"from {package} import {module} as {local}"
                return [Edit(*self._out.source.span(node), words)]

            self._out.change(node, "old-import", "import of dtms_system", edits)

    def visit_Import(self, node: cst.Import) -> None:
        for alias in node.names:
            module = dotted(alias.name)
            top = module.partition(".")[0]
            if top in OTHER_ENGINES:
                self._out.say(node, "local-engine", f"import {module}")
            elif top == OLD_PACKAGE:
                self._whole(node, alias, module)

    def _whole(self, node: cst.Import, alias: cst.ImportAlias, module: str) -> None:
        local = alias.evaluated_alias
        if local is None and module != OLD_PACKAGE:
            self._out.say(node, "unknown-name", f"import {module} without a name of its own")
            return
        if self._all_kept(node, local or OLD_PACKAGE, self._uses[local or OLD_PACKAGE]):

            def edits() -> list[Edit]:
                if local is not None:
                    return [Edit(*self._out.source.span(alias.name), LEGACY)]
                return [Edit(*self._out.source.span(alias.name), f"{LEGACY} as {OLD_PACKAGE}")]

            self._out.change(node, "old-import", f"import {module}", edits)

    def _all_kept(self, node: cst.CSTNode, local: str, used: set[str]) -> bool:
        unknown = sorted(name for name in used if name.partition(".")[0] not in KEPT)
        for name in unknown:
            self._out.say(node, "unknown-name", f"{local}.{name}")
        return not unknown
