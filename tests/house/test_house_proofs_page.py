"""Every proof has its line on the page, and every test that the page names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "proofs.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `([a-z0-9-]+)` \|(.*)\|$", PAGE, re.MULTILINE))


def proofs() -> set[str]:
    """The names of ``prove.py``, read and not run."""
    tree = ast.parse((ROOT / "scripts" / "prove.py").read_text("utf-8"))
    (table,) = (n.value for n in tree.body if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "PROOFS")
    assert isinstance(table, ast.Dict)
    return {key.value for key in table.keys if isinstance(key, ast.Constant)}


def test_every_proof_is_on_the_page() -> None:
    assert set(ROWS) == proofs()


def test_every_test_that_the_page_names_exists() -> None:
    for row in ROWS.values():
        for name in re.findall(r"`(?:tests/)?([\w/]+(?:\.py)?)`", row.rsplit("|", 1)[1]):
            assert list((ROOT / "tests").glob(name)) or list((ROOT / "tests").rglob(name)), name
