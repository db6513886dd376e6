"""The breaker's face: what can be read, ordered, guarded and refused."""

import asyncio
import contextvars
import datetime
import gc
import math
import random
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

import holdfast as hf
from holdfast.testing import ManualClock, record_events


@pytest.fixture
def clock() -> Iterator[ManualClock]:
    with ManualClock() as clock:
        yield clock


def fail(breaker: hf.CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ValueError, match="down"), breaker.guard():
            raise ValueError("down")


def sums_up(metrics: hf.BreakerMetrics) -> bool:
    terms = ("successes", "failures", "throttled", "ignored", "late", "lost", "rejected", "in_flight")
    return metrics.calls == sum(getattr(metrics, term) for term in terms)


# What can be read.


def test_state_is_a_member_of_the_enum_and_a_string() -> None:
    """`state` is a `StrEnum` member, the very one, and equal to its text; every state of the contract is one."""
    breaker = hf.CircuitBreaker()
    assert breaker.state is hf.BreakerState.CLOSED
    assert breaker.state == "closed"
    names = {"closed", "open", "half_open", "forced_open", "forced_closed", "disabled", "shadow"}
    assert set(hf.BreakerState) == names


def test_reading_changes_nothing(clock: ManualClock) -> None:
    """An open breaker whose time is over stays open until a call comes, however often it is looked at."""
    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=10.0)
    fail(breaker)
    clock.advance(60.0)
    for _ in range(3):
        assert (breaker.state, breaker.retry_after) == ("open", 0.0)
    with breaker.guard():
        assert breaker.state == "half_open"


def test_retry_after_counts_down(clock: ManualClock) -> None:
    """`retry_after` is None while nothing is refused, the rest of the open time while open, None when forced open."""
    breaker = hf.CircuitBreaker(failure_threshold=1, open_timeout=10.0)
    assert breaker.retry_after is None
    fail(breaker)
    assert breaker.retry_after == pytest.approx(10.0)
    clock.advance(4.0)
    assert breaker.retry_after == pytest.approx(6.0)
    breaker.force_open()
    assert breaker.retry_after is None


def test_metrics_are_a_frozen_snapshot(clock: ManualClock) -> None:
    """A snapshot does not move with the breaker, cannot be changed, and equals another of the same counts."""
    breaker = hf.CircuitBreaker()
    before = breaker.metrics
    assert before == breaker.metrics
    fail(breaker)
    assert (before.failures, breaker.metrics.failures) == (0, 1)
    with pytest.raises(AttributeError):
        before.failures = 7  # type: ignore[misc]


def test_state_since_is_always_an_aware_moment(clock: ManualClock) -> None:
    """Before the first change it is when the breaker was made, then when it changed; in UTC, and steady."""
    before = datetime.datetime.now(datetime.UTC)
    breaker = hf.CircuitBreaker(failure_threshold=1)
    made = breaker.metrics.state_since
    assert made.tzinfo is not None
    assert made.utcoffset() == datetime.timedelta(0)
    assert abs(made - before) < datetime.timedelta(hours=1)
    clock.advance(100.0)
    assert breaker.metrics.state_since == made
    fail(breaker)
    assert breaker.metrics.state_since - made == datetime.timedelta(seconds=100)


def test_state_since_does_not_flicker() -> None:
    """With the system's clocks, too, two looks at the same change agree, though two clocks are read for each."""
    breaker = hf.CircuitBreaker()
    assert len({breaker.metrics.state_since for _ in range(1000)}) == 1


def test_mean_recovery_time_is_of_recoveries_by_itself(clock: ManualClock) -> None:
    """Two outages of 10 and 30 s have a mean of 20 s; one ended by hand does not count."""
    breaker = hf.CircuitBreaker(failure_threshold=1, success_threshold=1, open_timeout=10.0)
    assert breaker.metrics.mean_recovery_time is None
    for outage in (10.0, 30.0):
        fail(breaker)
        clock.advance(outage)
        with breaker.guard():
            pass
    fail(breaker)
    breaker.reset()
    assert breaker.metrics.mean_recovery_time == pytest.approx(20.0)
    assert breaker.metrics.opened == 3


