"""The tests themselves: each says what it proves."""

import ast
from pathlib import Path

HERE = Path(__file__).parent


def silent(source: str) -> list[str]:
    """The names of the tests in `source` that have no docstring."""
    nodes = ast.walk(ast.parse(source))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [node.name for node in functions if node.name.startswith("test_") and not ast.get_docstring(node)]


def test_every_test_states_what_it_proves() -> None:
    """Each test has a docstring, and one without is noticed."""
    assert silent("def test_a(): pass\nclass T:\n    async def test_b(self): pass") == ["test_a", "test_b"]
    assert {
        path.name: names for path in HERE.rglob("test_*.py") if (names := silent(path.read_text("utf-8")))
    } == {}
