"""Hedges and replicated tasks: several attempts of one call at once; the first success wins."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import holdfast as hf
from holdfast.testing import ManualClock, record_events

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def everything(_args: object, _kwargs: object) -> bool:
    return True


class Slow:
    """An async target that answers after some seconds of the manual clock, and notes how it ended."""

    def __init__(self, seconds: float | None, answer: object = None) -> None:
        self.seconds = seconds
        self.answer = answer
        self.calls = 0
        self.ended: list[str] = []
        self.seen: list[Any] = []

    async def __call__(self, *args: object) -> object:
        self.calls += 1
        self.seen.append((WHO.get(), hf.current_attempt()))
        try:
            if self.seconds is None:
                await asyncio.Event().wait()
            await pause(self.seconds or 0.0)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        self.ended.append("done")
        return self.answer


async def pause(seconds: float) -> None:
    """A sleep that follows the manual clock: the back-off of a retry does."""

    @hf.Retry(2, backoff=seconds, budget=None)
    async def twice() -> None:
        nonlocal first
        if first:
            first = False
            raise ConnectionError

    first = True
    if seconds:
        await twice()


def manager_of(*targets: Callable[..., Any], **fields: Any) -> hf.FailoverManager:
    nodes = [hf.Node(name, target) for name, target in zip("abcdef", targets, strict=False)]
    return hf.FailoverManager(nodes, name="pool", **fields)


def carry(make: Callable[[], Any], seconds: float = 10.0, step: float = 0.05) -> Any:
    """Carries one async call to its end under a manual clock; the outcome and how long it took."""

    async def main(clock: ManualClock) -> Any:
        task = asyncio.ensure_future(make())
        began = clock.now
        for _ in range(round(seconds / step)):
            for _ in range(5):
                await asyncio.sleep(0)
            if task.done():
                break
            await clock.aadvance(step)
        took = clock.now - began
        for _ in range(5):
            await asyncio.sleep(0)
        return await task, pytest.approx(took, abs=step / 2)

    with ManualClock() as clock:
        return asyncio.run(main(clock))


def test_a11_the_first_success_wins_and_the_loser_is_cancelled_and_neutral() -> None:
    """A10, A11: the hedge goes to another node; nobody is blamed for losing."""
    slow, quick = Slow(None), Slow(0.1, "quick")
    manager = manager_of(slow, quick, hedge=hf.Hedge(0.5, safe=everything))
    with record_events(manager, ["hedge_started"]) as events:
        assert carry(lambda: manager.acall("q")) == ("quick", 0.6)
    assert slow.ended == ["cancelled"]
    assert [(event.node, event.attempt, event.after) for event in events] == [("b", 2, 0.5)]
    for name in "ab":
        breaker = manager.node_breaker(name)
        assert breaker is not None
        assert (breaker.metrics.failures, breaker.metrics.in_flight) == (0, 0)
    assert all(node.in_flight == 0 for node in manager.nodes.values())


def test_a_quick_answer_is_not_hedged() -> None:
    """A hedge is made only when the first attempt is late."""
    first, second = Slow(0.1, "first"), Slow(0.1, "second")
    manager = manager_of(first, second, hedge=hf.Hedge(0.5, safe=everything))
    assert carry(lambda: manager.acall()) == ("first", 0.1)
    assert second.calls == 0


def test_a10_only_calls_declared_safe_are_hedged() -> None:
    """A10: `safe` is asked with the call's arguments."""
    slow, quick = Slow(1.0, "slow"), Slow(0.1, "quick")
    asked: list[Any] = []

    def safe(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        asked.append((args, kwargs))
        return args[0] == "read"

    manager = manager_of(slow, quick, hedge=hf.Hedge(0.5, safe=safe), balancer="round_robin")
    assert carry(lambda: manager.acall("write"))[0] == "slow"
    assert quick.calls == 0
    manager = manager_of(slow, quick, hedge=hf.Hedge(0.5, safe=safe))
    assert carry(lambda: manager.acall("read"))[0] == "quick"
    assert asked == [(("write",), {}), (("read",), {})]


def test_a11_a_fast_failure_does_not_end_the_race() -> None:
    """A11: the other attempt goes on; the failure stands in the history of nobody, for the call succeeded."""
    slow, broken = Slow(1.0, "slow"), Slow(0.1, ConnectionError("down"))
    manager = manager_of(slow, broken, hedge=hf.Hedge(0.5, safe=everything))
    assert carry(lambda: manager.acall()) == ("slow", 1.0)
    assert slow.ended == ["done"]


def test_a11_when_all_have_failed_the_last_error_is_raised_with_its_history() -> None:
    """The user's own exception, with one row per attempt."""
    first, second = Slow(1.0, ConnectionError("first")), Slow(0.1, ConnectionError("second"))
    manager = manager_of(first, second, hedge=hf.Hedge(0.5, safe=everything))
    with pytest.raises(ConnectionError, match="first") as caught:
        carry(lambda: manager.acall())
    assert [(tried.number, tried.node) for tried in hf.history(caught.value)] == [(2, "b"), (1, "a")]


def test_a9_r5_attempts_share_the_key_and_the_context() -> None:
    """A9: one idempotency key; R5: context variables reach the hedge; each attempt knows its own number."""
    slow, quick = Slow(None), Slow(0.1, "quick")
    manager = manager_of(slow, quick, hedge=hf.Hedge(0.5, safe=everything))
    WHO.set("caller")
    carry(lambda: manager.acall())
    (who, one), (whom, other) = slow.seen[0], quick.seen[0]
    assert (who, whom) == ("caller", "caller")
    assert one.idempotency_key == other.idempotency_key
    assert (one.number, other.number, one.node.name, other.node.name) == (1, 2, "a", "b")


def test_b8_an_attempts_clock_ends_it_and_the_race_goes_on() -> None:
    """The attempt clock of the slow one ends that one only, as a failure of its node."""
    slow, quick = Slow(None), Slow(0.8, "quick")
    manager = manager_of(slow, quick, hedge=hf.Hedge(0.5, safe=everything), timeout=hf.Timeout(attempt=1.0))
    assert carry(lambda: manager.acall()) == ("quick", 1.3)
    breaker = manager.node_breaker("a")
    assert breaker is not None
    assert breaker.metrics.failures == 1


def test_the_total_deadline_ends_the_race() -> None:
    """`CallTimeout` of the total clock, and nothing is left running."""
    one, two = Slow(None), Slow(None)
    manager = manager_of(one, two, hedge=hf.Hedge(0.5, safe=everything), timeout=1.0)
    with pytest.raises(hf.CallTimeout) as caught:
        carry(lambda: manager.acall())
    assert caught.value.which == "total"
    assert one.ended == two.ended == ["cancelled"]


def test_a17_who_cancels_the_call_closes_every_attempt() -> None:
    """A17, B7: both attempts are closed before the cancellation goes on, and nobody is blamed."""
    one, two = Slow(None), Slow(None)
    manager = manager_of(one, two, hedge=hf.Hedge(0.0, safe=everything))

    async def main() -> None:
        task = asyncio.ensure_future(manager.acall())
        for _ in range(100):
            await asyncio.sleep(0)
        assert two.calls == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert one.ended == two.ended == ["cancelled"]

    asyncio.run(main())
    assert [node.in_flight for node in manager.nodes.values()] == [0, 0]
    assert [node.failures for node in manager.nodes.values()] == [0, 0]


def test_a10_hedges_draw_on_the_retry_budget() -> None:
    """With an empty budget nothing is hedged."""
    slow, quick = Slow(1.0, "slow"), Slow(0.1, "quick")
    retry = hf.Retry(3, budget=hf.RetryBudget(0.0))
    manager = manager_of(slow, quick, hedge=hf.Hedge(0.5, safe=everything), retry=retry)
    assert carry(lambda: manager.acall())[0] == "slow"
    assert quick.calls == 0


def test_a12_the_delay_is_learned() -> None:
    """A percentile is known after 20 answers; till then nothing is hedged."""
    target = Slow(0.1, "answer")
    hedge = hf.Hedge("p95", safe=True)
    manager = manager_of(target, hedge=hedge)
    assert hedge.delay is None

    async def many() -> None:
        for _ in range(20):
            await manager.acall()

    carry(many, step=0.1)
    assert hedge.delay == pytest.approx(0.1, abs=0.01)


def test_the_decorator_form_is_hedged_too() -> None:
    """`@manager` on a coroutine function: the hedge is given its own node."""
    manager = manager_of(Slow(None), Slow(0.1, "b"), hedge=hf.Hedge(0.5, safe=everything))

    @manager
    async def ask(node: hf.Node, question: str) -> object:
        return node.name, await node.target(question)

    assert asyncio.iscoroutinefunction(ask)
    assert carry(lambda: ask("q"))[0] == ("b", "b")


def test_a_fallback_stands_in_when_the_race_is_lost() -> None:
    """The fallback is outside of the attempts, hedges included."""
    broken = Slow(0.1, ConnectionError("down"))
    manager = manager_of(
        broken, broken, hedge=hf.Hedge(0.05, safe=everything), fallback=hf.Fallback(value="sorry")
    )
    assert carry(lambda: manager.acall())[0] == "sorry"


def test_sync_calls_are_hedged_in_threads() -> None:
    """With `threads=True`; without it a sync call of a hedging manager is refused by name."""
    release = threading.Event()

    def stuck() -> str:
        release.wait(30.0)
        return "late"

    def quick() -> str:
        return WHO.get()

    hedge = hf.Hedge(0.02, safe=everything)
    with pytest.raises(hf.ConfigurationError) as caught:
        manager_of(stuck, quick, hedge=hedge).call()
    assert caught.value.field == "threads"
    manager = manager_of(stuck, quick, hedge=hedge, threads=True)
    WHO.set("caller")
    try:
        assert manager.call() == "caller"
        assert all(node.in_flight == 0 for node in manager.nodes.values())
    finally:
        release.set()


def test_unsafe_sync_calls_need_no_threads() -> None:
    """What is not declared safe goes the ordinary way."""
    manager = manager_of(lambda: "here", hedge=hf.Hedge(0.1, safe=lambda args, kwargs: False))
    assert manager.call() == "here"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "safe"),
        ({"safe": "yes"}, "safe"),
        ({"safe": True, "after": "p100"}, "after"),
        ({"safe": True, "after": "95"}, "after"),
        ({"safe": True, "after": -1}, "after"),
        ({"safe": True, "max_hedges": 0}, "max_hedges"),
    ],
)
def test_nonsense_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    """Every configuration error names its field."""
    with pytest.raises(hf.ConfigurationError) as caught:
        hf.Hedge(**fields)
    assert caught.value.field == field