def test_r11_a_breaker_is_neither_copied_nor_pickled() -> None:
    """A copy would either share silently or count apart silently: it is refused with a sentence that says so."""
    import copy
    import pickle

    breaker = hf.CircuitBreaker()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied"):
            attempt(breaker)


# The list of the living.


def test_breakers_lists_the_named_living() -> None:
    """Named breakers are listed as long as they live, in the order made; unnamed ones and keys are not."""
    first, second = hf.CircuitBreaker("face-1"), hf.CircuitBreaker("face-2", key=lambda args, kwargs: "k")
    unnamed, key = hf.CircuitBreaker(), second.of("k")
    mine = [b for b in hf.breakers() if b in (first, second, unnamed, key)]
    assert mine == [first, second]
    assert hf.breakers()["face-1"] is first
    assert "face-2" in hf.breakers()
    assert "face-3" not in hf.breakers()
    del first, mine
    gc.collect()
    assert "face-1" not in hf.breakers()
    with pytest.raises(KeyError, match="face-1"):
        hf.breakers()["face-1"]


def test_equal_names_are_both_listed() -> None:
    """Names are labels: two breakers of one name are both listed, do not share, and the name finds the older."""
    older, newer = hf.CircuitBreaker("face-twin"), hf.CircuitBreaker("face-twin")
    assert [b for b in hf.breakers() if b.name == "face-twin"] == [older, newer]
    assert hf.breakers()["face-twin"] is older
    newer.force_open()
    assert older.state == "closed"


# Blocks.


def test_a_block_is_one_call(clock: ManualClock) -> None:
    """A block that ends well is a success, one that raises a failure, and its error comes through as it is."""
    breaker = hf.CircuitBreaker()
    with breaker.guard() as permit:
        assert isinstance(permit, hf.Permit)
        assert breaker.metrics.in_flight == 1
    error = ValueError("down")
    with pytest.raises(ValueError, match="down") as caught, breaker.guard():
        raise error
    assert caught.value is error
    m = breaker.metrics
    assert (m.calls, m.successes, m.failures, m.in_flight) == (2, 1, 1, 0)


async def test_an_async_block_is_one_call() -> None:
    """`async with breaker.guard()` counts what was awaited inside it."""
    breaker = hf.CircuitBreaker(failure_threshold=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="down"):
            async with breaker.guard():
                await asyncio.sleep(0)
                raise ValueError("down")
    assert breaker.state == "open"
    with pytest.raises(hf.CircuitOpen):
        async with breaker.guard():
            pytest.fail("an open breaker let a block run")


def test_b16_a_refused_block_does_not_run_and_says_why(clock: ManualClock) -> None:
    """The refusal is fresh each time, carries reason, source and retry_after, and its event is sent."""
    breaker = hf.CircuitBreaker("face-refusal", failure_threshold=1, open_timeout=10.0)
    fail(breaker)
    refusals = []
    with record_events(breaker, kinds=["call_rejected"]) as events:
        for _ in range(2):
            with pytest.raises(hf.CircuitOpen) as caught, breaker.guard():
                pytest.fail("an open breaker let a block run")
            refusals.append(caught.value)
    assert refusals[0] is not refusals[1]
    assert (refusals[0].reason, refusals[0].source) == ("open", "face-refusal")
    assert refusals[0].retry_after == pytest.approx(10.0)
    assert [event.reason for event in events] == ["open", "open"]


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(), GeneratorExit()]
)
def test_b7_what_is_no_exception_is_neutral(error: BaseException) -> None:
    """Cancellation and exits are neither success nor failure of a block."""
    breaker = hf.CircuitBreaker(failure_threshold=1)
    with pytest.raises(type(error)), breaker.guard():
        raise error
    assert (breaker.state, breaker.metrics.ignored) == ("closed", 1)


