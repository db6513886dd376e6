"""A copy of an SDK's objects, down to the HTTP client among them.

An SDK's client is a small graph: the client, its resources, a configuration, and one HTTP client that all of
them know. To replace that one in a copy, everything on the way to it must be copied; everything else, the keys,
the settings, the hooks, stays the very same object.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, cast

from holdfast.clients._bounded import borrowed, bounded, is_http_client, shallow

if TYPE_CHECKING:
    from collections.abc import Callable


class Rewriter:
    """Copies the objects whose classes live in `package`, each once, and the HTTP clients they hold.

    Args:
        package: A module's dotted name, such as "google.genai".
        root: The client at the top; it is kept alive, because it may own connections that the copy uses.
        change: Called with each copy, to switch off what must be off.
    """

    def __init__(self, package: str, root: Any, change: Callable[[Any], None]) -> None:
        self._package = package
        self._root = root
        self._change = change
        # By identity, with the original: so that its id is not given to another.
        self._copies: dict[int, tuple[Any, Any]] = {}

    def copy(self) -> Any:
        return self._rewritten(self._root)

    def _rewritten(self, value: Any) -> Any:
        known = self._copies.get(id(value))
        if known is not None:
            return known[1]
        if isinstance(value, types.MethodType):
            return types.MethodType(value.__func__, self._rewritten(value.__self__))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if is_http_client(value):
            return self._remember(value, bounded(value))
        if is_http_client(value, "AsyncClient"):
            return self._remember(value, borrowed(value, self._root))
        if not self._is_ours(value):
            return value
        copied = self._remember(value, shallow(value))
        for name, part in value.__dict__.items():
            copied.__dict__[name] = self._rewritten(part)
        self._change(copied)
        return copied

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        """A function that an SDK has put over a method of its client: it encloses the method it goes on to."""
        self._remember(function, function)  # it may enclose itself
        cells = function.__closure__ or ()
        closure = tuple(self._cell(cell) for cell in cells)
        if all(new is old for new, old in zip(closure, cells, strict=True)):
            return function
        copied = types.FunctionType(
            function.__code__, function.__globals__, function.__name__, function.__defaults__, closure
        )
        copied.__kwdefaults__ = function.__kwdefaults__
        copied.__dict__.update(function.__dict__)
        return cast("types.FunctionType", self._remember(function, copied))

    def _cell(self, cell: types.CellType) -> types.CellType:
        try:
            content = cell.cell_contents
        except ValueError:
            return cell  # not filled yet
        ours = isinstance(content, types.MethodType) and self._is_ours(content.__self__)
        if not ours and not isinstance(content, types.FunctionType):
            return cell
        changed = self._rewritten(content)
        return cell if changed is content else types.CellType(changed)

    def _remember(self, value: Any, copied: Any) -> Any:
        self._copies[id(value)] = (value, copied)
        return copied

    def _is_ours(self, value: Any) -> bool:
        """An object of the SDK's own, neither a class nor a pydantic model: those are settings, and shared."""
        cls = type(value)
        return (
            f"{cls.__module__}.".startswith(f"{self._package}.")
            and hasattr(value, "__dict__")
            and not isinstance(value, type)
            and not hasattr(cls, "model_fields")
        )
