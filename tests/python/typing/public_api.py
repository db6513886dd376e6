"""The public API as a user's type checker sees it: read by mypy --strict and pyright, never run.

Each `assert_type` states one promise: a guard has exactly the type of what it guards, `@manager` takes the node
away, and what is called through a policy keeps its parameters and its result.
"""
# pyright: strict

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from datetime import datetime, timedelta
from typing import Any, Literal, assert_type

from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda

import holdfast as hf
from holdfast.testing import ManualClock, record_events, scripted

breaker = hf.CircuitBreaker("search", failure_threshold=None, failure_rate=0.5, window=hf.CountWindow(100))
retry = hf.Retry(3, backoff=hf.exponential(0.1, jitter="equal"), budget=hf.RetryBudget(), retry_on=OSError)
timeout = hf.Timeout(timedelta(seconds=5), attempt=1, late="raise")
pipeline = hf.Pipeline(retry=3, breaker=breaker, timeout=30, classify=lambda exc: "ignore")
manager = hf.FailoverManager(
    [hf.Node("a", print, weight=2, domains=("region:eu",)), hf.Node("b", print, tier=1)],
    heartbeat=hf.Heartbeat(interval=1, probe=hf.HttpProbe("/health", headers={"x": "y"})),
    breaker=None,
    exhausted="fail_fast",
)


def plain(query: str, /, *, limit: int = 3) -> list[str]:
    """A plain function."""
    return [query] * limit


async def awaited(query: str) -> int:
    """A coroutine function."""
    return len(query)


def items(query: str) -> Iterator[bytes]:
    """A generator function."""
    yield query.encode()


async def aitems(query: str) -> AsyncIterator[bytes]:
    """An async generator function."""
    yield query.encode()


# A guard has the type of what it guards, whatever the colour and the policy.
assert_type(breaker(plain)("x", limit=1), list[str])
assert_type(timeout(items)("x"), Iterator[bytes])
assert_type(pipeline(aitems)("x"), AsyncIterator[bytes])
assert_type(pipeline(RunnableLambda(plain)), RunnableLambda[str, list[str]])
assert_type(pipeline(FakeListChatModel(responses=["x"])), FakeListChatModel)


@hf.resilient(retry=hf.Retry(2, budget=None), breaker=5, timeout=timedelta(seconds=1), name="decorated")
def decorated(query: str) -> float:
    """A decorated function."""
    return len(query) / 2


@breaker
async def adecorated(query: str) -> float:
    """A decorated coroutine function."""
    return len(query) / 2


class Service:
    """Methods of every kind."""

    @pipeline
    def method(self, n: int) -> str:
        """A method."""
        return str(n)

    @pipeline
    async def amethod(self, n: int) -> str:
        """An async method."""
        return str(n)

    @classmethod
    @retry
    def made(cls, n: int) -> "Service":
        """A class method."""
        return cls() if n else Service()

    @staticmethod
    @timeout
    def static(n: int) -> int:
        """A static method."""
        return n


assert_type(decorated("x"), float)
assert_type(Service().method(1), str)
assert_type(Service.made(1), Service)
assert_type(Service.static(1), int)

# One guarded call keeps the parameters and the result.
assert_type(breaker.call(plain, "x", limit=1), list[str])
assert_type(retry.call(plain, "x"), list[str])
assert_type(pipeline.stream(items, "x"), Generator[bytes, Any, Any])
assert_type(pipeline.astream(aitems, "x"), AsyncGenerator[bytes, Any])
breaker.call(plain, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
breaker.call(plain, "x", most=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# The manager hands the node in, and takes it out of the signature.
@manager
def ask(node: hf.Node, question: str, *, length: int = 10) -> str:
    """Asks one node."""
    return f"{node.name}: {question}"[:length]


@manager
async def aask(node: hf.Node, question: str) -> str:
    """Asks one node, awaited."""
    return f"{node.name}: {question}"


@manager
def ask_stream(node: hf.Node, question: str) -> Iterator[str]:
    """Asks one node for a stream."""
    yield f"{node.name}: {question}"


assert_type(ask("x", length=3), str)
assert_type(ask_stream("x"), Iterator[str])
ask(hf.Node("a", print), "x")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
manager(lambda: None)  # type: ignore[arg-type, misc]  # pyright: ignore[reportArgumentType]

assert_type(manager.stream("x"), Generator[Any, Any, Any])
assert_type(manager.astream("x"), AsyncGenerator[Any, Any])
assert_type(manager.nodes["a"].state, Literal["up", "suspect", "down", "recovering", "draining"])
assert_type(manager.nodes["a"].latency, float | None)
assert_type(manager.explain(), dict[str, str])
assert_type(manager.wait_ready(2, timeout=1), bool)
assert_type(manager.metrics, hf.ManagerMetrics)


async def awaits() -> None:
    """What is awaited: coroutines stay coroutines, so that tasks can be made of them."""
    assert_type(await retry(awaited)("x"), int)
    assert_type(await adecorated("x"), float)
    assert_type(await Service().amethod(1), str)
    assert_type(await timeout.acall(awaited, "x"), int)
    assert_type(await aask("x"), str)
    assert_type(await manager.acall("x"), Any)
    assert_type(asyncio.create_task(breaker.acall(awaited, "x")), asyncio.Task[int])
    await pipeline.acall(plain, "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def blocks() -> None:
    """What is entered."""
    async with manager as entered:
        assert_type(entered, hf.FailoverManager)
        assert_type(await manager.await_ready(), bool)
        async for item in pipeline.astream(aitems, "x"):
            assert_type(item, bytes)
    with manager, hf.deadline(5.0):
        attempt = hf.current_attempt()
        if attempt is not None:
            assert_type(attempt.number, int)
            assert_type(attempt.time_left, float | None)
            assert_type(attempt.attempt_time_left, float | None)


# What a breaker and a pipeline tell.
assert_type(breaker.state, hf.BreakerState)
assert_type(breaker.retry_after, float | None)
assert_type(breaker.metrics.state_since, datetime)
assert_type(hf.breakers()["search"], hf.CircuitBreaker)
assert_type(pipeline.breaker, hf.CircuitBreaker | None)
assert_type(pipeline.retry, hf.Retry | None)
assert_type(pipeline.timeout, hf.Timeout | None)
assert_type(timeout.late, Literal["return", "raise"])
breaker.name = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def heard(event: hf.Event) -> None:
    """A listener."""
    assert_type(event.at, datetime)
    assert_type(event.fields, dict[str, Any])


async def aheard(event: hf.Event) -> None:
    """An async listener."""


assert_type(hf.subscribe(heard, kinds="circuit_opened"), Callable[[], None])
assert_type(breaker.subscribe(aheard), Callable[[], None])


def caught() -> None:
    """What an exception tells."""
    try:
        decorated("x")
    except hf.CallTimeout as late:
        assert_type(late.limit, float | None)
    except hf.Rejected as rejected:
        assert_type(rejected.retry_after, float | None)
    except OSError as exc:
        number, node, kind, took = hf.history(exc)[0]
        assert_type((number, node, kind, took), tuple[int, str | None, str, float])
        assert_type(hf.classify(exc), hf.Verdict)


def tested() -> None:
    """The help for users' tests."""
    with ManualClock() as clock, record_events(breaker) as events:
        clock.advance(timedelta(minutes=1))
        assert_type(events.kinds, list[str])
    assert_type(retry.call(scripted(OSError("down"), "fine")), Any)


# What is checked at run time is refused by the types too.
hf.Retry(backoff="fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
hf.Timeout(late="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
hf.linear(jitter="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