def test_a_block_is_judged_as_a_call_is() -> None:
    """`classify=` decides about blocks too, and HTTP facts apply: a 400 is no failure of the callee."""

    class BadRequest(Exception):
        status_code = 400

    breaker = hf.CircuitBreaker(
        failure_threshold=1, classify=lambda exc: "ignore" if "mine" in str(exc) else None
    )
    for error in (ValueError("mine"), BadRequest()):
        for guarded in (breaker.guard(), breaker):
            with pytest.raises(type(error)), guarded:
                raise error
    assert (breaker.state, breaker.metrics.ignored) == ("closed", 4)
    fail(breaker)
    assert breaker.state == "open"


def test_b15_a_classifier_that_raises_does_not_replace_the_error() -> None:
    """The block's own error comes through, and counts as the rules without the broken one say."""

    def broken(exc: BaseException) -> str:
        raise RuntimeError("the classifier's own")

    breaker = hf.CircuitBreaker(failure_threshold=1, classify=broken)
    fail(breaker)
    assert breaker.state == "open"


def test_l1_a_permit_is_for_one_block() -> None:
    """A permit entered twice, left twice or left before it was entered is refused, and counts nothing more."""
    breaker = hf.CircuitBreaker()
    permit = breaker.guard()
    with pytest.raises(RuntimeError, match="not entered"):
        permit.__exit__(None, None, None)
    permit = breaker.guard()
    with permit:
        with pytest.raises(RuntimeError, match="one block"):
            permit.__enter__()
        assert breaker.metrics.in_flight == 1
    with pytest.raises(RuntimeError, match="one block"):
        permit.__enter__()
    with pytest.raises(RuntimeError, match="left already"):
        permit.__exit__(None, None, None)
    assert (breaker.metrics.calls, breaker.metrics.successes) == (1, 1)


def test_r7_a_block_thrown_away_gives_its_permit_back() -> None:
    """A generator abandoned inside a block frees the permit when it is collected, and blames nobody."""
    breaker = hf.CircuitBreaker()

    def source() -> Iterator[int]:
        with breaker.guard():
            yield 1

    stream = source()
    next(stream)
    assert breaker.metrics.in_flight == 1
    del stream
    gc.collect()
    permit = breaker.guard()
    permit.__enter__()
    del permit
    gc.collect()
    assert (breaker.metrics.in_flight, breaker.metrics.ignored) == (0, 2)


def test_a_permit_tells_what_it_is_and_no_era(clock: ManualClock) -> None:
    """Its repr says whose it is and how it stands; `renew` works while it is held, and only then."""
    breaker = hf.CircuitBreaker("face-permit", failure_threshold=1, open_timeout=1.0)
    permit = breaker.guard()
    assert repr(permit) == "<Permit of 'face-permit': not asked for yet>"
    assert not permit.renew()
    with permit:
        assert repr(permit) == "<Permit of 'face-permit': held>"
        assert permit.renew()
        assert permit.first_item()
        assert not permit.is_probe
    assert repr(permit) == "<Permit of 'face-permit': returned>"
    assert not permit.renew()
    fail(breaker)
    clock.advance(1.0)
    with breaker.guard() as probe:
        assert probe.is_probe
        assert repr(probe) == "<Permit of 'face-permit': held, a probe>"


def test_blocks_work_on_exit_stacks() -> None:
    """`ExitStack` enters and leaves both forms from frames of its own."""
    breaker = hf.CircuitBreaker()
    with ExitStack() as stack:
        stack.enter_context(breaker.guard())
        stack.enter_context(breaker)
        assert breaker.metrics.in_flight == 2
    assert breaker.metrics.successes == 2


async def test_async_blocks_work_on_exit_stacks() -> None:
    """`AsyncExitStack` likewise."""
    breaker = hf.CircuitBreaker()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(breaker.guard())
        await stack.enter_async_context(breaker)
        assert breaker.metrics.in_flight == 2
    assert breaker.metrics.successes == 2