# ---- replicated tasks ----


def test_a_replicated_task_runs_on_n_nodes_at_once_and_the_first_success_wins() -> None:
    """No delay, no budget: the caller has asked for it. The others are cancelled."""
    targets = [Slow(1.0, "a"), Slow(0.2, ConnectionError()), Slow(0.4, "c"), Slow(0.1, "never asked")]
    manager = manager_of(*targets)
    assert carry(lambda: manager.areplicate(3, "task")) == ("c", 0.4)
    assert [target.calls for target in targets] == [1, 1, 1, 0]
    assert targets[0].ended == ["cancelled"]


def test_a_replicated_function_is_given_each_node() -> None:
    """`arun_replicated(n, function, …)`; with fewer nodes than n, those there are."""
    manager = manager_of(Slow(0.3), Slow(0.1))

    async def task(node: hf.Node, x: int) -> tuple[str, int]:
        await node.target()
        return node.name, x

    assert carry(lambda: manager.arun_replicated(5, task, 7))[0] == ("b", 7)


def test_a_task_replicated_in_threads() -> None:
    """All of them begin at once: each waits for the others."""
    together = threading.Barrier(3, timeout=10.0)

    def task(node: hf.Node) -> str:
        together.wait()
        if node.name != "b":
            time.sleep(0.05)
        return node.name

    manager = manager_of(print, print, print, threads=True)
    assert manager.run_replicated(3, task) == "b"
    with pytest.raises(hf.ConfigurationError) as caught:
        manager_of(print).replicate(2)
    assert caught.value.field == "threads"


