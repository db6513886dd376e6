"""One policy, many threads; Ctrl-C; re-entrance; and nothing left behind after many calls."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from colours import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from colours import Colour


# ---- many at once ----


def test_r4_one_policy_serves_threads_and_loops_at_once(colour: Colour) -> None:
    """Eight threads, each with loops of its own where it needs one, share a pipeline; every call is counted."""
    breaker = hf.CircuitBreaker(failure_threshold=None)
    pipeline = hf.Pipeline(breaker=breaker, retry=hf.Retry(2, backoff=hf.constant(0), budget=None))

    def act(n: int) -> int:
        if n % 3 == 0 and hf.current_attempt().number == 1:  # type: ignore[union-attr]
            raise ConnectionError
        return n

    guarded = pipeline(colour.make(act))
    workers = [Worker(lambda: [colour.run(guarded, n) for n in range(30)]) for _ in range(8)]
    for worker in workers:
        assert worker.outcome() == list(range(30))
    metrics = breaker.metrics
    assert (metrics.calls, metrics.successes, metrics.failures, metrics.in_flight) == (320, 240, 80, 0)


def test_r4_sync_and_async_share_one_breaker() -> None:
    """Failures of a thread and of a loop add up in one streak."""
    breaker = hf.CircuitBreaker(failure_threshold=2)

    def fail() -> None:
        raise ConnectionError

    async def afail() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        breaker.call(fail)

    async def main() -> None:
        await breaker.acall(afail)

    with pytest.raises(ConnectionError):
        asyncio.run(main())
    assert breaker.state == "open"


def test_metrics_add_up_at_every_moment_under_load() -> None:
    """A reader that looks while four threads call never sees a sum that is off."""
    breaker = hf.CircuitBreaker(failure_threshold=3, open_timeout=0.001)
    stop = threading.Event()

    def load(seed: int) -> None:
        n = seed
        while not stop.is_set():
            n += 1
            with contextlib.suppress(ZeroDivisionError, hf.CircuitOpen):
                breaker.call(lambda n=n: 1 / (n % 4))

    workers = [Worker(lambda s=s: load(s)) for s in range(4)]  # type: ignore[misc]
    try:
        for _ in range(2000):
            m = breaker.metrics
            terms = (
                m.successes
                + m.failures
                + m.throttled
                + m.ignored
                + m.late
                + m.lost
                + m.rejected
                + m.in_flight
            )
            assert m.calls == terms
    finally:
        stop.set()
    for worker in workers:
        worker.outcome()
    assert breaker.metrics.in_flight == 0


# ---- from inside (R3) ----


def test_r3_a_classifier_may_use_what_it_judges_for() -> None:
    """A classifier, a retry predicate, a key, a back-off and a result predicate may call the same breaker."""
    breaker = hf.CircuitBreaker(failure_threshold=2, key=lambda args, kwargs: breaker.state.value)
    seen: list[Any] = []

    def inside(*_args: Any) -> Any:
        seen.append((breaker.state, breaker.metrics.calls, breaker.call(lambda: "inside")))
        return 0

    pipeline = hf.Pipeline(
        breaker=breaker,
        classify=lambda exc: inside() or "fail",
        retry=hf.Retry(2, backoff=inside, retry_if_result=lambda value: bool(inside())),
    )
    outcomes = iter([ConnectionError("once"), "fine"])

    def act() -> str:
        inside()
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert pipeline.call(act) == "fine"
    assert len(seen) == 5
    assert all(call == "inside" for _, _, call in seen)


def test_r3_a_target_may_call_its_own_guard(colour: Colour) -> None:
    """A guarded function that recurses through its guard works, and the breaker counts each level."""
    breaker = hf.CircuitBreaker()
    manager = hf.FailoverManager([hf.Node("a", lambda: None)])
    depth: list[int] = []

    def act(n: int) -> int:
        depth.append(n)
        return n if n == 0 else Worker(lambda: colour.run(guarded, n - 1)).outcome() + 1

    guarded = breaker(colour.make(act))
    assert colour.run(guarded, 3) == 3
    assert breaker.metrics.successes == 4

    @manager
    def nested(node: hf.Node, n: int) -> int:
        return n if n == 0 else nested(n - 1) + 1

    assert nested(3) == 3
    assert manager.metrics.in_flight == 0


def test_r3_a_target_may_change_its_own_manager() -> None:
    """From inside a call nodes are added, disabled and removed, the calling one included."""
    manager: hf.FailoverManager

    def act() -> str:
        manager.add_node(hf.Node("b", lambda: "b"))
        manager.disable("a")
        manager.remove_node("a")
        return "a"

    manager = hf.FailoverManager([hf.Node("a", act)])
    assert manager.call() == "a"
    assert manager.call() == "b"
    assert list(manager.nodes) == ["b"]


# ---- Ctrl-C (R8) ----

BACK_OFF = """
import time, sys, holdfast as hf
def fail():
    raise ConnectionError
{extra}
print("ready", flush=True)
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", time.time(), flush=True)
"""

WAITS = {
    "function": ("", "hf.Retry(2, backoff=hf.constant(60.0)).call(fail)"),
    "generator": ("", "list(hf.Pipeline(retry=hf.Retry(2, backoff=hf.constant(60.0))).stream(fail))"),
    "coroutine": (
        "import asyncio\nasync def call(): await hf.Retry(2, backoff=hf.constant(60.0)).acall(fail)",
        "asyncio.run(call())",
    ),
    "wait_ready": (
        "m = hf.FailoverManager([hf.Node('a', print)]); m.report('a', ok=False)",
        "m.wait_ready(timeout=60)",
    ),
    "waiting for a node": (
        "m = hf.FailoverManager([hf.Node('a', fail)], timeout=90,\n"
        "    breaker=hf.CircuitBreaker(failure_threshold=1, open_timeout=60))\n"
        "try: m.call()\nexcept ConnectionError: pass",
        "m.call()",
    ),
}


# A Windows console sends its Ctrl-C to every process, so there no wait can be interrupted alone.
@pytest.mark.parametrize("wait", [] if sys.platform == "win32" else WAITS)
def test_r8_ctrl_c_ends_a_wait_within_a_tenth_of_a_second(wait: str) -> None:
    """SIGINT during a back-off or another wait of ours raises `KeyboardInterrupt` at once."""
    extra, call = WAITS[wait]
    code = BACK_OFF.format(extra=extra, call=call)
    delays = [1.0]
    # The best of at most three: a busy machine may hold any process up for a moment.
    while min(delays) >= 0.1 and len(delays) <= 3:
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.15)
            sent = time.time()
            child.send_signal(signal.SIGINT)
            word, at = child.stdout.readline().split()
            assert child.wait(10) == 0
        assert word == "interrupted"
        delays.append(float(at) - sent)
    assert min(delays) < 0.1, delays


def test_r8_an_interrupt_inside_the_users_rules_is_not_swallowed(colour: Colour) -> None:
    """Ctrl-C that comes while a classifier, predicate or back-off runs ends the call, and the permit is back."""
    if colour.is_async:
        return interrupt_in_async(colour)

    def interrupt(*_args: Any) -> Any:
        raise KeyboardInterrupt

    def fail() -> None:
        raise ConnectionError

    for fields in (
        {"classify": interrupt},
        {"retry": hf.Retry(3, retry_on=interrupt)},
        {"retry": hf.Retry(3, backoff=interrupt)},
    ):
        breaker = hf.CircuitBreaker()
        with pytest.raises(KeyboardInterrupt):
            colour.run(hf.Pipeline(breaker=breaker, **fields)(colour.make(fail)))  # type: ignore[arg-type]
        assert breaker.metrics.in_flight == 0
    return None


def interrupt_in_async(colour: Colour) -> None:
    """The same, stepped by hand: asyncio has its own way with `KeyboardInterrupt`."""

    def interrupt(*_args: Any) -> Any:
        raise KeyboardInterrupt

    async def fail() -> None:
        raise ConnectionError

    async def fail_stream() -> Any:
        raise ConnectionError
        yield

    breaker = hf.CircuitBreaker()
    pipeline = hf.Pipeline(breaker=breaker, classify=interrupt)
    step = anext(pipeline(fail_stream)()) if colour.is_stream else pipeline(fail)()
    with pytest.raises(KeyboardInterrupt):
        step.send(None)  # type: ignore[union-attr]
    assert breaker.metrics.in_flight == 0


class Weird:
    """An object whose every special method misbehaves."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __str__(self) -> str:
        raise RuntimeError("no str")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no eq")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __bool__(self) -> bool:
        raise RuntimeError("no bool")

    def __float__(self) -> float:
        raise RuntimeError("no float")

    def __index__(self) -> int:
        raise RuntimeError("no index")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_r8_weird_arguments_and_answers_never_panic(colour: Colour, unraisable: list[BaseException]) -> None:
    """Whatever is passed, returned, raised or used as a field, Python exceptions come out and nothing else."""

    class WeirdError(Exception):
        __str__ = Weird.__str__  # not `__repr__`, which asyncio itself calls when it runs a loop
        __eq__, __hash__ = Weird.__eq__, Weird.__hash__

    weird = Weird()
    guarded = hf.Pipeline(retry=2, breaker=5, timeout=5.0)(colour.make(lambda *args: args[0]))
    assert colour.run(guarded, weird) is weird

    def fail() -> None:
        raise WeirdError

    with pytest.raises(WeirdError):
        colour.run(hf.Pipeline(retry=hf.Retry(2, backoff=hf.constant(0)))(colour.make(fail)))
    makers: list[Callable[[Any], Any]] = [
        hf.Retry,
        hf.Timeout,
        hf.constant,
        lambda v: hf.Retry(backoff=v),
        lambda v: hf.CircuitBreaker(failure_threshold=v),
        lambda v: hf.CircuitBreaker(v),
        lambda v: hf.Pipeline(retry=v),
        lambda v: hf.Node(v, print),
        lambda v: hf.FailoverManager(v),
        lambda v: hf.FailoverManager([hf.Node("a", print)], exhausted=v),
    ]
    for make in makers:
        with pytest.raises((hf.ConfigurationError, RuntimeError, TypeError)):
            make(weird)
    keyed = hf.CircuitBreaker(key=lambda args, kwargs: weird)
    with pytest.raises(hf.ConfigurationError, match="key must answer a string"):
        colour.run(keyed(colour.make(lambda: 1)))
    for answer in (weird, "nonsense", 3, None):
        pipeline = hf.Pipeline(classify=lambda exc, answer=answer: answer)
        with pytest.raises(WeirdError):
            colour.run(pipeline(colour.make(fail)))