# The bare form.


def test_nested_bare_blocks_settle_their_own() -> None:
    """The inner block's failure is the inner permit's, the outer one's success the outer's."""
    outer, inner = hf.CircuitBreaker("outer"), hf.CircuitBreaker("inner")
    with outer, inner, outer as innermost:
        with pytest.raises(ValueError, match="down"), inner:
            raise ValueError("down")
        assert repr(innermost) == "<Permit of 'outer': held>"
        assert (outer.metrics.in_flight, inner.metrics.in_flight) == (2, 1)
    assert (outer.metrics.successes, outer.metrics.failures) == (2, 0)
    assert (inner.metrics.successes, inner.metrics.failures) == (1, 1)


def test_r4_bare_blocks_of_many_threads_settle_their_own(clock: ManualClock) -> None:
    """Threads that enter in one order and leave in another each return the permit that is their own."""
    breaker = hf.CircuitBreaker(failure_threshold=None, success_threshold=1)
    threads, order = 8, list(range(8))
    random.Random(1).shuffle(order)
    entered, turns = threading.Barrier(threads + 1), [threading.Event() for _ in range(threads)]
    outcomes: list[str] = [""] * threads

    def work(n: int) -> None:
        try:
            with breaker as permit:
                entered.wait()
                turns[n].wait()
                if n % 2:
                    raise ValueError("down")
        except ValueError:
            pass
        outcomes[n] = repr(permit)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    entered.wait()
    for left, n in enumerate(order, 1):
        turns[n].set()
        workers[n].join()
        assert "returned" in outcomes[n]
        assert breaker.metrics.in_flight == threads - left
    assert (breaker.metrics.successes, breaker.metrics.failures) == (4, 4)


async def test_bare_blocks_of_many_tasks_settle_their_own() -> None:
    """Tasks that interleave inside `async with breaker:` and inside `with breaker:` each return their own permit."""
    breaker = hf.CircuitBreaker(failure_threshold=None)
    rng = random.Random(2)

    async def work(n: int) -> str:
        try:
            if n % 2:
                async with breaker as permit:
                    await pause(rng)
                    if n % 3 == 0:
                        raise ValueError("down")
            else:
                with breaker as permit:
                    await pause(rng)
                    if n % 3 == 0:
                        raise ValueError("down")
        except ValueError:
            pass
        return repr(permit)

    ends = await asyncio.gather(*(work(n) for n in range(60)))
    assert {end.partition(": ")[2] for end in ends} == {"returned>"}
    m = breaker.metrics
    assert (m.successes, m.failures, m.in_flight) == (40, 20, 0)


async def pause(rng: random.Random) -> None:
    for _ in range(rng.randrange(6)):
        await asyncio.sleep(0)


async def test_a_child_task_does_not_take_its_parents_permit() -> None:
    """A task started inside a block inherits the context, enters and leaves blocks of its own, and no more."""
    breaker = hf.CircuitBreaker()

    async def child() -> None:
        async with breaker:
            await asyncio.sleep(0)

    async with breaker as mine:
        await asyncio.gather(child(), child())
        assert repr(mine).endswith("held>")
        assert breaker.metrics.in_flight == 1
    assert (breaker.metrics.successes, breaker.metrics.in_flight) == (3, 0)


