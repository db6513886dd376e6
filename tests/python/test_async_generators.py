"""Guarded async generators are as good as real ones, asked in every order; and the lane that their items take."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.testing import ManualClock


@types.coroutine
def pause() -> Any:
    """Suspends once; what is sent in is its value."""
    return (yield "waits")


# ---- asked in every order, they answer as real ones do ----

Trace = list[Any]


def generators() -> dict[str, Callable[[Trace], Any]]:
    """Async generators of every habit; each writes down what happens to it."""

    async def plain(trace: Trace) -> Any:
        for n in range(2):
            trace.append((yield n))
        trace.append("end")

    async def waits(trace: Trace) -> Any:
        try:
            trace.append(await pause())
            trace.append((yield 0))
            trace.append(await pause())
            trace.append((yield 1))
        finally:
            trace.append("finally")

    async def tidies_up(trace: Trace) -> Any:
        try:
            yield 0
            await pause()
            yield 1
        finally:
            trace.append(type(sys.exception()))
            await pause()
            trace.append("tidy")

    async def catches(trace: Trace) -> Any:
        while True:
            try:
                trace.append((yield 0))
                await pause()
            except ValueError as error:
                trace.append(error)
                yield "caught"

    async def stubborn(trace: Trace) -> Any:
        try:
            yield 0
        except GeneratorExit:
            trace.append("ignored")
            yield 1

    async def fails(trace: Trace) -> Any:
        yield 0
        await pause()
        raise OSError("down")

    async def stops(trace: Trace) -> Any:
        yield 0
        raise StopIteration("no end")

    async def stops_async(trace: Trace) -> Any:
        yield 0
        await pause()
        raise StopAsyncIteration("no end either")

    return {
        made.__name__: made
        for made in (plain, waits, tidies_up, catches, stubborn, fails, stops, stops_async)
    }


def told(act: Callable[[], Any]) -> Any:
    """What came of it, in a form that can be compared."""
    try:
        return act()
    except BaseException as error:
        cause = error.__cause__
        return type(error), str(error), type(cause), str(cause)


class Driver:
    """Asks an async generator by hand, one word at a time."""

    def __init__(self, made: Any) -> None:
        self.made = made
        self.open: list[Any] = []
        self.closing: list[Any] = []
        self.is_comparable = True

    def do(self, word: str) -> Any:
        """The outcome of one word."""
        outcome = told(lambda: getattr(self, word)())
        # From there on CPython's versions differ among themselves.
        self.is_comparable = "ignored GeneratorExit" not in str(outcome) and (word, outcome) != (
            "fresh",
            "waits",
        )
        return outcome

    def _run(self, step: Any) -> Any:
        """Makes a step to its end, however often it waits."""
        waits = 0
        try:
            while True:
                step.send(None)
                waits += 1
        except StopIteration as stop:
            return "gives", stop.value, waits

    def next(self) -> Any:
        return self._run(self.made.__anext__())

    def send(self) -> Any:
        return self._run(self.made.asend("sent"))

    def throw(self) -> Any:
        return self._run(self.made.athrow(ValueError("thrown")))

    def throw_exit(self) -> Any:
        return self._run(self.made.athrow(GeneratorExit()))

    def close(self) -> Any:
        return self._run(self.made.aclose())

    def begin(self) -> Any:
        """Begins a step and leaves it where it waits."""
        return self._begin(self.made.__anext__())

    def begin_close(self) -> Any:
        """The same to close it."""
        step = self.made.aclose()
        waits = self._begin(step)
        self.closing.append(step)
        return waits

    def _begin(self, step: Any) -> Any:
        waits = step.send(None)
        self.open.append(step)
        return waits

    def go_on(self) -> Any:
        """The step that waits gets a value."""
        return self.open[-1].send("value") if self.open else None

    def cancel(self) -> Any:
        """The step that waits is thrown into, unless it closes: after that, older versions are stuck."""
        able = self.open and self.open[-1] not in self.closing
        return self.open[-1].throw(asyncio.CancelledError()) if able else None

    def fresh(self) -> Any:
        """An exception for a step that nobody has begun; while another waits, older versions take it."""
        return None if self.open else self.made.__anext__().throw(KeyError("early"))


WORDS = ["next", "send", "throw", "throw_exit", "close", "begin", "begin_close", "go_on", "cancel", "fresh"]


@contextmanager
def nobody_tidies_up() -> Iterator[None]:
    """What is dropped half-read here is left as it is: there is no loop to close it."""
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=lambda _made: None)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*before)


def story(make: Callable[[Trace], Any], words: tuple[str, ...]) -> Trace:
    """All that happens when it is asked so: outcomes, and what the generator saw of them."""
    trace: Trace = []
    driver = Driver(make(trace))
    for word in words:
        if driver.is_comparable:
            trace.append((word, driver.do(word)))
    return [repr(part) for part in trace]


@pytest.mark.parametrize("habit", generators())
@pytest.mark.parametrize(
    "guard", [hf.CircuitBreaker(failure_threshold=None), hf.Retry(1)], ids=["lane", "scope"]
)
def test_asked_in_every_order_they_answer_as_real_ones_do(habit: str, guard: Any) -> None:
    """Items, errors and their words, waits, closing and reuse are those of the generator inside."""
    make = generators()[habit]
    guarded = guard(make)
    with nobody_tidies_up():
        for words in itertools.product(WORDS, repeat=3):
            assert story(guarded, words) == story(make, words), words


async def test_values_pass_as_they_are() -> None:
    """Nothing, tuples and exceptions are items like others, however a step carries them out."""
    items = [None, (), (1, 2), StopIteration(3), StopAsyncIteration(), ValueError("item"), Ellipsis]

    async def plain() -> Any:
        for item in items:
            yield item

    for guard in (hf.CircuitBreaker(), hf.Retry(2), hf.Timeout(5.0)):
        assert [item async for item in guard(plain)()] == items
        task = asyncio.ensure_future(read_by_tasks(guard(plain)()))
        assert await task == items


async def read_by_tasks(stream: Any) -> list[Any]:
    """Each item is asked for by a task of its own, which makes its step by `send`."""
    read = []
    while True:
        try:
            read.append(await asyncio.ensure_future(stream.__anext__()))
        except StopAsyncIteration:
            return read


class Numbers:
    """An async iterator that is no generator: its awaitables are coroutines, futures or values at hand."""

    def __init__(self, ways: str) -> None:
        self.ways = iter(ways)

    def __aiter__(self) -> Numbers:
        return self

    def __anext__(self) -> Any:
        way = next(self.ways, "end")
        if way == "future":
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, "future")
            return future
        return self.coroutine(way)

    async def coroutine(self, way: str) -> str:
        if way == "end":
            raise StopAsyncIteration
        if way == "!":
            raise OSError("down")
        await asyncio.sleep(0)
        return way


async def test_iterators_that_are_no_generators_pass_too() -> None:
    """A class with `__anext__` is asked as `async for` asks it, and its end and failure are settled."""
    breaker = hf.CircuitBreaker(failure_threshold=None)
    ask = hf.Pipeline(breaker=breaker).astream
    ways: Any = ("a", "future", "b")
    assert [item async for item in ask(Numbers, ways)] == ["a", "future", "b"]
    broken = ask(Numbers, "ab!")
    assert [await anext(broken), await anext(broken)] == ["a", "b"]
    with pytest.raises(OSError, match="down"):
        await anext(broken)
    with pytest.raises(StopAsyncIteration):
        await anext(broken)
    assert (breaker.metrics.calls, breaker.metrics.successes, breaker.metrics.failures) == (2, 1, 1)


# ---- settled once ----


async def endless() -> AsyncIterator[int]:
    """Never ends by itself."""
    for n in itertools.count():
        yield n


@pytest.mark.parametrize("way", ["end", "fail", "close", "drop", "throw", "cancel", "drop the step"])
async def test_l1_however_it_ends_it_is_settled_once(way: str) -> None:
    """One verdict for each stream, given when it is over: good, failed, or nobody's fault."""
    breaker = hf.CircuitBreaker(failure_threshold=None)
    gate = asyncio.Event()

    @breaker
    async def items() -> AsyncIterator[int]:
        yield 0
        yield 1
        if way == "fail":
            raise OSError("down")
        if way != "end":
            await gate.wait()

    stream = items()
    assert [await anext(stream), await anext(stream)] == [0, 1]
    assert breaker.metrics.in_flight == 1
    if way == "end":
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    elif way == "fail":
        with pytest.raises(OSError, match="down"):
            await anext(stream)
    elif way == "close":
        await stream.aclose()
    elif way == "throw":
        with pytest.raises(KeyError):
            await stream.athrow(KeyError("mine"))
    elif way == "cancel":
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif way == "drop the step":
        step = stream.__anext__()
        step.send(None)
        assert breaker.metrics.in_flight == 1
        del step
    if way in ("drop", "drop the step"):
        del stream
        gc.collect()
        await asyncio.sleep(0)
    metrics = breaker.metrics
    expected = {"end": (1, 0, 0), "fail": (0, 1, 0), "throw": (0, 1, 0)}.get(way, (0, 0, 1))
    assert (metrics.successes, metrics.failures, metrics.ignored) == expected
    assert (metrics.calls, metrics.in_flight) == (1, 0)


