"""A first attempt past the inline doors says and does what the machine says and does, and leaves nothing behind.

Under a deadline that it inherits a call is made by the machine from the start: that is what each is compared with.
"""

from __future__ import annotations

import contextlib
import contextvars
import gc
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from colours import Worker
from holdfast.testing import record_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.testing import ManualClock


class Refused(Exception):
    """HTTP 400: the caller's own fault."""

    status_code = 400


Script = list[Any]

SCRIPTS: dict[str, Script] = {
    "answers": ["fine"],
    "answers late": [6.0],
    "fails once": [ValueError("down"), "fine"],
    "fails once, then late": [ValueError("down"), 6.0],
    "fails always": [ValueError("down")] * 9,
    "is refused": [Refused("no")],
    "is interrupted": [KeyboardInterrupt()],
    "exits": [SystemExit(3)],
}

PLANS: dict[str, Callable[[], dict[str, Any]]] = {
    "retry": lambda: {"retry": three()},
    "timeout": lambda: {"timeout": 5.0},
    "late raises": lambda: {"timeout": hf.Timeout(5.0, late="raise"), "breaker": watchful()},
    "attempt timeout": lambda: {"timeout": hf.Timeout(attempt=5.0), "retry": three()},
    "bulkhead": lambda: {"bulkhead": hf.Bulkhead(2)},
    "adaptive": lambda: {"bulkhead": hf.AdaptiveLimit(4), "breaker": watchful()},
    "rate": lambda: {"rate_limit": hf.RateLimit(10_000, per=60.0)},
    "two rates": lambda: {"rate_limit": [hf.RateLimit(10_000, per=60.0), hf.RateLimit(5_000, per=1.0)]},
    "all": lambda: {
        "retry": three(budget=hf.RetryBudget(10, per_success=1.0)),
        "breaker": watchful(),
        "timeout": 50.0,
        "bulkhead": hf.Bulkhead(2),
        "rate_limit": hf.RateLimit(10_000, per=60.0),
    },
}


def three(**fields: Any) -> hf.Retry:
    return hf.Retry(3, backoff=None, **fields)


def watchful() -> hf.CircuitBreaker:
    return hf.CircuitBreaker(
        "b", failure_threshold=3, failure_rate=0.9, slow_call=3.0, slow_call_rate=0.9, minimum_calls=50
    )


def standing(plan: dict[str, Any]) -> list[Any]:
    """How all that the plan is made of stands."""
    told: list[Any] = []
    if (breaker := plan.get("breaker")) is not None:
        m = breaker.metrics
        told.append((breaker.state, m.calls, m.successes, m.failures, m.throttled, m.ignored, m.slow, m.late))
        told.append((m.in_flight, m.rejected, m.failure_rate, m.slow_call_rate))
    if (bulkhead := plan.get("bulkhead")) is not None:
        told.append((bulkhead.in_use, bulkhead.queued, bulkhead.limit))
    rates = plan.get("rate_limit", [])
    for rate in rates if isinstance(rates, list) else [rates]:
        told.append(round(rate.metrics.available, 6))
    return told


def carried_out(plan: dict[str, Any], script: Script, clock: ManualClock) -> list[Any]:
    """What comes of three calls, as their caller, a listener, the function and the policies see it."""
    seen: list[Any] = []
    came: list[Any] = []
    lines = iter(script)

    def act(*args: Any, **kwargs: Any) -> Any:
        scope = hf.current_attempt()
        seen.append((args, kwargs, scope and scope.number, scope and scope.time_left))
        clock.advance(0.25)
        line = next(lines, "fine")
        if isinstance(line, BaseException):
            raise line
        if isinstance(line, float):
            clock.advance(line)
        return line

    guarded = hf.Pipeline(**plan)(act)
    with record_events() as events:
        for _ in range(3):
            try:
                came.append(guarded(1, b=2))
            except BaseException as error:
                came.append((type(error), str(error), hf.history(error), getattr(error, "__notes__", [])))
    assert hf.current_attempt() is None
    return [came, seen, standing(plan), events.kinds]


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("plan", PLANS)
def test_it_agrees_with_the_machine(plan: str, script: str, clock: ManualClock) -> None:
    """The same answers, errors, notes, attempts, events and figures, whichever way a call is made."""
    ours = carried_out(PLANS[plan](), SCRIPTS[script], clock)
    with hf.priority("high"):  # to be inherited, and without effect where nobody waits
        theirs = carried_out(PLANS[plan](), SCRIPTS[script], clock)
    assert ours == theirs


