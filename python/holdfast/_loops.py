"""Which event loop runs us, if it is not asyncio? Asked only once one of the others has been imported."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def foreign() -> str | None:
    """The name of the loop that runs the calling code, if it is trio or curio."""
    for name, runs in (("trio", _is_in_trio), ("curio", _is_in_curio)):
        module = sys.modules.get(name)
        if module is not None and runs(module):
            return name
    return None


def _is_in_trio(trio: ModuleType) -> bool:
    lowlevel = getattr(trio, "lowlevel", None)
    if lowlevel is None:  # it is being imported right now, so nobody runs it yet
        return False
    try:
        lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def _is_in_curio(curio: ModuleType) -> bool:
    meta = getattr(curio, "meta", None)
    return meta is not None and bool(meta.curio_running())