async def test_r7_a_circle_through_a_stream_is_collected() -> None:
    """A generator that holds its own guarded form, suspended, is found by the collector, and its permit is back."""
    breaker = hf.CircuitBreaker()

    @breaker
    async def items(around: list[Any]) -> AsyncIterator[int]:
        yield len(around)
        yield len(around)

    around: list[Any] = []
    stream = items(around)
    around.append(stream)
    assert await anext(stream) == 1
    step = stream.__anext__()
    around.append(step)
    del stream, around, step
    gc.collect()
    for _ in range(4):
        await asyncio.sleep(0)
    gc.collect()
    assert breaker.metrics.in_flight == 0


async def test_a7_what_fails_after_the_first_item_is_not_tried_again() -> None:
    """Until the first item a failure moves on; from then on it reaches the caller, and counts once."""
    breaker = hf.CircuitBreaker(failure_threshold=None)
    tries: list[int] = []

    @hf.Pipeline(retry=hf.Retry(3, backoff=hf.constant(0)), breaker=breaker)
    async def items() -> AsyncIterator[int]:
        tries.append(len(tries))
        if len(tries) == 1:
            raise OSError("early")
        yield 1
        yield 2
        raise OSError("late")

    read = []
    with pytest.raises(OSError, match="late"):
        async for item in items():
            read.append(item)
    assert (read, tries) == ([1, 2], [0, 1])
    assert (breaker.metrics.calls, breaker.metrics.failures) == (2, 2)


