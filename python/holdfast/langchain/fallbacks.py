"""What stands where LangChain's `RunnableWithFallbacks` stands.

A subclass of it, so that `isinstance`, fields, names in traces and serialised ids are the same; every call
goes through a manager instead. What differs from LangChain's, and why, is told in docs/guides/langchain.md.
"""

# Annotations are not postponed here: pydantic reads them when the class is made.

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from pydantic import BaseModel, PrivateAttr

import holdfast as hf
from holdfast._chat import is_chat_model
from holdfast._classify import Verdict, classify
from holdfast.langchain._copies import without_sdk_retries
from holdfast.langchain._drop_in import Made, is_own
from holdfast.langchain._paths import Bare, GuardedPaths, Input, Output
from holdfast.langchain._runs import Runs


class ResilientFallbacks(GuardedPaths[Input, Output], RunnableWithFallbacks[Input, Output]):
    """Asks one runnable and, when it fails, the next; stands where `RunnableWithFallbacks` stands.

    Every call path is guarded, batches element by element, streams until their first item. What fails with
    errors of its endpoint five times in a row is passed over for a while, unless nothing else is left.

    Args:
        runnable: The one that is asked first.
        fallbacks: Those that are asked then, in this order.
        exceptions_to_handle: The exceptions on which the next is asked. Cancellation and what is no
            `Exception` are raised at once, even if named here.
        exception_key: The key under which the next runnable finds the exception in its input, a dictionary;
            yours is not changed.
    """

    _made: Made = PrivateAttr(default_factory=Made)

    @classmethod
    def lc_id(cls) -> list[str]:
        """LangChain's own: a dump of it is a dump of a `RunnableWithFallbacks`."""
        return [*cls.get_lc_namespace(), RunnableWithFallbacks.__name__]

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """The name in traces: LangChain's own, unless one is given."""
        return super().get_name(suffix, name=name or self.name or RunnableWithFallbacks.__name__)

    @property
    def _manager(self) -> hf.FailoverManager:
        key = (*map(id, self.runnables), self.exceptions_to_handle)
        return cast("hf.FailoverManager", self._made.get(key, self._make))

    def _make(self) -> hf.FailoverManager:
        nodes = [
            hf.Node(f"{tier}:{runnable.get_name()}", _Place(without_sdk_retries(runnable)), tier=tier)
            for tier, runnable in enumerate(self.runnables)
        ]
        return hf.FailoverManager(
            nodes,
            name=self.get_name(),
            classify=_handled(self.exceptions_to_handle),
            exhausted="try_anyway",
            _rules=classify,
        )

    def _run(self, attempt: Callable[[Bare, str | None], Any]) -> Any:
        return self._manager.run(lambda node: attempt(node.target.runnable, None))

    async def _arun(self, attempt: Callable[[Bare, str | None], Awaitable[Any]]) -> Any:
        async def on(node: Any) -> Any:
            return await attempt(node.target.runnable, None)

        return await self._manager.arun(on)

    def _run_stream(self, attempt: Callable[[Bare, str | None], Iterator[Any]]) -> Iterator[Any]:
        return self._manager.run_stream(lambda node: attempt(node.target.runnable, None))

    def _run_astream(self, attempt: Callable[[Bare, str | None], AsyncIterator[Any]]) -> AsyncIterator[Any]:
        return self._manager.run_astream(lambda node: attempt(node.target.runnable, None))

    def transform(
        self,
        input: Iterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """A guarded stream of a streamed input; with `exception_key`, of the whole input."""
        path: Any = GuardedPaths if self.exception_key is None else Runnable
        yield from path.transform(self, input, config, **kwargs)

    async def atransform(
        self,
        input: AsyncIterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """`transform` for asynchronous streams."""
        path: Any = GuardedPaths if self.exception_key is None else Runnable
        async for item in path.atransform(self, input, config, **kwargs):
            yield item

    def _accepts(self, input: Any) -> None:  # noqa: A002
        if self.exception_key is not None and not isinstance(input, dict):
            raise ValueError(
                f"with exception_key the input must be a dictionary, not a value of type {type(input).__name__}"
            )

    def _attempted(self, input: Any, runs: Runs) -> Any:  # noqa: A002
        if self.exception_key is None or not runs.failed:
            return input
        return {**input, self.exception_key: runs.failed[-1]}

    def _explained(self, runs: Runs) -> AbstractContextManager[Any]:
        return _first_raised(runs)

    def _speaks(self) -> bool:
        return all(is_chat_model(runnable) for runnable in self.runnables)

    def __getattr__(self, name: str) -> Any:
        """What the first runnable has and this has not; what it binds is bound to every fallback as well."""
        try:
            return BaseModel.__getattr__(self, name)  # type: ignore[attr-defined]
        except AttributeError:
            if is_own(name):
                raise
        found = getattr(self.runnable, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def everywhere(*args: Any, **kwargs: Any) -> Any:
            first = found(*args, **kwargs)
            if not isinstance(first, Runnable):
                return first
            others = [getattr(fallback, name)(*args, **kwargs) for fallback in self.fallbacks]
            fields = {field: getattr(self, field) for field in type(self).model_fields}
            return type(self)(**{**fields, "runnable": first, "fallbacks": others})

        return everywhere


class _Place:
    """The target of a node that is asked by way of its runnable. Not a runnable itself: answers are not judged."""

    __slots__ = ("runnable",)

    def __init__(self, runnable: Runnable[Any, Any]) -> None:
        self.runnable = runnable

    def __call__(self) -> Runnable[Any, Any]:
        return self.runnable


def _handled(types: Any) -> Callable[[BaseException, Verdict], Verdict]:
    """What the next runnable is asked after; whom a failure counts against is for the classifier to say."""

    def judge(exc: BaseException, verdict: Verdict) -> Verdict:
        if verdict.outcome == "ignore":
            return verdict
        return verdict.but(retry=False, fail_over=isinstance(exc, types))

    return judge


@contextmanager
def _first_raised(runs: Runs) -> Iterator[None]:
    """When all have failed the error of the first is raised, with a note of what the others said."""
    try:
        yield
    except Exception as last:
        first = runs.failed[0] if runs.failed else last
        if first is last or last is not runs.failed[-1]:
            raise
        # The notes and the history that the last one carries are those of the whole call.
        for name, value in vars(last).items():
            if name.startswith("__holdfast"):
                setattr(first, name, value)
        for note in getattr(last, "__notes__", ()):
            if note.startswith("holdfast: "):
                first.add_note(note)
        context = first.__context__
        try:
            raise first
        finally:
            first.__context__ = context  # it was not raised while another was handled
