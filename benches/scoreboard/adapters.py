"""Each breaker behind one face, by the API that its own documentation shows.

An adapter says which colours it has (``is_sync``, ``is_async``) and makes a *subject*: ``call(fn)``,
``await acall(fn)``, ``stream(fn)``, ``astream(fn)``. ``make`` is asked for a breaker that opens after
``threshold`` failures in a row, admits one probe after ``recovery`` seconds, and closes after one good probe,
as far as the library can be told so. Streams use the library's decorator where it knows generators, else its
block form inside a generator, else its decorator as it is.

Written from the installed sources of the versions in ``requirements.txt``.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, ClassVar

logging.disable(logging.CRITICAL)


class Adapter:
    """What the behaviours need to know of a library."""

    package = ""
    is_sync = False
    is_async = False
    #: Why it cannot be asked for something; by behaviour or by feature.
    lacks: ClassVar[dict[str, str]] = {}

    def make(self, threshold: int = 3, recovery: float = 0.3, listener: Any = None) -> Any:
        raise NotImplementedError


def block_stream(block: Any, source: Any) -> Any:
    """A generator with the library's ``with`` around it."""
    with block:
        yield from source()


async def block_astream(block: Any, source: Any) -> Any:
    """An async generator with the library's ``async with`` around it."""
    async with block:
        async for item in source():
            yield item


class Holdfast(Adapter):
    package = "holdfast"
    is_sync = is_async = True

    def make(self, threshold: int = 3, recovery: float = 0.3, listener: Any = None) -> Any:
        import holdfast

        breaker = holdfast.CircuitBreaker(
            failure_threshold=threshold, open_timeout=recovery, success_threshold=1, probe_lease=0.5
        )
        if listener is not None:
            breaker.subscribe(listener)

        class Subject:
            call = staticmethod(lambda fn: breaker(fn)())
            acall = staticmethod(lambda fn: breaker(fn)())
            stream = astream = staticmethod(lambda source: breaker(source)())

        return Subject


class PyBreaker(Adapter):
    package = "pybreaker"
    is_sync = True
    lacks: ClassVar[dict[str, str]] = {"async": "its async form needs tornado"}

    def make(self, threshold: int = 3, recovery: float = 0.3, listener: Any = None) -> Any:
        import pybreaker

        class Listener(pybreaker.CircuitBreakerListener):
            def failure(self, cb: Any, exc: Any) -> None:
                listener(exc)

            def success(self, cb: Any) -> None:
                listener(cb)

            def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
                listener(new_state)

        listeners = [Listener()] if listener is not None else None
        breaker = pybreaker.CircuitBreaker(threshold, recovery, success_threshold=1, listeners=listeners)

        class Subject:
            call = staticmethod(breaker.call)
            stream = staticmethod(breaker.call)

        return Subject


class CircuitBreakerLib(Adapter):
    package = "circuitbreaker"
    is_sync = is_async = True
    lacks: ClassVar[dict[str, str]] = {"listener": "it has no listeners"}

    def make(self, threshold: int = 3, recovery: float = 0.3, listener: Any = None) -> Any:
        import circuitbreaker

        breaker = circuitbreaker.CircuitBreaker(threshold, recovery, name="scoreboard")

        class Subject:
            call = staticmethod(lambda fn: breaker(fn)())
            acall = staticmethod(lambda fn: breaker(fn)())
            stream = astream = staticmethod(lambda source: breaker(source)())

        return Subject


class AioBreaker(Adapter):
    package = "aiobreaker"
    is_sync = is_async = True

    def make(self, threshold: int = 3, recovery: float = 0.3, listener: Any = None) -> Any:
        import aiobreaker

        class Listener(aiobreaker.CircuitBreakerListener):
            def failure(self, breaker: Any, exception: Any) -> None:
                listener(exception)

            def success(self, breaker: Any) -> None:
                listener(breaker)

            def state_change(self, breaker: Any, old: Any, new: Any) -> None:
                listener(new)

        breaker = aiobreaker.CircuitBreaker(
            threshold, timedelta(seconds=recovery), listeners=[Listener()] if listener is not None else None
        )

        class Subject:
            call = staticmethod(breaker.call)
            acall = staticmethod(breaker.call_async)
            stream = astream = staticmethod(lambda source: breaker(source)())

        return Subject


class Purgatory(Adapter):
    package = "purgatory"
    is_sync = is_async = True

    def make(self, threshold: int = 3, recovery: float = 0.3, listener: Any = None) -> Any:
        import purgatory

        # One factory per colour: the two do not share their state.
        def hook(name: str, kind: str, event: Any) -> None:
            listener(event)

        sync = purgatory.SyncCircuitBreakerFactory(default_threshold=threshold, default_ttl=recovery)
        other = purgatory.AsyncCircuitBreakerFactory(default_threshold=threshold, default_ttl=recovery)
        if listener is not None:
            sync.add_listener(hook)
            other.add_listener(hook)

        async def astream(source: Any) -> Any:
            async with await other.get_breaker("scoreboard"):
                async for item in source():
                    yield item

        class Subject:
            call = staticmethod(lambda fn: sync("scoreboard")(fn)())
            acall = staticmethod(lambda fn: other("scoreboard")(fn)())
            stream = staticmethod(lambda source: block_stream(sync.get_breaker("scoreboard"), source))

        Subject.astream = staticmethod(astream)  # type: ignore[attr-defined]
        return Subject