# ---- the loop, contexts, clocks ----


def test_r7_a_loop_that_ends_closes_streams_that_somebody_keeps() -> None:
    """`loop.shutdown_asyncgens()` closes ours, and so the user's, once: the permit is back, and nobody complains."""
    breaker = hf.CircuitBreaker()
    limit = hf.Bulkhead(1)
    kept: list[Any] = []
    closed: list[str] = []
    complaints: list[Any] = []

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    nested = hf.Pipeline(bulkhead=limit)(breaker(items))

    async def leave() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        for make in (breaker(items), nested):
            stream = make()
            kept.append(stream)
            assert await anext(stream) == 1

    asyncio.run(leave())
    assert (closed, complaints) == (["closed"] * 2, [])
    assert (breaker.metrics.in_flight, breaker.metrics.ignored, limit.metrics.in_use) == (0, 2, 0)
    assert len(kept) == 2


async def test_the_loop_is_told_of_the_guarded_one_and_of_others_inside() -> None:
    """The hook sees ours once, at its first request, and not what it guards; what that uses is its own affair."""
    seen: list[Any] = []

    async def inner() -> AsyncIterator[int]:
        yield 1

    async def items() -> AsyncIterator[int]:
        helper = inner()
        yield await anext(helper)
        await helper.aclose()

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=seen.append)
    try:
        stream = hf.CircuitBreaker()(items)()
        assert seen == []
        step = stream.__anext__()
        assert seen == [stream]
        assert await step == 1
        assert [item async for item in stream] == []
        assert [type(made).__name__ for made in seen] == ["GuardedAsyncGenerator", "async_generator"]
        assert sys.get_asyncgen_hooks().firstiter == seen.append
    finally:
        sys.set_asyncgen_hooks(*before)


