"""The fences inside the Python package, tested on its source.

The library sees the standard library, the native module and itself. The edges (integrations, local servers and
the command line) sit above it: the library never loads one at import, and only they may name other people's
packages.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "python" / "holdfast"

LONGEST_FILE = 400

# The edges, and the packages of other people each is about.
EDGES: dict[str, set[str]] = {
    "__main__": set(),
    "_localserver": set(),
    "_pytest": {"pytest"},
    "cli": {"langchain_core", "langchain_openai", "openai"},
    "clients": {"anthropic", "httpx", "openai"},
    "dashboard": set(),
    "demo": {"langchain_core", "langchain_openai", "openai"},
    "instrument": {"opentelemetry", "prometheus_client"},
    "langchain": {
        "langchain",
        "langchain_core",
        "langchain_openai",
        "langgraph",
        "openai",
        "pydantic",
        "tenacity",
        "typing_extensions",
    },
}


def imports(tree: ast.AST, *, lazy: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yields each import and whether it is lazy: run by a call, or only read by type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, lazy
        for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        called = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports(node, lazy=lazy or for_types or called)


def module_of(path: str) -> str:
    """`_pool.py` is `holdfast._pool`, and `langchain/__init__.py` is `holdfast.langchain`."""
    parts = ["holdfast", *path.removesuffix(".py").split("/")]
    return ".".join(part for part in parts if part != "__init__")


def targets(node: ast.Import | ast.ImportFrom, path: str, modules: set[str]) -> Iterator[str]:
    """Yields the modules that an import in the file `path` loads, as far as they are ours or top-level."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    above = ["holdfast", *path.split("/")[:-1]]
    base = above[: len(above) - node.level + 1] if node.level else []
    start = ".".join([*base, *([node.module] if node.module else [])])
    for alias in node.names:
        name = f"{start}.{alias.name}"
        yield name if name in modules else start


def offences(path: str, source: str, modules: set[str]) -> list[str]:
    """Everything wrong with one file; `modules` are the dotted names of the package's modules."""
    tree = ast.parse(source)
    found = [
        f"{path}:{node.lineno}: {why}"
        for node, lazy in imports(tree)
        for target in targets(node, path, modules)
        if (why := offence(path, target, lazy=lazy))
    ]
    if path == "__init__.py":
        found += [f"{path}:{node.lineno}: not a list of names" for node in tree.body if not names_only(node)]
    if len(source.splitlines()) > LONGEST_FILE:
        found.append(f"{path}: longer than {LONGEST_FILE} lines")
    return found


def offence(path: str, target: str, *, lazy: bool) -> str | None:
    """Why the file `path` must not import `target`, if so."""
    top = path.split("/")[0].removesuffix(".py")
    head, _, rest = target.partition(".")
    if head != "holdfast":
        known = sys.stdlib_module_names | EDGES.get(top, set())
        return None if head in known else f"must not name {head}"
    if top in EDGES or path == "__init__.py":
        return None
    if not rest and not lazy:
        return "loads the front page: import each name from where it lives"
    module = rest.partition(".")[0]
    return f"the library loads the edge {module} at import" if module in EDGES and not lazy else None


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


def module_names(paths: Iterable[str]) -> set[str]:
    """The dotted names of the package's modules, the native one included."""
    return {module_of(path) for path in paths} | {"holdfast._native"}


def loads(path: str, source: str, modules: set[str]) -> set[str]:
    """The modules of ours that one file loads at import."""
    return {
        target
        for node, lazy in imports(ast.parse(source))
        if not lazy
        for target in targets(node, path, modules)
        if target in modules
    }


def test_the_package_keeps_its_fences() -> None:
    """The library names no third party and loads no edge, edges name only their own, the front lists names."""
    tree = files()
    assert "__init__.py" in tree
    modules = module_names(tree)
    assert [line for path, source in sorted(tree.items()) for line in offences(path, source, modules)] == []


def test_modules_do_not_load_each_other_in_a_circle() -> None:
    """The modules can be put in an order in which each loads only earlier ones."""
    tree = files()
    modules = module_names(tree)
    assert circle({module_of(path): loads(path, source, modules) for path, source in tree.items()}) == []


MADE_UP = {"holdfast", "holdfast._pool", "holdfast._native", "holdfast.langchain", "holdfast._rules.words"}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("_pool.py", "import pydantic"),
        ("_pool.py", "def f():\n    from langchain_core.runnables import Runnable"),
        ("_pool.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import openai"),
        ("_pool.py", "from . import CircuitBreaker"),
        ("_pool.py", "from holdfast import CircuitBreaker"),
        ("_pool.py", "import holdfast"),
        ("_pool.py", "from .langchain import with_resilience"),
        ("_pool.py", "from . import langchain"),
        ("_pool.py", "x = 1\n" * (LONGEST_FILE + 1)),
        ("_rules/words.py", "from ..langchain import with_resilience"),
        ("_rules/words.py", "import httpx"),
        ("langchain/_models.py", "import anthropic"),
        ("__init__.py", "from ._pool import Node\nregister(Node)"),
        ("__init__.py", "__version__ = read()"),
        ("__init__.py", "def helper(): ..."),
    ],
)
def test_an_offender_is_caught(path: str, source: str) -> None:
    """Each rule can fail: a made-up file that breaks one is reported."""
    assert len(offences(path, source, MADE_UP)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("_pool.py", "import sys\nfrom . import _native\nfrom ._native import Core"),
        ("_pool.py", "from collections import abc\nfrom holdfast import _native"),
        ("_pool.py", "def f():\n    from .langchain import wrap\n    import asyncio"),
        ("_rules/words.py", "from .. import _pool\nfrom . import statuses"),
        ("langchain/_models.py", "from langchain_core import runnables\nfrom .. import Retry, _pool"),
        ("__init__.py", '"""Doc."""\nfrom ._pool import Node\n__all__ = ["Node"]\n__version__: str = "1"'),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    """Siblings, the native module, lazy edges and an edge's own packages are no offence."""
    assert offences(path, source, MADE_UP) == []


def test_a_circle_is_caught() -> None:
    """Three modules in a ring are reported with what hangs off them; a lazy import closes no ring."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]
    assert circle({"a": {"b"}, "b": {"_native"}}) == []
    loaded = loads("_pool.py", "from . import _native\ndef f():\n    from ._rules import words", MADE_UP)
    assert loaded == {"holdfast._native"}