# ---- nothing is left behind (R9) ----


def fine() -> int:
    return 1


def fails() -> None:
    raise ConnectionError


async def afine() -> int:
    return 1


async def asleeps() -> int:
    await asyncio.sleep(0)
    return 1


async def afails() -> None:
    await asyncio.sleep(0)
    raise ConnectionError


def items() -> Any:
    yield from range(3)


async def aitems() -> Any:
    for n in range(3):
        yield n


def paths() -> dict[str, Callable[[], Any]]:
    """Each way through the drivers, as something to be done once; async ones give an awaitable."""
    pipeline = hf.Pipeline(breaker=hf.CircuitBreaker(failure_threshold=None), retry=None, timeout=60.0)
    retrying = hf.Pipeline(retry=hf.Retry(2, backoff=hf.constant(0), budget=None))
    refusing = hf.CircuitBreaker()
    refusing.force_open()
    manager = hf.FailoverManager([hf.Node("bad", fails), hf.Node("good", fine)], breaker=None)
    one_error = ConnectionError("always the same object")

    def same() -> None:
        one_error.__traceback__ = None  # Python itself lets it grow with every raise
        raise one_error

    def expect(act: Callable[[], Any], error: type[Exception]) -> Callable[[], None]:
        def run() -> None:
            try:
                act()
            except error:
                return
            raise AssertionError

        return run

    async def aexpect(act: Callable[[], Any], error: type[Exception]) -> None:
        try:
            await act()
        except error:
            return
        raise AssertionError

    async def read(stream: Any, most: int) -> None:
        async for n in stream:
            if n >= most:
                break
        await stream.aclose()

    def half() -> None:
        for _ in pipeline.stream(items):
            break

    guarded, aguarded = pipeline(fine), pipeline(asleeps)
    return {
        "call": guarded,
        "failure": expect(pipeline(fails), ConnectionError),
        "retried failure": expect(retrying(fails), ConnectionError),
        "the same error again": expect(retrying(same), ConnectionError),
        "rejection": expect(refusing(fine), hf.CircuitOpen),
        "new guards": lambda: pipeline(fine)(),
        "failover": manager.call,
        "stream": lambda: list(pipeline.stream(items)),
        "abandoned stream": half,
        "unread stream": lambda: pipeline.stream(items),
        "coroutine": lambda: aguarded(),
        "coroutine without a wait": lambda: pipeline.acall(afine),
        "coroutine failure": lambda: aexpect(retrying(afails), ConnectionError),
        "coroutine rejection": lambda: aexpect(refusing(afine), hf.CircuitOpen),
        "async stream": lambda: read(pipeline.astream(aitems), 99),
        "abandoned async stream": lambda: read(pipeline.astream(aitems), 0),
    }


