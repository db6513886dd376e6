"""The interpreter, this build, and the switches in environment variables."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from collections.abc import Iterator, Mapping

import holdfast
from holdfast.doctor.finding import Finding


def look_at_environment(variables: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """What runs here.

    Args:
        variables: Environment variables; by default those of this process.
    """
    variables = os.environ if variables is None else variables
    free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    yield Finding(
        "ok",
        f"holdfast {holdfast.__version__}",
        f"On {platform.python_implementation()} {platform.python_version()}"
        f"{', free-threaded' if free else ''}, {platform.system()} {platform.machine()}.",
    )
    if free and getattr(sys, "_is_gil_enabled", bool)():
        yield Finding(
            "note",
            "the GIL",
            "This is a free-threaded interpreter, but some extension module has switched the GIL back on.",
            "Find it with `python -W default -X gil=0`; holdfast itself does not need it.",
        )
    for name in sorted(variables):
        if name.startswith("HOLDFAST_"):
            yield Finding("note", name, f"Set to {variables[name]!r}.", "Unset it in production.")
