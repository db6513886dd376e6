"""The doors of a manager that are given a function, or a number of nodes to ask at once."""

from __future__ import annotations

from holdfast._exceptions import refuse

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Awaitable,
        Callable,
        Coroutine,
        Generator,
        Iterable,
    )
    from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

    from holdfast._node import Node

    P = ParamSpec("P")
    T = TypeVar("T")


class Doors:
    """A function on one node, or one task on several nodes at once, of which the first success wins."""

    __slots__ = ()

    if TYPE_CHECKING:
        _threads: bool

        def _race(
            self,
            function: Callable[..., Any] | None,
            colour: str,
            n: int,
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
        ) -> Any: ...
        def _guard(
            self,
            function: Callable[..., Any] | None,
            colour: Literal["function", "coroutine", "generator", "async_generator"],
        ) -> Any: ...

    def run(self, function: Callable[Concatenate[Node, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls ``function(node, *args, **kwargs)`` on a ready node, once."""
        made: T = self._guard(function, "function")(*args, **kwargs)
        return made

    def arun(
        self, function: Callable[Concatenate[Node, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Awaits ``function(node, *args, **kwargs)`` on a ready node."""
        made: Coroutine[Any, Any, T] = self._guard(function, "coroutine")(*args, **kwargs)
        return made

    def run_stream(
        self, function: Callable[Concatenate[Node, P], Iterable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Generator[T, Any, Any]:
        """Iterates over ``function(node, *args, **kwargs)`` on a ready node."""
        made: Generator[T, Any, Any] = self._guard(function, "generator")(*args, **kwargs)
        return made

    def run_astream(
        self, function: Callable[Concatenate[Node, P], AsyncIterable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, Any]:
        """Iterates asynchronously over ``function(node, *args, **kwargs)`` on a ready node."""
        made: AsyncGenerator[T, Any] = self._guard(function, "async_generator")(*args, **kwargs)
        return made

    def replicate(self, n: int, /, *args: Any, **kwargs: Any) -> Any:
        """Calls the targets of ``n`` ready nodes at once, in threads; the first success wins.

        The others run on to their end, unless their transport can be cut, and count for nobody. Where fewer
        nodes are ready, those are asked; when all have failed, the call goes on as any other.

        Raises:
            ConfigurationError: ``threads`` is not ``True``, or ``n`` is no whole number of at least 1.
        """
        return self._replicated(None, n, args, kwargs)

    def areplicate(self, n: int, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Awaits the targets of ``n`` ready nodes at once, in tasks; the others are cancelled."""
        return self._areplicated(None, n, args, kwargs)

    def run_replicated(
        self, n: int, function: Callable[Concatenate[Node, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Runs ``function(node, *args, **kwargs)`` on ``n`` nodes at once, as `replicate` does."""
        made: T = self._replicated(function, n, args, kwargs)
        return made

    def arun_replicated(
        self,
        n: int,
        function: Callable[Concatenate[Node, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, T]:
        """Awaits ``function(node, *args, **kwargs)`` on ``n`` nodes at once, as `areplicate` does."""
        return self._areplicated(function, n, args, kwargs)

    def _replicated(
        self, function: Callable[..., Any] | None, n: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        from holdfast import _race

        if not self._threads:
            raise refuse(
                "threads", "be True for sync calls to be replicated: they run in threads", self._threads
            )
        return _race.run(self._race(function, "function", n, args, kwargs))

    def _areplicated(
        self, function: Callable[..., Any] | None, n: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        from holdfast import _race

        return _race.arun(self._race(function, "coroutine", n, args, kwargs))