def test_when_every_replica_fails_the_error_is_the_users_own() -> None:
    """The last one's, with the history of all."""
    manager = manager_of(Slow(0.1, ConnectionError("a")), Slow(0.2, ConnectionError("b")))
    with pytest.raises(ConnectionError, match="b") as caught:
        carry(lambda: manager.areplicate(2))
    assert len(hf.history(caught.value)) == 2


# ---- whom a hedge asks ----


def test_a10_a_hedge_of_a_sticky_call_goes_elsewhere_and_the_key_stays() -> None:
    """Exclusion before affinity (P13): the hedge is for another node, and the next call of the key for its own."""
    slow, quick = Slow(1.0, "slow"), Slow(0.1, "quick")
    manager = manager_of(
        slow,
        quick,
        hedge=hf.Hedge(0.5, safe=everything),
        balancer="sticky",
        sticky_key=lambda args, _kwargs: args[0],
    )
    home = next(key for key in map(str, range(100)) if slow_is_asked(manager, slow, key))
    for _ in range(3):
        before = slow.calls
        assert carry(lambda: manager.acall(home))[0] == "quick"
        assert slow.calls == before + 1


def slow_is_asked(manager: hf.FailoverManager, slow: Slow, key: str) -> bool:
    before = slow.calls
    carry(lambda: manager.acall(key))
    return slow.calls > before