@pytest.mark.parametrize("plan", PLANS)
def test_nothing_is_left_behind(plan: str) -> None:
    """Arguments, answers and errors are given up, and so is the scope, on every way out."""
    policies = PLANS[plan]()
    argument, answer, error = object(), object(), ValueError("kept here")

    def act(*_args: Any, **kwargs: Any) -> object:
        if kwargs.get("fails"):
            raise error
        return answer

    guarded = hf.Pipeline(**policies)(act)

    def counts() -> list[int]:
        error.__traceback__ = None
        error.__dict__.clear()
        gc.collect()
        return [sys.getrefcount(thing) for thing in (argument, answer, error, act)]

    def turn() -> None:
        for _ in range(20):
            assert guarded(argument, key=argument) is answer
        if "breaker" not in policies:
            with contextlib.suppress(ValueError):
                guarded(argument, fails=True, key=argument)

    turn()
    before = counts()
    for _ in range(5):
        turn()
    assert counts() == before


# ---- the scope ----


def test_a9_attempts_of_a_call_share_its_key() -> None:
    """The first attempt, made without the machine, has the number and the key that the later ones go on with."""
    seen: list[tuple[int, str, int]] = []

    @hf.Retry(3, backoff=None)
    def act() -> None:
        scope = hf.current_attempt()
        assert scope is not None
        seen.append((scope.number, scope.idempotency_key, scope.call_id))
        if scope.number < 3:
            raise ValueError

    act()
    act()
    assert [number for number, *_ in seen] == [1, 2, 3] * 2
    assert len({tuple(rest) for _, *rest in seen}) == 2


def test_scopes_nest_and_are_left() -> None:
    """Inside a call the innermost attempt is the current one, afterwards the outer one again, also after an error."""
    inner = hf.Retry(2, backoff=None)
    numbers: list[int | None] = []

    def look() -> int | None:
        scope = hf.current_attempt()
        numbers.append(scope and scope.call_id)
        return numbers[-1]

    @inner
    def fails() -> None:
        look()
        raise ValueError

    @hf.Retry(1)
    def act() -> None:
        mine = look()
        inner(look)()
        assert look() == mine
        with pytest.raises(ValueError):  # noqa: PT011
            fails()
        assert look() == mine

    act()
    assert look() is None
    first, nested, second, *failing, last, after = numbers
    assert (first, second, last, after) == (first, first, first, None)
    assert nested not in (None, first)
    assert len(failing) == 2
    assert len({*failing, first, nested}) == 3


def test_a_copied_context_knows_the_attempt() -> None:
    """A thread that is given a copy of the context is part of the attempt, as a task is."""

    @hf.Retry(2, backoff=None)
    def act() -> None:
        scope = hf.current_attempt()
        context = contextvars.copy_context()
        theirs = Worker(lambda: context.run(hf.current_attempt)).outcome()
        assert theirs is scope
        assert scope is not None

    act()


def test_a_clock_outside_bounds_the_attempts_inside(clock: ManualClock) -> None:
    """A transport inside of two attempts learns of the outer one's clock, whichever way the calls are made."""
    patience: list[float | None] = []

    @hf.Retry(2, backoff=None)
    def inside() -> None:
        scope = hf.current_attempt()
        assert scope is not None
        patience.append(scope._patience())

    @hf.Pipeline(timeout=hf.Timeout(attempt=5.0), retry=hf.Retry(1))
    def act() -> None:
        clock.advance(2.0)
        inside()

    act()
    with hf.priority("high"):
        act()
    inside()
    assert patience == [3.0, 3.0, None]


def test_a_deadline_is_handed_down() -> None:
    """A first attempt under a timeout hands its deadline to the calls inside of it."""
    left: list[float | None] = []

    @hf.Retry(2, backoff=None)
    def inside() -> None:
        scope = hf.current_attempt()
        left.append(scope and scope.time_left)

    @hf.Timeout(30.0)
    def act() -> None:
        inside()

    act()
    inside()
    assert left[0] is not None
    assert 25.0 < left[0] <= 30.0
    assert left[1] is None


