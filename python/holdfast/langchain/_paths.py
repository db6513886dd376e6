"""Every call path of a runnable, by way of one guarded attempt.

LangChain has sixteen ways to call a runnable and does not derive them from one another: a wrapper that
guards `invoke` alone is walked around by `chain.stream`, which calls `transform`, and by
`batch_as_completed`. Here all of them lead to four drivers.

::

    invoke ── batch · batch_as_completed ──────────┐ run        one element, one call
    ainvoke ─ abatch · abatch_as_completed ────────┤ arun
    stream ── transform · stream_events ───────────┤ run_stream      tried again until the first item
    astream ─ atransform · astream_events · _log ──┘ run_astream
                     │
         one run in the trace, of the call
                     └── a child of it for each attempt, the later ones tagged `retry:attempt:N`
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, cast

from langchain_core.runnables import Runnable, RunnableConfig
from typing_extensions import TypeVar  # LangChain's own requirement; its defaults are of Python 3.13

from holdfast.langchain._messages import closing_async, closing_sync
from holdfast.langchain._replay import AsyncReplay, InputFailed, Replay
from holdfast.langchain._runs import Runs
from holdfast.langchain._v3 import amessage_stream, message_stream

Bare = Runnable[Any, Any]
Attempt = Callable[[Bare, str | None], Any]
"""What is done with a runnable, and the name of its node if it has one."""
Input = TypeVar("Input", default=Any)
Output = TypeVar("Output", default=Any)
Items = TypeVar("Items")
Begin = Callable[[Bare, RunnableConfig], Items]
"""What begins an attempt at a stream."""


class GuardedPaths(Generic[Input, Output]):
    """The call paths, for a class that is a `Runnable` and offers the four drivers."""

    @abstractmethod
    def _run(self, attempt: Callable[[Bare, str | None], Any]) -> Any: ...

    @abstractmethod
    def _arun(self, attempt: Callable[[Bare, str | None], Awaitable[Any]]) -> Awaitable[Any]: ...

    @abstractmethod
    def _run_stream(self, attempt: Callable[[Bare, str | None], Iterator[Any]]) -> Iterator[Any]: ...

    @abstractmethod
    def _run_astream(
        self, attempt: Callable[[Bare, str | None], AsyncIterator[Any]]
    ) -> AsyncIterator[Any]: ...

    # What a subclass may add to an attempt.

    def _attempted(self, input: Any, runs: Runs) -> Any:  # noqa: A002
        """The input of the next attempt."""
        return input

    def _configured(self, config: RunnableConfig) -> RunnableConfig:
        """The config of an attempt."""
        return config

    def _arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments of the attempts."""
        return kwargs

    def _accepts(self, input: Any) -> None:  # noqa: A002
        """Raises if the input is not what it must be."""

    def _explained(self, runs: Runs) -> AbstractContextManager[Any]:
        """Around all attempts of a call: what it raises when none of them answers."""
        return nullcontext(runs)

    # One call

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:  # noqa: A002
        """One guarded call."""
        self._accepts(input)
        answer: Output = self._as_runnable._call_with_config(self._invoke_guarded, input, config, **kwargs)
        return answer

    def _invoke_guarded(self, input: Any, run_manager: Any, config: RunnableConfig, **kwargs: Any) -> Any:  # noqa: A002
        runs, named = Runs(run_manager, config), self._arguments(kwargs)

        def attempt(runnable: Bare, node: str | None) -> Any:
            given, child = self._attempted(input, runs), self._configured(runs.begin(node))
            with runs.watched():
                return runnable.invoke(given, child, **named)

        with self._explained(runs):
            return self._run(attempt)

    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:  # noqa: A002
        """One guarded call, awaited."""
        self._accepts(input)
        called = self._as_runnable._acall_with_config(self._ainvoke_guarded, input, config, **kwargs)
        answer: Output = await called
        return answer

    async def _ainvoke_guarded(
        self,
        input: Any,  # noqa: A002
        run_manager: Any,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        runs, named = Runs(run_manager, config), self._arguments(kwargs)

        async def attempt(runnable: Bare, node: str | None) -> Any:
            given, child = self._attempted(input, runs), self._configured(runs.begin(node))
            with runs.watched():
                return await runnable.ainvoke(given, child, **named)

        with self._explained(runs):
            return await self._arun(attempt)

    # Several: each element is a call of its own, so that the failure of one costs only that one.

    batch = Runnable.batch
    abatch = Runnable.abatch
    batch_as_completed = Runnable.batch_as_completed
    abatch_as_completed = Runnable.abatch_as_completed

    # A stream

    def stream(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Output]:  # noqa: A002
        """A guarded stream: asked again only while nothing has been handed out."""
        self._accepts(input)
        yield from self._as_runnable._transform_stream_with_config(
            iter([input]), self._stream_guarded, config, **kwargs
        )

    def _stream_guarded(
        self,
        inputs: Iterator[Any],
        run_manager: Any,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[Any]:
        runs, named, given = Runs(run_manager, config), self._arguments(kwargs), next(inputs)
        return self._items(
            runs,
            Replay(iter(())),
            lambda runnable, child: runnable.stream(self._attempted(given, runs), child, **named),
        )

    def _items(self, runs: Runs, replay: Replay, begin: Begin[Iterator[Any]]) -> Iterator[Any]:
        """The items of one call, each attempt at which `begin` begins."""

        def attempt(runnable: Bare, node: str | None) -> Iterator[Any]:
            child = self._configured(runs.begin(node))
            with runs.watched(), replay.told(), closing_sync(begin(runnable, child)) as items:
                yield from items

        failed = None
        try:
            with self._explained(runs), closing_sync(self._run_stream(attempt)) as guarded:
                for item in guarded:
                    replay.forget()
                    yield item
        except InputFailed as stop:
            failed = stop.error
        if failed is not None:
            raise failed

    async def astream(
        self,
        input: Input,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Output]:
        """A guarded asynchronous stream."""
        self._accepts(input)
        items = self._as_runnable._atransform_stream_with_config(
            _one(input), self._astream_guarded, config, **kwargs
        )
        async with closing_async(items):
            async for item in items:
                yield item

    async def _astream_guarded(
        self,
        inputs: AsyncIterator[Any],
        run_manager: Any,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        runs, named, given = Runs(run_manager, config), self._arguments(kwargs), await anext(inputs)
        items = self._aitems(
            runs,
            AsyncReplay(_none()),
            lambda runnable, child: runnable.astream(self._attempted(given, runs), child, **named),
        )
        async with closing_async(items):
            async for item in items:
                yield item

    async def _aitems(
        self, runs: Runs, replay: AsyncReplay, begin: Begin[AsyncIterator[Any]]
    ) -> AsyncIterator[Any]:
        """`_items`, asynchronously."""

        async def attempt(runnable: Bare, node: str | None) -> AsyncIterator[Any]:
            child = self._configured(runs.begin(node))
            with runs.watched(), replay.told():
                async with closing_async(begin(runnable, child)) as items:
                    async for item in items:
                        yield item

        failed = None
        try:
            with self._explained(runs):
                async with closing_async(self._run_astream(attempt)) as guarded:
                    async for item in guarded:
                        replay.forget()
                        yield item
        except InputFailed as stop:
            failed = stop.error
        if failed is not None:
            raise failed

    # A stream of a stream: what `chain.stream` calls.

    def transform(
        self,
        input: Iterator[Input],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Output]:
        """A guarded stream of a streamed input, which is kept for further attempts until there is output."""
        yield from self._as_runnable._transform_stream_with_config(
            input, self._transform_guarded, config, **kwargs
        )

    def _transform_guarded(
        self,
        inputs: Iterator[Any],
        run_manager: Any,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[Any]:
        runs, named, replay = Runs(run_manager, config), self._arguments(kwargs), Replay(inputs)
        return self._items(
            runs, replay, lambda runnable, child: runnable.transform(replay.source(), child, **named)
        )

    async def atransform(
        self,
        input: AsyncIterator[Input],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Output]:
        """`transform` for asynchronous streams."""
        items = self._as_runnable._atransform_stream_with_config(
            input, self._atransform_guarded, config, **kwargs
        )
        async with closing_async(items):
            async for item in items:
                yield item

    def _atransform_guarded(
        self,
        inputs: AsyncIterator[Any],
        run_manager: Any,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        runs, named, replay = Runs(run_manager, config), self._arguments(kwargs), AsyncReplay(inputs)
        return self._aitems(
            runs, replay, lambda runnable, child: runnable.atransform(replay.source(), child, **named)
        )

    # Events

    def stream_events(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        version: str = "v2",
        **kwargs: Any,
    ) -> Any:
        """The typed stream of a chat model (``version="v3"``), over a guarded stream of it."""
        if version != "v3":
            return Runnable.stream_events(self._as_runnable, input, config, version=version, **kwargs)  # type: ignore[call-overload]
        if self._speaks():
            return message_stream(lambda: self.stream(input, config, **kwargs))
        return self._run(lambda runnable, _: runnable.stream_events(input, config, version="v3", **kwargs))

    def astream_events(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        version: str = "v2",
        **kwargs: Any,
    ) -> Any:
        """The events of a guarded stream; with ``version="v3"`` an awaitable of the chat model's typed stream."""
        if version != "v3":
            return Runnable.astream_events(self._as_runnable, input, config, version=version, **kwargs)  # type: ignore[call-overload]
        return self._astream_v3(input, config, **kwargs)

    async def _astream_v3(self, input: Any, config: RunnableConfig | None, **kwargs: Any) -> Any:  # noqa: A002
        if self._speaks():
            return amessage_stream(lambda: self.astream(input, config, **kwargs))

        async def attempt(runnable: Bare, _node: str | None) -> Any:
            return await runnable.astream_events(input, config, version="v3", **kwargs)

        return await self._arun(attempt)

    def _speaks(self) -> bool:
        """Do its streams consist of a chat model's messages?"""
        return False

    @property
    def _as_runnable(self) -> Any:
        return cast("Any", self)


async def _none() -> AsyncIterator[Any]:
    """A streamed input that is not there."""
    nothing: tuple[Any, ...] = ()
    for item in nothing:
        yield item


async def _one(item: Any) -> AsyncIterator[Any]:
    yield item