class Hyx(Adapter):
    package = "hyx"
    is_async = True
    lacks: ClassVar[dict[str, str]] = {
        "sync": "async only",
        "listener": "this version's breaker has no listeners",
    }

    def make(self, threshold: int = 3, recovery: float = 0.3, listener: Any = None) -> Any:
        from hyx.circuitbreaker import consecutive_breaker

        breaker = consecutive_breaker(
            failure_threshold=threshold, recovery_time_secs=recovery, recovery_threshold=1
        )

        class Subject:
            acall = staticmethod(lambda fn: breaker(fn)())
            astream = staticmethod(lambda source: block_astream(breaker, source))

        return Subject


class Interlock(Adapter):
    package = "interlock-cb"
    is_sync = is_async = True

    def make(self, threshold: int = 3, recovery: float = 0.3, listener: Any = None) -> Any:
        import interlock

        # It has rates only: all of the last `threshold` calls failed is its "in a row".
        config = interlock.Config(
            failure_rate_threshold=1.0,
            minimum_number_of_calls=threshold,
            window_size=threshold,
            permitted_calls_in_half_open=1,
            max_concurrent_probes=1,
            wait_duration_in_open=recovery,
        )

        class Listener:
            def on_state_change(self, **event: Any) -> None:
                listener(event)

            on_call = on_rejected = on_reset = on_state_change

        breaker = interlock.CircuitBreaker(
            name="scoreboard", config=config, listener=Listener() if listener is not None else None
        )

        class Subject:
            call = staticmethod(breaker.call)
            acall = staticmethod(breaker.call)
            stream = staticmethod(lambda source: block_stream(breaker, source))
            astream = staticmethod(lambda source: block_astream(breaker, source))

        return Subject


class PyResilience(Adapter):
    package = "pyresilience"
    is_sync = is_async = True

    def make(self, threshold: int = 3, recovery: float = 0.3, listener: Any = None) -> Any:
        import pyresilience

        def guard() -> Any:
            return pyresilience.resilient(
                circuit_breaker=pyresilience.CircuitBreakerConfig(
                    failure_threshold=threshold, recovery_timeout=recovery, success_threshold=1
                ),
                listeners=[listener] if listener is not None else None,
            )

        # A breaker belongs to the function it decorates, so one function of each colour runs them all.
        @guard()
        def call(fn: Any) -> Any:
            return fn()

        @guard()
        async def acall(fn: Any) -> Any:
            return await fn()

        @guard()
        def stream(source: Any) -> Any:
            yield from source()

        @guard()
        async def astream(source: Any) -> Any:
            async for item in source():
                yield item

        class Subject:
            pass

        for name, form in (("call", call), ("acall", acall), ("stream", stream), ("astream", astream)):
            setattr(Subject, name, staticmethod(form))
        return Subject


class AioResilience(Adapter):
    package = "aioresilience"
    is_async = True
    lacks: ClassVar[dict[str, str]] = {
        "sync": "async only",
        "stream": "its decorator refuses all but coroutine functions",
    }

    def make(self, threshold: int = 3, recovery: float = 0.3, listener: Any = None) -> Any:
        import aioresilience

        config = aioresilience.CircuitConfig(
            failure_threshold=threshold, recovery_timeout=recovery, success_threshold=1, half_open_max_calls=1
        )
        breaker = aioresilience.CircuitBreaker(name="scoreboard", config=config)
        if listener is not None:

            async def handler(event: Any) -> None:
                listener(event)

            breaker.events.on("*")(handler)

        class Subject:
            acall = staticmethod(breaker.call)

        return Subject


class Redress(Adapter):
    package = "redress"
    is_sync = is_async = True

    def make(self, threshold: int = 3, recovery: float = 0.3, listener: Any = None) -> Any:
        import redress

        breaker = redress.CircuitBreaker(
            failure_threshold=threshold, recovery_timeout_s=recovery, trip_on=set(redress.ErrorClass)
        )
        sync = redress.Policy(circuit_breaker=breaker)
        other = redress.AsyncPolicy(circuit_breaker=breaker)
        # Its listeners are hooks of the single call.
        hooks = {} if listener is None else {"on_metric": lambda *event: listener(event)}

        async def astream(source: Any) -> Any:
            async def made() -> Any:
                return source()

            async for item in await other.call(made):
                yield item

        class Subject:
            call = staticmethod(lambda fn: sync.call(fn, **hooks))
            acall = staticmethod(lambda fn: other.call(fn, **hooks))
            stream = staticmethod(sync.call)

        Subject.astream = staticmethod(astream)  # type: ignore[attr-defined]
        return Subject


ADAPTERS: dict[str, Adapter] = {
    adapter.package: adapter
    for adapter in (
        Holdfast(),
        PyBreaker(),
        CircuitBreakerLib(),
        AioBreaker(),
        Purgatory(),
        Hyx(),
        Interlock(),
        PyResilience(),
        AioResilience(),
        Redress(),
    )
}