def test_a_bare_block_left_in_another_context_says_so() -> None:
    """A block that has yielded to another context cannot find its permit: it says so, and leaks nothing."""
    breaker = hf.CircuitBreaker()
    context = contextvars.copy_context()
    context.run(breaker.__enter__)
    with pytest.raises(RuntimeError, match=r"use 'with breaker\.guard\(\):'"):
        breaker.__exit__(None, None, None)
    assert breaker.metrics.in_flight == 1
    del context
    gc.collect()
    assert (breaker.metrics.in_flight, breaker.metrics.ignored) == (0, 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_b15_a_lost_block_does_not_hide_the_users_error() -> None:
    """With an error on its way the complaint goes to the unraisable hook, and the error goes on."""
    breaker = hf.CircuitBreaker()
    error = ValueError("down")
    assert breaker.__exit__(ValueError, error, None) is False


async def test_generators_yield_inside_guard() -> None:
    """Async generators interleaved in one context each hold their own permit with `guard()`."""
    breaker = hf.CircuitBreaker(failure_threshold=None)

    async def source(fails: bool) -> AsyncIterator[int]:
        async with breaker.guard() as permit:
            yield 1
            permit.renew()
            if fails:
                raise ValueError("broke")

    good, bad = source(False), source(True)
    await anext(good)
    await anext(bad)
    with pytest.raises(StopAsyncIteration):
        await anext(good)
    assert (breaker.metrics.successes, breaker.metrics.failures) == (1, 0)
    with pytest.raises(ValueError, match="broke"):
        await anext(bad)
    assert (breaker.metrics.successes, breaker.metrics.failures) == (1, 1)


def test_r9_blocks_leave_nothing_behind() -> None:
    """10 000 blocks of each form, good and bad, leave no object behind."""
    breaker = hf.CircuitBreaker(failure_threshold=None)

    def some(times: int) -> None:
        for n in range(times):
            for guarded in (breaker.guard(), breaker):
                try:
                    with guarded:
                        if n % 2:
                            raise ValueError("down")
                except ValueError:
                    pass

    some(100)
    gc.collect()
    before = len(gc.get_objects())
    some(10_000)
    gc.collect()
    # Other threads of the process make and drop a few hundred; a leak would leave ten thousand.
    assert abs(len(gc.get_objects()) - before) < 1000
    assert breaker.metrics.in_flight == 0


# One breaker per key.


def by_first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0]


def test_b17_one_key_never_rejects_another(clock: ManualClock) -> None:
    """A key's failures open its own breaker; state, metrics and events of the whole sum up the keys."""
    breaker = hf.CircuitBreaker("keyed", failure_threshold=2, open_timeout=10.0, key=by_first)

    @breaker
    def ask(key: str, good: bool = True) -> str:
        if not good:
            raise ValueError("down")
        return key

    with record_events(breaker) as events:
        for _ in range(2):
            with pytest.raises(ValueError, match="down"):
                ask("eu", good=False)
        assert ask("us") == "us"
        with pytest.raises(hf.CircuitOpen) as caught:
            ask("eu")
    assert caught.value.source == "keyed/eu"
    assert [(e.kind, e.source) for e in events] == [
        ("circuit_opened", "keyed/eu"),
        ("call_rejected", "keyed/eu"),
    ]
    assert sorted(breaker.keys()) == ["eu", "us"]
    assert (breaker.of("eu").state, breaker.of("us").state) == ("open", "closed")
    assert (breaker.state, breaker.retry_after) == ("open", pytest.approx(10.0))
    m = breaker.metrics
    assert (m.calls, m.successes, m.failures, m.rejected, m.opened) == (4, 1, 2, 1, 1)
    assert sums_up(m)


def test_a_keys_breaker_is_a_breaker(clock: ManualClock) -> None:
    """`of(key)` guards blocks and functions, takes orders, and shares its state with the calls of that key."""
    breaker = hf.CircuitBreaker("keyed", failure_threshold=1, key=by_first, classify=lambda exc: None)
    one = breaker.of("a/b")
    assert one.name == "keyed/a/b"
    assert breaker.keys() == ["a/b"]
    fail(one)
    assert breaker.of("a/b").state == "open"
    with pytest.raises(hf.CircuitOpen):
        breaker.call(lambda key: None, "a/b")
    one.reset()
    breaker.call(lambda key: None, "a/b")
    assert one.call(lambda: 7) == 7
    with one:
        pass
    assert one.metrics.successes == 3


