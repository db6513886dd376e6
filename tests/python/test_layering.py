"""The fences inside the Python package, tested on its source.

The root modules are the library: they see the standard library, the native module and each other. The edges
(integrations and the command line) sit above them, and only they may name other people's packages.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "python" / "holdfast"

LONGEST_FILE = 400

# The edges, and the packages of other people each is about.
EDGES: dict[str, set[str]] = {
    "__main__": set(),
    "cli": {"langchain_core", "langchain_openai", "openai"},
    "clients": {"anthropic", "httpx", "openai"},
    "dashboard": set(),
    "demo": {"langchain_core", "langchain_openai", "openai"},
    "instrument": {"opentelemetry", "prometheus_client"},
    "langchain": {"langchain", "langchain_core", "langchain_openai", "langgraph", "openai", "pydantic"},
}


def imports(tree: ast.AST, *, lazy: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yields each import and whether it is lazy: run by a call, or only read by type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, lazy
        for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        called = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports(node, lazy=lazy or for_types or called)


def targets(node: ast.Import | ast.ImportFrom, inside: tuple[str, ...]) -> Iterator[str]:
    """Yields the dotted names that an import inside the package `inside` asks for."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = list(inside[: len(inside) - node.level + 1]) if node.level else []
    base += node.module.split(".") if node.module else []
    if base == ["holdfast"]:
        yield from (f"holdfast.{alias.name}" for alias in node.names)
    else:
        yield ".".join(base)


def package_of(path: str) -> tuple[str, ...]:
    """The package in which the relative imports of `path` (below `python/holdfast`) start."""
    return ("holdfast", *Path(path).parts[:-1])


def offences(path: str, source: str, roots: set[str]) -> list[str]:
    """Everything wrong with one file; `roots` are the names of the package's root modules."""
    tree = ast.parse(source)
    top = Path(path).parts[0].removesuffix(".py")
    found = [
        f"{path}:{node.lineno}: {why}"
        for node, lazy in imports(tree)
        for target in targets(node, package_of(path))
        if (why := offence(top, target, lazy=lazy, roots=roots))
    ]
    if "/" in path and top not in EDGES:
        found.append(f"{path}: the package {top} is not listed among the edges")
    if path == "__init__.py":
        found += [f"{path}:{node.lineno}: not a list of names" for node in tree.body if not names_only(node)]
    if len(source.splitlines()) > LONGEST_FILE:
        found.append(f"{path}: longer than {LONGEST_FILE} lines")
    return found


def offence(top: str, target: str, *, lazy: bool, roots: set[str]) -> str | None:
    """Why a module in `top` must not import `target`, if so."""
    head, _, rest = target.partition(".")
    if head != "holdfast":
        ours = sys.stdlib_module_names | EDGES.get(top, set())
        return None if head in ours else f"must not name {head}"
    if top in EDGES or top == "__init__":
        return None
    module = rest.partition(".")[0]
    if module in EDGES:
        return None if lazy else f"a root module loads the edge {module} at import"
    return None if module in roots else f"{target} is not a module: import it from where it lives"


def names_only(node: ast.stmt) -> bool:
    """Whether a statement of `__init__` is its docstring, an import, or a dunder given a plain value."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        names = node.targets if isinstance(node, ast.Assign) else [node.target]
        dunder = all(isinstance(name, ast.Name) and name.id.startswith("__") for name in names)
        return dunder and not any(isinstance(part, ast.Call) for part in ast.walk(node))
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return docstring or isinstance(node, ast.ImportFrom)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules that load each other at import, or an empty list."""
    left = dict(graph)
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def files() -> dict[str, str]:
    """Every Python file of the package by its path below `python/holdfast`."""
    return {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}


def root_names(paths: dict[str, str]) -> set[str]:
    modules = {path.removesuffix(".py") for path in paths if "/" not in path} - EDGES.keys()
    return modules - {"__init__"} | {"_native"}


def test_the_package_keeps_its_fences() -> None:
    """Root modules name no third party and no edge, edges only their own; `__init__` is a list of names."""
    tree = files()
    assert "__init__.py" in tree
    roots = root_names(tree)
    assert [line for path, source in sorted(tree.items()) for line in offences(path, source, roots)] == []


def test_root_modules_do_not_load_each_other_in_a_circle() -> None:
    """The root modules can be put in an order in which each loads only earlier ones."""
    tree = files()
    graph = {
        name: {
            target.split(".")[1]
            for node, lazy in imports(ast.parse(tree[f"{name}.py"]))
            if not lazy
            for target in targets(node, ("holdfast",))
            if target.startswith("holdfast.")
        }
        for name in root_names(tree) - {"_native"}
    }
    assert circle(graph) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("_pool.py", "import pydantic"),
        ("_pool.py", "def f():\n    from langchain_core.runnables import Runnable"),
        ("_pool.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import openai"),
        ("_pool.py", "from . import CircuitBreaker"),
        ("_pool.py", "from holdfast import CircuitBreaker"),
        ("_pool.py", "from .langchain import with_resilience"),
        ("_pool.py", "x = 1\n" * (LONGEST_FILE + 1)),
        ("langchain/_models.py", "import anthropic"),
        ("extras/__init__.py", ""),
        ("__init__.py", "from ._pool import Node\nregister(Node)"),
        ("__init__.py", "__version__ = read()"),
        ("__init__.py", "def helper(): ..."),
    ],
)
def test_an_offender_is_caught(path: str, source: str) -> None:
    """Each rule can fail: a made-up file that breaks one is reported."""
    assert len(offences(path, source, {"_pool", "_native"})) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("_pool.py", "import sys\nfrom . import _native\nfrom ._native import Core"),
        ("_pool.py", "from collections import abc"),
        ("_pool.py", "def f():\n    from .langchain import wrap\n    import asyncio"),
        ("langchain/_models.py", "from langchain_core import runnables\nfrom .. import Retry, _pool"),
        ("__init__.py", '"""Doc."""\nfrom ._pool import Node\n__all__ = ["Node"]\n__version__: str = "1"'),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    """Siblings, the native module, lazy edges and an edge's own packages are no offence."""
    assert offences(path, source, {"_pool", "_native"}) == []


def test_a_circle_is_caught() -> None:
    """Three modules in a ring are reported, whatever hangs off them."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]
    assert circle({"a": {"b"}, "b": {"_native"}}) == []