@pytest.mark.parametrize("path", paths())
def test_r9_no_path_leaks(path: str) -> None:
    """Over 20 000 calls the allocated blocks and the traced memory stay where they were."""
    act = paths()[path]

    async def many(n: int) -> None:
        for _ in range(n):
            await act()

    def run(n: int) -> None:
        if "coroutine" in path or "async" in path:
            asyncio.run(many(n))
        else:
            for _ in range(n):
                act()

    run(1000)
    gc.collect()
    blocks = sys.getallocatedblocks()
    run(18_000)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 500
    tracemalloc.start()
    try:
        run(200)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        run(800)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


def test_r9_references_to_arguments_and_answers_are_given_back(colour: Colour) -> None:
    """After a call the reference counts of argument, answer and exception are what they were."""
    argument, answer, error = object(), object(), ConnectionError("kept")

    def act(_argument: object, fail: bool) -> object:
        if fail:
            raise error
        return answer

    guarded = hf.Pipeline(retry=hf.Retry(2, backoff=hf.constant(0)), breaker=99, timeout=60.0)(
        colour.make(act)
    )

    def counts() -> tuple[int, ...]:
        error.__traceback__ = None
        gc.collect()
        return sys.getrefcount(argument), sys.getrefcount(answer), sys.getrefcount(error)

    def once() -> None:
        assert colour.run(guarded, argument, False) is answer
        with contextlib.suppress(ConnectionError):
            colour.run(guarded, argument, True)

    once()
    before = counts()
    for _ in range(50):
        once()
    assert counts() == before
