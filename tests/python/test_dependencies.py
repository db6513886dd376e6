"""Every dependency is permissively licensed, and each direct one is explained in docs/dependencies.md."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def cargo(*arguments: str) -> str:
    return subprocess.run(
        ["cargo", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=50, check=True
    ).stdout


def toml(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text("utf-8"))


def allowed() -> set[str]:
    return set(toml("deny.toml")["licenses"]["allow"])


def is_permissive(licence: str, allow: set[str]) -> bool:
    """Whether an SPDX expression of AND, OR and brackets can be met by allowed licences alone."""
    terms = re.split(r"(\(|\)|\bAND\b|\bOR\b|/)", licence)
    words = {"AND": "and", "OR": "or", "/": "or", "(": "(", ")": ")"}
    parts = [words.get(term, str(term in allow)) for term in map(str.strip, terms) if term]
    return bool(eval(" ".join(parts)))


def test_every_crate_is_permissively_licensed() -> None:
    """Each crate this machine's build can link has a licence that deny.toml allows."""
    host = re.search(r"host: (.*)", cargo("-vV"))
    assert host is not None
    graph = cargo(
        "metadata", "--locked", "--format-version=1", "--all-features", "--filter-platform", host[1]
    )
    crates = {crate["name"]: crate["license"] or "none" for crate in json.loads(graph)["packages"]}
    assert "pyo3" in crates
    allow = allowed()
    assert {name: text for name, text in crates.items() if not is_permissive(text, allow)} == {}


@pytest.mark.parametrize(
    ("licence", "permissive"),
    [
        ("MIT", True),
        ("MIT/Apache-2.0", True),
        ("MIT OR GPL-3.0-only", True),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR Apache-2.0) AND MPL-2.0", False),
        ("none", False),
    ],
)
def test_a_licence_that_is_not_permissive_is_caught(licence: str, permissive: bool) -> None:
    """AND needs both sides, OR one, and a crate without a licence is refused."""
    assert is_permissive(licence, allowed()) is permissive


def test_the_core_builds_without_an_interpreter() -> None:
    """Without the feature `python` no part of PyO3 is in the dependency graph, build scripts included."""
    assert "pyo3" in cargo("tree", "--locked", "--prefix=none")
    assert "pyo3" not in cargo("tree", "--locked", "--prefix=none", "--no-default-features")


def direct_dependencies() -> set[str]:
    crate = toml("Cargo.toml")
    tables = [crate, *crate.get("target", {}).values()]
    kinds = ("dependencies", "dev-dependencies", "build-dependencies")
    names = {name for table in tables for kind in kinds for name in table.get(kind, {})}
    project = toml("pyproject.toml")
    lists = [*project["dependency-groups"].values(), *project["project"]["optional-dependencies"].values()]
    lists.append(project["build-system"]["requires"])
    lines = [line for entries in lists for line in entries if isinstance(line, str)]
    return names | {re.split(r"[\[<>=~! ]", line)[0] for line in lines} - {"holdfast"}


def test_every_direct_dependency_is_explained() -> None:
    """docs/dependencies.md has one line for each direct dependency, and none for what is gone."""
    text = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    explained = set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))
    assert explained - {"cargo-deny"} == direct_dependencies()
