"""What is searched: the docstrings of Python's standard library, which every machine has."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

# The folders of the library that are read; all of it would take some ten seconds.
FOLDERS = ("", "asyncio", "collections", "concurrent/futures", "email", "http", "json", "logging", "urllib")

Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Document:
    """One docstring: `title` is the dotted name of what it describes."""

    title: str
    text: str


@cache
def documents() -> tuple[Document, ...]:
    """Every docstring of a module, class or function, in the same order each time.

    The sources are parsed, not imported: nothing of them runs.
    """
    return tuple(_documents())


def _documents() -> Iterator[Document]:
    library = Path(sysconfig.get_path("stdlib"))
    for folder in FOLDERS:
        for path in sorted((library / folder).glob("*.py")):
            if not path.stem.startswith("_") or path.stem == "__init__":
                module = ".".join(path.relative_to(library).with_suffix("").parts).removesuffix(".__init__")
                yield from _described(ast.parse(path.read_bytes()), module)


def _described(node: ast.Module | Definition, name: str) -> Iterator[Document]:
    text = ast.get_docstring(node)
    if text:
        yield Document(name, text)
    for inner in node.body:
        if isinstance(inner, Definition):
            yield from _described(inner, f"{name}.{inner.name}")