def test_b20_orders_to_the_whole_bind_every_key(clock: ManualClock) -> None:
    """Forced open as a whole, known and unknown keys are refused and no key is asked for; `reset` ends it for all."""
    asked = []

    def key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        asked.append(args)
        return str(args[0])

    breaker = hf.CircuitBreaker("keyed", failure_threshold=1, key=key)
    ask = breaker(lambda key: key)
    ask("old")
    breaker.force_open()
    for name in ("old", "new"):
        with pytest.raises(hf.CircuitOpen) as caught:
            ask(name)
        assert (caught.value.reason, caught.value.source) == ("forced_open", "keyed")
    assert (breaker.state, len(asked), breaker.keys()) == ("forced_open", 1, ["old"])
    fail(breaker.of("old"))
    assert breaker.of("old").state == "open"
    breaker.reset()
    assert (breaker.state, breaker.of("old").state, ask("new")) == ("closed", "closed", "new")
    assert sums_up(breaker.metrics)


def test_keys_are_bounded_and_what_matters_is_kept() -> None:
    """Of 3000 keys 1024 are remembered, and the open one and the one under way are among them."""
    breaker = hf.CircuitBreaker("many", failure_threshold=1, key=by_first)
    ask = breaker(lambda key, error=None: (_ for _ in ()).throw(error) if error else key)
    with pytest.raises(ValueError, match="down"):
        ask("open", ValueError("down"))
    permit = breaker.of("busy").guard()
    permit.__enter__()
    for n in range(3000):
        ask(f"key-{n}")
    assert len(breaker.keys()) == 1024
    assert {"open", "busy", "key-2999"} <= set(breaker.keys())
    assert breaker.of("open").state == "open"
    permit.__exit__(None, None, None)
    assert breaker.of("busy").metrics.successes == 1


@pytest.mark.parametrize("answer", [7, None, b"eu", "\ud800"])
def test_a_key_must_be_a_string(answer: object) -> None:
    """A key function that answers something else ends the call with an error that names it; nothing is counted."""
    breaker = hf.CircuitBreaker(key=lambda args, kwargs: answer)  # type: ignore[arg-type,return-value]
    with pytest.raises(hf.ConfigurationError) as caught:
        breaker.call(lambda: pytest.fail("called without a key"))
    assert caught.value.field == "key"
    assert (breaker.metrics.calls, breaker.keys()) == (0, [])


async def test_a_key_function_that_raises_ends_the_call_with_its_error() -> None:
    """The error comes through as it is, before anything is asked, from each colour of guard."""
    breaker = hf.CircuitBreaker(key=lambda args, kwargs: args[5])

    async def coroutine() -> None:
        pytest.fail("called without a key")

    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(IndexError):
        breaker.call(lambda: pytest.fail("called without a key"))
    with pytest.raises(IndexError):
        await breaker(coroutine)()
    with pytest.raises(IndexError):
        next(breaker(generator)())
    with pytest.raises(IndexError):
        await anext(breaker(async_generator)())
    assert breaker.metrics.calls == 0


@pytest.mark.parametrize("use", [lambda b: b.guard(), lambda b: b.__enter__()])
def test_a_block_of_a_keyed_breaker_needs_its_key(use: Any) -> None:
    """A block has no arguments to make a key of, so the key is named: `breaker.of(key).guard()`."""
    with pytest.raises(hf.ConfigurationError, match=r"breaker\.of\(key\)"):
        use(hf.CircuitBreaker(key=by_first))


def test_of_needs_keys_and_a_string() -> None:
    """`of` on a breaker without keys, or with something else than a string, names the field."""
    for breaker, key in ((hf.CircuitBreaker(), "a"), (hf.CircuitBreaker(key=by_first), 7)):
        with pytest.raises(hf.ConfigurationError) as caught:
            breaker.of(key)  # type: ignore[arg-type]
        assert caught.value.field == "key"
    assert hf.CircuitBreaker().keys() == []


# The lease that follows the clocks.


