"""What `import holdfast` costs and brings, and what the installed distribution says of itself."""

import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path

import holdfast

NEW_MODULES = """
import json, sys
before = set(sys.modules)
import holdfast
print(json.dumps(sorted(set(sys.modules) - before)))
"""

# Python's own count, and the system's where it tells.
THREADS = """
import os, threading, holdfast
tasks = "/proc/self/task"
print(threading.active_count(), len(os.listdir(tasks)) if os.path.isdir(tasks) else 1)
"""


def new_modules(fresh_python: Callable[[str], str]) -> set[str]:
    return set(json.loads(fresh_python(NEW_MODULES)))


def test_import_brings_in_no_third_party(fresh_python: Callable[[str], str]) -> None:
    """`import holdfast` in a new interpreter loads the standard library and ourselves, nothing else."""
    new = new_modules(fresh_python)
    assert "holdfast" in new
    roots = {name.partition(".")[0] for name in new}
    assert roots - sys.stdlib_module_names == {"holdfast"}


def test_import_leaves_costly_parts_of_the_standard_library_for_later(
    fresh_python: Callable[[str], str],
) -> None:
    """asyncio, logging and dataclasses are loaded at first use, not at import."""
    assert new_modules(fresh_python).isdisjoint({"asyncio", "dataclasses", "logging"})


def test_import_starts_no_thread(fresh_python: Callable[[str], str]) -> None:
    """The runtime starts at the first heartbeat, never at import: the process stays free to fork."""
    assert fresh_python(THREADS).split() == ["1", "1"]


def test_import_keeps_the_gil_as_it_was(fresh_python: Callable[[str], str]) -> None:
    """On a free-threaded interpreter the native module does not switch the GIL back on."""
    probe = "import sys; f = getattr(sys, '_is_gil_enabled', lambda: True); was = f(); import holdfast; "
    assert fresh_python(probe + "print(was == f())").strip() == "True"


def test_every_public_name_is_there() -> None:
    """`__all__` names each public thing once, in order, and each exists."""
    assert len(set(holdfast.__all__)) == len(holdfast.__all__)
    assert [name for name in holdfast.__all__ if not hasattr(holdfast, name)] == []


def test_the_package_is_typed() -> None:
    """The wheel carries the marker and the stub that type checkers look for."""
    folder = Path(holdfast.__file__).parent
    assert (folder / "py.typed").is_file()
    assert (folder / "_native.pyi").is_file()


def test_the_distribution_requires_nothing() -> None:
    """Without an extra, installing the distribution installs nothing else; each extra has its code."""
    required = importlib.metadata.requires("holdfast") or []
    assert [line for line in required if "extra ==" not in line] == []
    extras = importlib.metadata.metadata("holdfast").get_all("Provides-Extra")
    assert sorted(extras or []) == ["all", "anthropic", "langchain", "openai"]


def test_the_distribution_has_its_command_and_licences() -> None:
    """The wheel installs the command `holdfast` and ships both licence texts."""
    distribution = importlib.metadata.distribution("holdfast")
    points = distribution.entry_points.select(group="console_scripts")
    commands = {point.name: point.value for point in points}
    assert commands == {"holdfast": "holdfast.cli:main"}
    assert distribution.metadata["License-Expression"] == "MIT OR Apache-2.0"
    files = {path.name for path in distribution.files or []}
    assert {"LICENSE-MIT", "LICENSE-APACHE"} <= files