# ---- limits ----


def test_the_clock_of_the_attempt_around_it_runs_too(clock: ManualClock) -> None:
    """A call inside an attempt may wait as long as the nearer of both clocks allows, the attempt's or its own."""

    @hf.Timeout(5.0)
    def inner() -> float | None:
        scope = hf.current_attempt()
        assert scope is not None
        return scope._patience()

    @hf.Timeout(attempt=0.3)
    def outer() -> float | None:
        clock.advance(0.1)
        return inner()

    assert outer() == pytest.approx(0.2)
    assert inner() == pytest.approx(5.0)


def test_l2_what_is_refused_costs_no_quota() -> None:
    """Whoever meets a shut gate gives back what the gates before it gave: nothing is used up by refusals."""
    rate, bulkhead = hf.RateLimit(10, per=3600.0), hf.Bulkhead(1)
    breaker = hf.CircuitBreaker()
    pipeline = hf.Pipeline(rate_limit=rate, bulkhead=bulkhead, breaker=breaker)

    @pipeline
    def act(depth: int = 0) -> None:
        if depth:
            for _ in range(5):
                with pytest.raises(hf.BulkheadFull):
                    act()

    act(1)
    assert round(rate.metrics.available) == 9
    breaker.force_open()
    for _ in range(5):
        with pytest.raises(hf.CircuitOpen):
            act()
    assert round(rate.metrics.available) == 9
    assert (bulkhead.in_use, breaker.metrics.in_flight) == (0, 0)


def test_l4_who_waits_in_line_is_called() -> None:
    """A call past the doors that gives the last slot back wakes who waits for it."""
    bulkhead = hf.Bulkhead(1, max_queue=1)
    inside, done = threading.Event(), threading.Event()

    @hf.Pipeline(bulkhead=bulkhead)
    def act(wait: bool) -> str:
        if wait:
            inside.set()
            assert done.wait(30)
        return "done"

    holder = Worker(lambda: act(True))
    assert inside.wait(30)
    waiter = Worker(lambda: act(False))
    while not bulkhead.queued:
        waiter.join(0.001)
    done.set()
    assert (holder.outcome(), waiter.outcome()) == ("done", "done")
    assert (bulkhead.in_use, bulkhead.queued) == (0, 0)


def test_l1_threads_leave_every_counter_at_zero() -> None:
    """Answers, failures and refusals from several threads at once: exact figures, and nothing in use."""
    breaker, bulkhead = hf.CircuitBreaker(failure_threshold=None), hf.Bulkhead(3)
    pipeline = hf.Pipeline(retry=hf.Retry(2, backoff=None, budget=None), breaker=breaker, bulkhead=bulkhead)

    @pipeline
    def act(n: int) -> int:
        if n % 5 == 0:
            raise ValueError
        return n

    def work() -> list[int]:
        came = [0, 0, 0]
        for n in range(2000):
            try:
                act(n)
                came[0] += 1
            except ValueError:
                came[1] += 1
            except hf.BulkheadFull:
                came[2] += 1
        return came

    workers = [Worker(work) for _ in range(4)]
    good, bad, refused = map(sum, zip(*(worker.outcome() for worker in workers), strict=True))
    m = breaker.metrics
    assert good + bad + refused == 8000
    assert m.successes == good
    assert bad <= m.failures <= 2 * bad
    assert (m.in_flight, bulkhead.in_use, bulkhead.queued) == (0, 0, 0)


def test_a_switch_is_heard(clock: ManualClock) -> None:
    """Guards that are switched off pass the call on, those made before too."""
    bulkhead = hf.Bulkhead(1)
    seen: list[Any] = []

    @hf.Pipeline(retry=3, bulkhead=bulkhead)
    def act() -> None:
        seen.append((hf.current_attempt() is None, bulkhead.in_use))

    act()
    hf.testing.set_active(False)
    try:
        act()
    finally:
        hf.testing.set_active(True)
    assert seen[0] == (False, 1)
    assert seen[1][1] == 0