async def test_a_hook_that_raises_is_heard() -> None:
    """As with a plain async generator, its error is that of the first request, and the next one may go on."""

    def refuse(_made: Any) -> None:
        raise LookupError("no more streams")

    stream = hf.CircuitBreaker()(endless)()
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=refuse)
    try:
        with pytest.raises(LookupError, match="no more streams"):
            stream.__anext__()
    finally:
        sys.set_asyncgen_hooks(*before)
    assert await anext(stream) == 0
    await stream.aclose()


async def test_r5_each_step_runs_in_its_callers_context() -> None:
    """What the caller sets between two items the generator sees, and the other way round."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def items() -> AsyncIterator[str]:
        while True:
            seen = variable.get()
            variable.set("of the generator")
            yield seen

    for guard in (hf.CircuitBreaker(), hf.Retry(2)):
        stream = guard(items)()
        for word in ("first", "second", "third"):
            variable.set(word)
            assert await anext(stream) == word
            assert variable.get() == "of the generator"
        await stream.aclose()


async def test_an_attempt_is_known_at_every_item_and_to_nobody_outside() -> None:
    """`current_attempt()` holds inside the generator, over its waits, from the first item to the end."""

    @hf.Retry(3)
    async def items() -> AsyncIterator[Any]:
        for _ in range(4):
            yield hf.current_attempt()
            await asyncio.sleep(0)
            yield hf.current_attempt()

    seen = []
    async for attempt in items():
        assert hf.current_attempt() is None
        seen.append(attempt)
    assert len(seen) == 8
    assert len({attempt.call_id for attempt in seen}) == 1


async def test_b8_silence_after_any_item_is_ended_by_the_idle_clock(clock: ManualClock) -> None:
    """Items at hand arm no clock; the first wait does, wherever it comes, and counts from when it was asked for."""
    breaker = hf.CircuitBreaker(failure_threshold=None)
    gate, closed = asyncio.Event(), []
    read: list[int] = []

    @hf.Pipeline(breaker=breaker, timeout=hf.Timeout(idle=2.0))
    async def items() -> AsyncIterator[int]:
        try:
            for n in range(5):
                yield n
            await gate.wait()
            yield 5
            await asyncio.sleep(3600)
        finally:
            closed.append(True)

    async def consume() -> None:
        async for item in items():
            read.append(item)

    task = asyncio.ensure_future(consume())
    await clock.aadvance(1.9)
    assert read == [0, 1, 2, 3, 4]
    gate.set()
    await clock.aadvance(1.9)
    assert (read[-1], task.done()) == (5, False)
    await clock.aadvance(0.2)
    with pytest.raises(hf.CallTimeout):
        await task
    assert (breaker.metrics.failures, closed) == (1, [True])


async def test_b8_a_callers_cancel_in_the_midst_of_a_stream_is_nobodys_fault() -> None:
    """Cancelled while the generator waits, in the lane or beside a clock: it hears of it, and nobody is blamed."""
    for timeout in (None, hf.Timeout(60.0)):
        breaker = hf.CircuitBreaker(failure_threshold=1)
        heard: list[type[BaseException]] = []

        @hf.Pipeline(breaker=breaker, timeout=timeout)
        async def items(heard: list[type[BaseException]] = heard) -> AsyncIterator[int]:
            yield 0
            try:
                await asyncio.sleep(3600)
            except BaseException as error:
                heard.append(type(error))
                raise

        stream = items()
        assert await anext(stream) == 0
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert stream.ag_running
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not stream.ag_running
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert (heard, breaker.metrics.ignored, breaker.state) == ([asyncio.CancelledError], 1, "closed")


async def test_a_cancel_that_the_generator_survives_goes_on_with_its_item() -> None:
    """A generator that answers a cancel with an item keeps its stream, in the lane as before."""

    @hf.CircuitBreaker()
    async def items() -> AsyncIterator[Any]:
        yield 0
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            yield "kept"
        yield 1

    stream = items()
    assert await anext(stream) == 0
    task = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "kept"
    assert [item async for item in stream] == [1]


async def test_a_stream_that_asks_itself_is_refused() -> None:
    """Its own next item, from inside: refused as by a plain async generator, whether it waits or runs."""
    made: list[Any] = []

    async def items() -> AsyncIterator[str]:
        yield "first"
        for _ in range(2):
            try:
                await anext(made[-1])
            except RuntimeError as error:
                yield str(error)

    told = []
    for make in (items, hf.CircuitBreaker()(items), hf.Retry(2)(items)):
        made.append(make())
        told.append([item async for item in made[-1]])
    assert told == [["first", *["anext(): asynchronous generator is already running"] * 2]] * 3


async def test_a_step_that_runs_is_not_made_again() -> None:
    """A step that its own generator resumes is refused, and goes on unharmed."""
    steps: list[Any] = []

    @hf.CircuitBreaker()
    async def items() -> AsyncIterator[str]:
        yield "first"
        with pytest.raises(ValueError, match="already executing"):
            steps[-1].send(None)
        with pytest.raises(ValueError, match="already executing"):
            steps[-1].close()
        yield "second"

    stream = items()
    assert await anext(stream) == "first"
    steps.append(stream.__anext__())
    assert await steps[0] == "second"
    await stream.aclose()


def test_a_step_given_up_half_way_closes_what_waits() -> None:
    """`close` on a step that waits, as when the coroutine that awaits it is closed: neutral, and the stream is over."""
    breaker = hf.CircuitBreaker()

    @breaker
    async def items() -> AsyncIterator[int]:
        yield 0
        await pause()
        yield 1

    with nobody_tidies_up():
        stream = items()
        with pytest.raises(StopIteration):
            stream.__anext__().send(None)
        step = stream.__anext__()
        assert step.send(None) == "waits"
        step.close()
        step.close()
        with pytest.raises(StopAsyncIteration):
            stream.__anext__().send(None)
        assert (breaker.metrics.in_flight, breaker.metrics.ignored) == (0, 1)


async def test_b4_a_probes_stream_renews_its_lease_with_every_item(clock: ManualClock) -> None:
    """A half-open probe that streams keeps its slot as long as items come, and closes the breaker at its end."""
    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=1.0, success_threshold=1, probe_lease=5.0)

    @breaker
    async def items(fail: bool) -> AsyncIterator[int]:
        if fail:
            raise OSError("down")
        for n in range(4):
            yield n

    with pytest.raises(OSError, match="down"):
        await anext(items(True))
    await clock.aadvance(1.5)
    stream = items(False)
    for n in range(4):
        assert await anext(stream) == n
        await clock.aadvance(4.0)
    assert breaker.state == "half_open"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert (breaker.state, breaker.metrics.lost) == ("closed", 0)


async def test_it_looks_like_an_async_generator() -> None:
    """By its class's methods, its name and its state."""
    stream = hf.CircuitBreaker()(endless)()
    assert isinstance(stream, AsyncGenerator)
    assert (stream.__name__, stream.__qualname__, stream.ag_running) == ("endless", "endless", False)
    assert aiter(stream) is stream
    async with aclosing(stream):
        assert await anext(stream) == 0
    for wrong in (stream.asend, stream.athrow, lambda: stream.aclose(1), lambda: stream.__anext__().send()):
        with pytest.raises(TypeError):
            wrong()