def lease_of(breaker: hf.CircuitBreaker, clock: ManualClock) -> float:
    """How long a silent probe holds its slot, found out to a tenth of a second."""
    fail(breaker, 5)
    clock.advance(31.0)
    probe = breaker.guard()
    probe.__enter__()
    waited = 0.0
    while breaker.metrics.lost == 0:
        clock.advance(0.1)
        waited += 0.1
    return round(waited, 1)


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (None, 300.0),
        (hf.Timeout(10.0), 11.0),
        (hf.Timeout(10.0, attempt=4.0), 11.0),
        (hf.Timeout(attempt=4.0), 300.0),
        (hf.Timeout(attempt=400.0), 440.0),
    ],
)
def test_the_lease_follows_the_pipelines_clocks(
    timeout: hf.Timeout | None, expected: float, clock: ManualClock
) -> None:
    """1.1 times the total timeout; without one 300 s, or more if an attempt may be silent for longer."""
    breaker = hf.CircuitBreaker()
    hf.Pipeline(breaker=breaker, timeout=timeout)
    assert lease_of(breaker, clock) == pytest.approx(expected, abs=0.11)


def test_a_given_lease_stands(clock: ManualClock) -> None:
    """What the user says is not changed by the clocks around it."""
    breaker = hf.CircuitBreaker(probe_lease=7.0)
    hf.Pipeline(breaker=breaker, timeout=10.0)
    assert lease_of(breaker, clock) == pytest.approx(7.0, abs=0.11)


def test_what_was_ordered_before_the_lease_was_settled_stands(clock: ManualClock) -> None:
    """Putting a breaker into a pipeline changes its lease and nothing else: name, number, orders, identity."""
    breaker = hf.CircuitBreaker("face-lease")
    number = breaker.source_id
    breaker.force_open()
    pipeline = hf.Pipeline(breaker=breaker, timeout=10.0)
    assert (breaker.state, breaker.name, breaker.source_id) == ("forced_open", "face-lease", number)
    assert pipeline.breaker is breaker
    with pytest.raises(hf.CircuitOpen):
        pipeline.call(lambda: None)
    assert breaker.metrics.rejected == 1


@pytest.mark.parametrize(
    ("lease", "timeout"),
    [
        (1.0, hf.Timeout(attempt=5.0)),
        (1.0, hf.Timeout(10.0, attempt=5.0)),
        (1.0, hf.Timeout(first_item=2.0)),
        (1.0, hf.Timeout(idle=2.0)),
    ],
)
def test_a_lease_shorter_than_an_attempt_is_refused(lease: float, timeout: hf.Timeout) -> None:
    """Such a lease would call a probe lost that may still answer: refused by name, in pipelines and managers."""
    breaker = hf.CircuitBreaker(probe_lease=lease)
    makers = (
        lambda: hf.Pipeline(breaker=breaker, timeout=timeout),
        lambda: hf.FailoverManager([hf.Node("a", len)], breaker=breaker, timeout=timeout),
    )
    for make in makers:
        with pytest.raises(hf.ConfigurationError) as caught:
            make()
        assert caught.value.field == "probe_lease"


def test_a_lease_in_use_that_is_too_short_for_another_pipeline_is_refused() -> None:
    """The first pipeline settles an unsaid lease; one whose calls may last longer asks for it to be said."""
    breaker = hf.CircuitBreaker()
    first = hf.Pipeline(breaker=breaker, timeout=10.0)
    assert hf.Pipeline(breaker=breaker, timeout=5.0).breaker is first.breaker
    with pytest.raises(hf.ConfigurationError, match="be given") as caught:
        hf.Pipeline(breaker=breaker, timeout=60.0)
    assert caught.value.field == "probe_lease"


# What is refused.

NAN, INF = math.nan, math.inf

