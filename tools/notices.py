"""Writes THIRD-PARTY-NOTICES.txt: the licence texts of every crate that a wheel links.

The texts lie beside each crate's source, where cargo has put it. The build calls this, and the wheel carries the result
under `licenses/`. It is a script of our own because the usual tool for it compiles for minutes, and this is a walk over
`cargo metadata`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TEXTS = re.compile(r"(?i)^(licen[cs]e|copying|notice|unlicense)")
RULE = "=" * 100
HEAD = """\
Third-party notices

Wheels of holdfast contain code of the crates below, each under the licence it names; their texts follow.
"""


def linked(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """The crates that end up in the library: normal dependencies, from ours downwards."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    own = metadata["resolve"]["root"]
    seen, todo = {own}, [own]
    while todo:
        for dependency in nodes[todo.pop()]["deps"]:
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if normal and dependency["pkg"] not in seen and not _is_macro(packages[dependency["pkg"]]):
                seen.add(dependency["pkg"])
                todo.append(dependency["pkg"])
    return sorted((packages[found] for found in seen - {own}), key=lambda package: package["name"])


def _is_macro(package: dict[str, Any]) -> bool:
    """Runs in the compiler; nothing of it is in the wheel."""
    return any("proc-macro" in target["kind"] for target in package["targets"])


def texts(package: dict[str, Any]) -> list[str]:
    """The licence texts in a crate's folder."""
    folder = Path(package["manifest_path"]).parent
    found = sorted(path for path in folder.iterdir() if path.is_file() and TEXTS.match(path.name))
    return [path.read_text("utf-8", errors="replace").strip() for path in found]


def notices(metadata: dict[str, Any]) -> str:
    """The whole page; a text that several crates share word for word stands once."""
    crates = linked(metadata)
    holders: dict[str, list[str]] = {}
    lines = [HEAD]
    for package in crates:
        name = f"{package['name']} {package['version']}"
        lines.append(f"  {name}: {package['license']}")
        for text in texts(package):
            holders.setdefault(text, []).append(name)
    for text, names in holders.items():
        lines += ["", RULE, ", ".join(names), RULE, "", text]
    return "\n".join(lines) + "\n"


def main() -> int:
    host = re.search(r"host: (.*)", _run("rustc", "-vV"))
    assert host is not None
    told = _run(
        "cargo", "metadata", "--locked", "--format-version=1", "--all-features", "--filter-platform", host[1]
    )
    page = notices(json.loads(told))
    target = ROOT / "THIRD-PARTY-NOTICES.txt"
    if not target.exists() or target.read_text("utf-8") != page:
        target.write_text(page, "utf-8")
    return 0


def _run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