def test_a10_a_hedge_beside_a_balancer_of_the_users_own() -> None:
    """The balancer picks for the call; the hedge goes to another node, and the balancer is not asked again."""
    asked: list[list[str]] = []

    class First:
        def pick(self, candidates: list[hf.NodeView]) -> str:
            asked.append([view.name for view in candidates])
            return "a"

    slow, quick = Slow(1.0, "slow"), Slow(0.1, "quick")
    manager = manager_of(slow, quick, hedge=hf.Hedge(0.5, safe=everything), balancer=First())
    assert carry(lambda: manager.acall())[0] == "quick"
    assert (slow.calls, quick.calls, asked) == (1, 1, [["a", "b"]])


def test_a10_nothing_is_hedged_in_panic() -> None:
    """While less than half of the nodes is healthy every second attempt would be one too many."""
    slow, quick = Slow(1.0, "slow"), Slow(0.1, "quick")
    manager = manager_of(
        slow,
        quick,
        Slow(1.0),
        Slow(1.0),
        hedge=hf.Hedge(0.5, safe=everything),
        panic_below=0.5,
        balancer="round_robin",
    )
    assert carry(lambda: manager.acall())[0] == "quick"
    asked, hedged = slow.calls, quick.calls
    with record_events(manager, ["hedge_started", "panic_entered"]) as events:
        for name in "bcd":
            manager.report(name, ok=False, reason="gone")
        for _ in range(8):
            carry(lambda: manager.acall())
    assert [event.kind for event in events] == ["panic_entered"]
    assert (slow.calls - asked, quick.calls - hedged) == (2, 2), "each in turn, and none beside another"


def test_a12_cancelled_losers_keep_the_delay_from_sinking() -> None:
    """A12: with every tenth answer slow and cut short by its hedge, the 80th percentile stays where it was."""
    seconds = iter([0.1] * 9 + [5.0])
    times: list[float] = []

    async def first(*_args: object) -> str:
        nonlocal seconds
        wait = next(seconds, None)
        if wait is None:
            seconds = iter([0.1] * 9 + [5.0])
            wait = next(seconds)
        times.append(wait)
        await pause(wait)
        return "first"

    hedge = hf.Hedge("p95", safe=True)
    manager = hf.FailoverManager(
        [hf.Node("a", first), hf.Node("b", Slow(0.1, "second"), tier=1)],
        hedge=hedge,
        retry=hf.Retry(2, budget=None),
    )

    async def many() -> None:
        for _ in range(100):
            await manager.acall()

    carry(many, seconds=200.0, step=0.1)
    assert max(times) == 5.0
    assert hedge.delay is None or hedge.delay > 0.15, (
        "left out, the losers would let it sink to the quick ones' 0.1"
    )