BAD: list[tuple[str, dict[str, Any]]] = [
    *(("name", {"name": v}) for v in ("", 7, b"x")),
    *(("failure_threshold", {"failure_threshold": v}) for v in (0, -1, 1.5, True, "5", NAN, 2**40)),
    *(("success_threshold", {"success_threshold": v}) for v in (0, -1, None, 1.5, False, "2")),
    *(("open_timeout", {"open_timeout": v}) for v in (0, -1.0, None, NAN, INF, "30", True, 1e300)),
    *(("open_timeout", {"open_timeout": datetime.timedelta(seconds=v)}) for v in (0, -1)),
    *(("half_open_max_calls", {"half_open_max_calls": v}) for v in (0, 17, -1, None, 1.5, True)),
    *(("failure_rate", {"failure_rate": v}) for v in (0, 0.0, -0.1, 1.1, NAN, INF, "0.5", True)),
    *(("slow_call_rate", {"slow_call_rate": v, "slow_call": 1.0}) for v in (0, -0.1, 1.1, NAN, INF, "0.5")),
    ("slow_call_rate", {"slow_call_rate": 0.5}),
    *(("slow_call", {"slow_call": v}) for v in (0, -1.0, NAN, INF, "1", True)),
    *(("minimum_calls", {"minimum_calls": v}) for v in (0, -1, None, 1.5, True)),
    ("minimum_calls", {"minimum_calls": 11, "failure_rate": 0.5, "window": hf.CountWindow(10)}),
    *(("window", {"window": v}) for v in (0, -1.0, NAN, INF, "60", True, [60])),
    ("window", {"window": None, "failure_rate": 0.5}),
    ("window", {"window": None, "slow_call_rate": 0.5, "slow_call": 1.0}),
    *(("open_timeout_factor", {"open_timeout_factor": v}) for v in (0.5, 0, -1, None, NAN, INF, "2", True)),
    *(("open_timeout_max", {"open_timeout_max": v}) for v in (0, 29.0, -1, NAN, INF, "60")),
    *(("open_timeout_jitter", {"open_timeout_jitter": v}) for v in (-0.1, 1.1, None, NAN, INF, "0.1", True)),
    *(("probe_lease", {"probe_lease": v}) for v in (0, -1, 1e-6, NAN, INF, "300", True)),
    *(("classify", {"classify": v}) for v in (7, "ignore", [7])),
    *(("key", {"key": v}) for v in (7, "key")),
]


@pytest.mark.parametrize(("field", "fields"), BAD, ids=lambda v: str(v))
def test_bad_fields_are_refused_by_name(field: str, fields: dict[str, Any]) -> None:
    """Each value out of range, of the wrong type, not finite or contradictory names its field and the rule."""
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.CircuitBreaker(**fields)
    assert caught.value.field == field
    assert caught.value.rule
    assert field in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("calls", [0, -1, 65_537, 1.5, True, None, "10"])
def test_a_count_window_is_checked(calls: Any) -> None:
    """A window of a number of calls that cannot be is refused where it is made."""
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.CountWindow(calls)
    assert caught.value.field == "calls"


@pytest.mark.parametrize(
    "fields",
    [
        {"failure_threshold": None},
        {"failure_threshold": 1, "success_threshold": 1, "half_open_max_calls": 16},
        {"open_timeout": datetime.timedelta(seconds=1), "window": datetime.timedelta(minutes=1)},
        {"failure_rate": 1, "slow_call_rate": 1.0, "slow_call": 1, "minimum_calls": 1},
        {"window": None},
        {"window": hf.CountWindow(65_536), "failure_rate": 0.5},
        {"open_timeout_factor": 1, "open_timeout_max": 30.0, "open_timeout_jitter": 1},
        {"open_timeout": 1e9, "probe_lease": 0.001},
        {"minimum_calls": 11, "window": hf.CountWindow(10)},
    ],
    ids=str,
)
def test_edges_of_the_ranges_are_taken(fields: dict[str, Any]) -> None:
    """The values on the edge are good ones."""
    breaker = hf.CircuitBreaker(**fields)
    fail(breaker)
    assert sums_up(breaker.metrics)
