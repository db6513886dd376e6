"""The native part of Holdfast, as type checkers see it; users import from `holdfast`.

Written by hand from `src/python`, and held against the built module by stubtest (`make stubtest`). The
public classes with the same names are subclasses that add defaults, the decorator form and docstrings.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, final, type_check_only

from typing_extensions import disjoint_base

from holdfast._breaker import BreakerState
from holdfast._breaker import CircuitBreaker as _PublicBreaker
from holdfast._classify import Verdict
from holdfast._exceptions import StreamInterrupted
from holdfast._limits import AdaptiveLimit as _PublicAdaptiveLimit
from holdfast._limits import Bulkhead as _PublicBulkhead
from holdfast._limits import RateLimit as _PublicRateLimit
from holdfast._retry import Retry as _PublicRetry
from holdfast._timeout import Timeout as _PublicTimeout

__all__ = [
    "EVENT_KINDS",
    "STATE_CHANGES",
    "Attempts",
    "Backoff",
    "Block",
    "BreakerMetrics",
    "Chaos",
    "CircuitBreaker",
    "ConcurrencyLimit",
    "FailoverManager",
    "FailureDetector",
    "Guard",
    "GuardStep",
    "GuardedAsyncGenerator",
    "GuardedCoroutine",
    "GuardedGenerator",
    "GuardedStep",
    "Hedge",
    "LimitMetrics",
    "ManagerMetrics",
    "NextAttempt",
    "NodeView",
    "Order",
    "Permit",
    "Pipeline",
    "Race",
    "RateLimit",
    "RateMetrics",
    "Reliability",
    "Rest",
    "Retry",
    "RetryBudget",
    "Scope",
    "Timeout",
    "__version__",
    "aask",
    "advance_clock",
    "after_fork_in_child",
    "after_fork_in_parent",
    "apause",
    "ask",
    "before_fork",
    "check_address",
    "check_heartbeat",
    "check_recovery",
    "clock_busy",
    "clock_target",
    "close_errands",
    "close_events",
    "deadline_scope",
    "flush_events",
    "install_manual_clock",
    "is_clock_manual",
    "last_event",
    "now",
    "pause",
    "priority_scope",
    "quicken_state",
    "remove_manual_clock",
    "set_active",
    "set_interest",
    "set_testing",
    "shutdown",
    "step_clock",
    "take_errands",
    "take_events",
    "wall",
    "want_details",
]

_Seconds: TypeAlias = float | timedelta
_Colour: TypeAlias = Literal["function", "coroutine", "generator", "async_generator"]
_Judge: TypeAlias = Callable[[BaseException], Verdict]
_Key: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], str]
_Jitter: TypeAlias = Literal["full", "equal", "none"]
_RetryOn: TypeAlias = (
    type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], object]
)

# Validate, governor, resume: what looks at answers and streams.
_Answers: TypeAlias = tuple[
    Callable[[Any], object] | None,
    Callable[[], Any] | None,
    Callable[[StreamInterrupted], tuple[tuple[Any, ...], dict[str, Any]] | None] | None,
]

# "http" and its url, method, headers, first status, status after the last; "tcp" and an address; "python"
# and a task.
_Asked: TypeAlias = tuple[Any, ...]

# Interval, failure_threshold, recovery_threshold, timeout, jitter, detector, whether nodes are asked.
_Beat: TypeAlias = tuple[_Seconds, int, int, _Seconds, float, FailureDetector | None, bool]

# Node, name, weight, tier, its callables in the order of the colours, how its heartbeat asks, domains, whether
# it is heard and its own heartbeat.
_NodeRow: TypeAlias = tuple[
    object,
    str,
    float,
    int,
    list[Callable[..., Any] | None],
    _Asked | None,
    list[str],
    tuple[bool, _Beat | None],
]

# Kind, source, at, seq, fields, the ids of the source and its owners.
_EventRow: TypeAlias = tuple[str, str, datetime, int, dict[str, Any], tuple[int, ...]]

__version__: Final[str]

EVENT_KINDS: Final[tuple[str, ...]]
"""Every kind of event."""

STATE_CHANGES: Final[frozenset[str]]
"""The kinds that are changes of state: always built, for the log."""

@disjoint_base
class CircuitBreaker:
    """A circuit breaker; the instance is the state. Durations are seconds."""

    def __new__(cls, made: str | CircuitBreaker, fields: dict[str, Any] | None = None) -> Self: ...
    @property
    def name(self) -> str:
        """Its label."""
    @property
    def source_id(self) -> int:
        """The number that its events carry; no other source has it."""
    @property
    def state(self) -> BreakerState:
        """Its state. Reading changes nothing: "open" becomes "half_open" when the first probe is admitted."""
    @property
    def retry_after(self) -> float | None:
        """Seconds until it is worth asking again, or `None`."""
    @property
    def metrics(self) -> BreakerMetrics:
        """A frozen snapshot of its counts."""
    @property
    def classify(self) -> Any:
        """The user's own classifier, or `None`."""
    @property
    def key(self) -> _Key | None:
        """The key function, or `None`."""
    def force_open(self) -> None:
        """Opens it until `reset`."""
    def force_closed(self) -> None:
        """Closes it until `reset`, whatever happens."""
    def disable(self) -> None:
        """Admits everything and records nothing, until `reset`."""
    def shadow(self) -> None:
        """Admits everything and says when it would have opened, until `reset`."""
    def reset(self) -> None:
        """Closes it, and every key's, and forgets the recent past; the only way out of the manual states."""
    def guard(self) -> Permit:
        """A permit for one block: a context manager, sync and async."""
    def __enter__(self) -> Permit: ...
    def __exit__(self, _typ: object, value: object, _tb: object, /) -> bool: ...
    def __aenter__(self) -> Awaitable[Permit]: ...
    def __aexit__(self, _typ: object, value: object, _tb: object, /) -> Awaitable[bool]: ...
    def _of(self, key: str) -> CircuitBreaker: ...
    def _names(self) -> list[str]: ...

@final
class Permit:
    """The right to run one block; a context manager, sync and async, for one use."""

    @property
    def is_probe(self) -> bool:
        """Is the block a half-open breaker's probe?"""
    def __enter__(self) -> Self: ...
    def __exit__(self, _typ: object, value: object, _tb: object, /) -> bool: ...
    def __aenter__(self) -> Awaitable[Self]: ...
    def __aexit__(self, _typ: object, value: object, _tb: object, /) -> Awaitable[bool]: ...
    def renew(self) -> bool:
        """A sign of life from a block that takes long: a probe's lease starts anew. True while it is held."""
    def first_item(self) -> bool:
        """The first item of a stream has come: by this moment the block counts as slow or not."""

@final
class GuardStep:
    """What `async with` awaits: done at the first step, since nothing here waits."""

    def __await__(self) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...

@final
class BreakerMetrics:
    """A breaker's counts at one instant; frozen.

    `calls = successes + failures + throttled + ignored + late + lost + rejected + in_flight`: each call is
    in exactly one term. Rates are 0 to 1 over the window, times are seconds.
    """

    @property
    def calls(self) -> int: ...
    @property
    def successes(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def throttled(self) -> int: ...
    @property
    def ignored(self) -> int: ...
    @property
    def late(self) -> int: ...
    @property
    def lost(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def slow(self) -> int: ...
    @property
    def opened(self) -> int: ...
    @property
    def failure_rate(self) -> float: ...
    @property
    def slow_call_rate(self) -> float: ...
    @property
    def mean_recovery_time(self) -> float | None: ...
    @property
    def state_since(self) -> datetime: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Backoff:
    """A law by which waits grow. Equal by value; not hashable."""

    @staticmethod
    def exponential(first: _Seconds, factor: float, cap: _Seconds, jitter: _Jitter) -> Backoff:
        """`first · factorⁿ⁻¹` seconds before retry n, at most `cap`, then jittered."""
    @staticmethod
    def linear(first: _Seconds, step: _Seconds, cap: _Seconds, jitter: _Jitter) -> Backoff:
        """`first + (n - 1) · step` seconds before retry n, at most `cap`, then jittered."""
    @staticmethod
    def constant(seconds: _Seconds) -> Backoff:
        """Always `seconds`."""
    @staticmethod
    def decorrelated(first: _Seconds, cap: _Seconds) -> Backoff:
        """Uniform in `[first, 3 · previous wait]` seconds, at most `cap`."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@disjoint_base
class RetryBudget:
    """A budget of retries; the instance is the state."""

    def __new__(cls, tokens: float, per_success: float) -> Self: ...
    @property
    def available(self) -> float:
        """How many retries are left, with the fraction that successes have earned."""

@disjoint_base
class Retry:
    """A retry policy; a frozen value, but for the budget it shares."""

    def __new__(
        cls,
        attempts: int,
        *,
        backoff: Backoff | float | Callable[[int], float],
        budget: RetryBudget | None,
        retry_on: _RetryOn | None,
        retry_if_result: Callable[[Any], object] | None,
        max_elapsed: _Seconds | None,
        respect_retry_after: bool,
        retry_after_cap: _Seconds,
        nested: bool,
    ) -> Self: ...
    @property
    def attempts(self) -> int:
        """Attempts per call over all nodes, the first included."""
    @property
    def retry_on(self) -> _RetryOn | None:
        """Which exceptions are retried; `None` for the classifier's own choice."""
    @property
    def retry_if_result(self) -> Callable[[Any], object] | None:
        """The predicate on the value, or `None`."""
    def draw(self, retry: int) -> float | None:
        """Seconds before retry `retry` (1, 2, …), drawn anew; `None` for the user's own back-off."""

@disjoint_base
class Timeout:
    """The clocks of a call, in seconds; a frozen value."""

    def __new__(
        cls,
        total: _Seconds | None = None,
        *,
        attempt: _Seconds | None = None,
        first_item: _Seconds | None = None,
        idle: _Seconds | None = None,
        late: Literal["return", "raise"] | None = None,
    ) -> Self: ...
    @property
    def total(self) -> float | None:
        """Seconds the whole call may take, or `None`."""
    @property
    def attempt(self) -> float | None:
        """Seconds one attempt may take, or `None`."""
    @property
    def first_item(self) -> float | None:
        """Seconds until a stream's first item, or `None`."""
    @property
    def idle(self) -> float | None:
        """Seconds between two items of a stream, or `None`."""
    @property
    def late(self) -> Literal["return", "raise"]:
        """What happens to a value that comes too late."""

@disjoint_base
class Chaos:
    """A source of faults; the instance is the state of its dice."""

    def __new__(
        cls,
        error_rate: float,
        hang: float,
        cut_stream: float,
        bad_answer: float,
        latency: tuple[_Seconds, _Seconds],
        latency_rate: float,
        seed: int | None,
    ) -> Self: ...
    def _roll(self, stream: bool) -> tuple[float, str, int]: ...

@disjoint_base
class Hedge:
    """A hedge policy; the instance is what was learned."""

    def __new__(cls, after: _Seconds | str, *, max_hedges: int) -> Self: ...
    @property
    def max_hedges(self) -> int:
        """Hedges per call."""
    @property
    def delay(self) -> float | None:
        """Seconds after which an attempt is late, as far as is known by now; `None` while too little is."""

@final
class Race:
    """One call and its attempts under way."""

    def start(self) -> tuple[str, int]:
        """Asks for the first step: its kind ("attempt", "sleep", "ask" or "end") and number."""
    def replicate(self) -> list[int]:
        """The attempts to be made at once beside the first."""
    def hedge(self) -> int | None:
        """One more attempt, if one is due."""
    def attempt(self, number: int) -> Any:
        """Makes the attempt's call, in its scope, which stays that of the task or thread that it runs in."""
    def patience(self) -> float | None:
        """Seconds until one of our clocks, or a hedge, is due; `None` if nothing is."""
    def rest(self) -> Rest | None:
        """An awaitable that ends when one of our clocks, or a hedge, is due; `None` if nothing is."""
    def expired(self) -> list[int]:
        """The attempts whose clock has run out."""
    def succeed(self, number: int, value: Any) -> tuple[str, int] | None:
        """An attempt has answered: the next step, or `None` while the race goes on."""
    def fail(self, number: int, error: BaseException) -> tuple[str, int] | None:
        """An attempt has failed: the next step, or `None` while the race goes on."""
    def expire(self, number: int) -> tuple[str, int] | None:
        """An attempt's clock has run out: the next step, or `None` while the race goes on."""
    def sleep(self) -> None:
        """Waits as the machine said, with the GIL released."""
    def asleep(self) -> Rest:
        """The same, awaited."""
    def wake(self) -> tuple[str, int]:
        """That wait is over."""
    def ask(self, retry: int) -> tuple[str, int]:
        """Asks the user's own back-off."""
    def answer(self) -> Any:
        """What Python gets."""
    def aanswer(self) -> tuple[Any, Awaitable[Any] | None]:
        """What Python gets: `(value, None)`, or `(None, awaitable)` that gives it."""
    def cut(self) -> None:
        """Ends the waits of transports that losers are stuck in, where they can be cut."""
    def abandon(self) -> None:
        """Gives the call up: nobody is blamed (B7)."""

@final
class Rest:
    """A sleep of ours, to be awaited once."""

    def __await__(self) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def send(self, _value: Any) -> Any:
        """Resumes it."""
    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> Any:
        """Raises an exception inside of it."""
    def close(self) -> None:
        """Gives it up."""

@disjoint_base
class ConcurrencyLimit:
    """A limit on how many calls run at once; the instance is the state."""

    def __new__(
        cls,
        name: str,
        limit: int,
        *,
        max_queue: int,
        queue_timeout: _Seconds | None,
        adaptive: tuple[int, int] | None = None,
    ) -> Self: ...
    @property
    def limit(self) -> int:
        """How many calls may run at once now."""
    @property
    def in_use(self) -> int:
        """How many run now."""
    @property
    def queued(self) -> int:
        """How many wait in line now."""
    @property
    def max_queue(self) -> int:
        """How many may wait in line."""
    @property
    def queue_timeout(self) -> float | None:
        """Seconds that one waits in line at most, or `None`."""
    @property
    def retry_after(self) -> float | None:
        """Seconds until a slot is likely to be free: 0 if one is, `None` if nobody knows."""
    @property
    def metrics(self) -> LimitMetrics:
        """How it stands, and what it has counted."""
    @property
    def name(self) -> str:
        """Its label."""
    @property
    def source_id(self) -> int:
        """The number that its events carry."""

@final
class LimitMetrics:
    """How a concurrency limit stands, and what it has counted; frozen."""

    @property
    def limit(self) -> int: ...
    @property
    def in_use(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def cuts(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@disjoint_base
class RateLimit:
    """A limit on requests, or weighted permits, per time; the instance is the state."""

    def __new__(
        cls,
        name: str,
        requests: float,
        *,
        per: _Seconds,
        burst: float | None,
        cost: Callable[[tuple[Any, ...], dict[str, Any]], float] | None,
        actual: Callable[[Any], float | None] | None = None,
    ) -> Self: ...
    @property
    def requests(self) -> float:
        """How many permits there are in each `per`."""
    @property
    def per(self) -> float:
        """The stretch of time, in seconds."""
    @property
    def burst(self) -> float:
        """How many permits may be used at once after a rest."""
    @property
    def available(self) -> float:
        """How many permits could be used at once now."""
    @property
    def retry_after(self) -> float:
        """Seconds until a call of weight 1 could pass: 0 if it could now."""
    @property
    def metrics(self) -> RateMetrics:
        """How it stands, and what it has counted."""
    def tighten(self, remaining: float, reset: _Seconds | None = None) -> None:
        """The callee says that `remaining` permits are left for the next `reset` seconds."""
    @property
    def name(self) -> str:
        """Its label."""
    @property
    def source_id(self) -> int:
        """The number that its events carry."""

@final
class RateMetrics:
    """How a rate limit stands, and what it has counted; frozen."""

    @property
    def available(self) -> float: ...
    @property
    def queued(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@disjoint_base
class Pipeline:
    """Several policies as one guard."""

    def __new__(
        cls,
        *,
        retry: Retry | None,
        breaker: CircuitBreaker | None,
        timeout: Timeout | None,
        bulkhead: ConcurrencyLimit | None,
        rates: Sequence[RateLimit],
        classify: _Judge,
        answers: _Answers,
        name: str,
        fallback: object = None,
        like: Pipeline | None = None,
    ) -> Self: ...
    @property
    def name(self) -> str:
        """Its label."""
    @property
    def source_id(self) -> int:
        """The number that its events carry."""
    @property
    def retry(self) -> _PublicRetry | None:
        """Its retry policy, or `None`."""
    @property
    def timeout(self) -> _PublicTimeout | None:
        """Its clocks, or `None`."""
    @property
    def breaker(self) -> _PublicBreaker | None:
        """Its breaker, or `None`."""
    @property
    def bulkhead(self) -> _PublicBulkhead | _PublicAdaptiveLimit | None:
        """Its concurrency limit, or `None`."""
    @property
    def rate_limit(self) -> _PublicRateLimit | tuple[_PublicRateLimit, ...] | None:
        """Its rate limit, a tuple of them where there are several, or `None`."""
    @property
    def metrics(self) -> BreakerMetrics | None:
        """Its breaker's metrics, or `None`."""
    def _guard(self, function: Callable[..., Any], colour: _Colour) -> Guard: ...

@disjoint_base
class FailoverManager:
    """A pool of nodes and the policies of the calls to them; the instance is the state."""

    def __new__(
        cls,
        *,
        name: str,
        nodes: Sequence[_NodeRow],
        heartbeat: _Beat | None,
        breaker: CircuitBreaker | None,
        retry: Retry | None,
        timeout: Timeout | None,
        bulkhead: ConcurrencyLimit | None,
        rates: Sequence[RateLimit],
        classify: _Judge,
        answers: _Answers,
        exhausted: Literal["fail_fast", "wait", "try_anyway"],
        cooldown_cap: float | timedelta,
        spread: tuple[Any, ...],
        recovery: tuple[int, _Seconds, Backoff, _Seconds],
        fallback: object = None,
        hedge: tuple[Hedge, bool] | None = None,
    ) -> Self: ...
    @property
    def name(self) -> str:
        """Its label."""
    @property
    def source_id(self) -> int:
        """The number that its events carry."""
    @property
    def breaker(self) -> None:
        """A manager has a breaker per node: see `node_breaker`."""
    @property
    def metrics(self) -> ManagerMetrics:
        """Its counts at this moment."""
    def reliability(self) -> Reliability:
        """How reliable its nodes have been so far, each and together."""
    def node_breaker(self, name: str) -> CircuitBreaker | None:
        """The breaker of a node, or `None` if nodes have none."""
    def start(self) -> None:
        """Starts the heartbeat. Calls work without it: it begins with the first of them."""
    def stop(self) -> None:
        """Ends the heartbeat; calls still work."""
    def remove_node(self, name: str) -> None:
        """Takes a node out; calls that are there end as they would have."""
    def drain(self, name: str) -> None:
        """Gives a node no new call; the event `node_drained` tells when its last one has ended."""
    def enable(self, name: str) -> None:
        """Lets a node that was disabled or drained have calls again."""
    def disable(self, name: str) -> None:
        """Gives a node no call until it is enabled again, whatever else happens."""
    def report(self, name: str, ok: bool, reason: str = "") -> None:
        """An outside monitor's word on a node: `ok=False` marks it failed, `ok=True` takes that back."""
    def beat(self, name: str) -> None:
        """A heartbeat that a node sends us."""
    def wait_ready(self, n: int = 1, timeout: _Seconds | None = None) -> bool:
        """Waits until `n` nodes are ready; `False` if `timeout` seconds ran out."""
    def await_ready(self, n: int = 1, timeout: _Seconds | None = None) -> Awaitable[bool]:
        """The same, awaited."""
    def _guard(self, function: Callable[..., Any] | None, colour: _Colour) -> Guard: ...
    def _race(
        self,
        function: Callable[..., Any] | None,
        colour: _Colour,
        replicas: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Race: ...
    def _views(self) -> list[NodeView]: ...
    def _add(self, row: _NodeRow) -> None: ...
    def _process_ended(self, name: str, how: str) -> None: ...
    def _process_started(self, name: str) -> None: ...
    def _explain(self) -> list[tuple[str, str]]: ...

@final
class Order:
    """What is asked of a task of Python's, and the way back."""

    @property
    def what(self) -> Literal["do", "look", "stop"]: ...
    def begun(self) -> None:
        """The task is being begun: from now on its timeout runs."""
    def done(self, problem: str | None = None) -> None:
        """The task has ended well, or because of `problem`: a few words without secrets."""
    def awake(self) -> None:
        """Whoever does the task is awake."""

@disjoint_base
class FailureDetector:
    """A detector that hears beats and misses, and tells what it thinks."""

    def __new__(cls, kind: str, *fields: Any) -> Self: ...
    def beat(self, at: _Seconds | None = None) -> None:
        """Hears a beat at `at`, in seconds of any clock that only moves on; without it, now."""
    def miss(self, at: _Seconds | None = None) -> None:
        """Hears that a question was not answered."""
    def opinion(self, at: _Seconds | None = None) -> Literal["well", "suspect", "lost", "reviving"]:
        """What it thinks at `at`."""
    def is_available(self, at: _Seconds | None = None) -> bool:
        """Is the node not given up?"""
    def is_suspect(self, at: _Seconds | None = None) -> bool:
        """Is it under suspicion, or given up?"""
    def excuse(self, seconds: _Seconds) -> None:
        """Takes `seconds` off the silence: we ourselves were not there to hear."""
    @property
    def misses(self) -> int:
        """Misses in a row, up to now."""
    def _phi(self, at: _Seconds | None = None) -> float | None: ...

@final
class Reliability:
    """How reliable a node, or a pool and its `nodes`, have been up to one moment; durations are seconds."""

    @property
    def failure_rate(self) -> float:
        """λ: failures per second of time up; of a pool, the sum of its nodes'. 1 / MTBF."""
    @property
    def mtbf(self) -> float | None:
        """Mean time between failures: time up / failures; `None` before the first."""
    @property
    def mttr(self) -> float | None:
        """Mean time to recovery, of the outages that have ended; `None` before the first."""
    @property
    def availability(self) -> float | None:
        """Time up / time watched; of a pool, of all its nodes' time. `None` at the first moment."""
    @property
    def fault_tolerance(self) -> float:
        """The nodes that are up or can come back without help / all nodes."""
    @property
    def balance(self) -> float | None:
        """The least load of a node / the greatest, in attempts; `None` before the first."""
    @property
    def handling_efficiency(self) -> float | None:
        """Failed attempts that no caller saw / failed attempts; `None` before the first."""
    @property
    def nodes(self) -> Mapping[str, Reliability]:
        """The figures of each node by its name; empty for a node's own."""

@final
class NodeView:
    """What is thought of a node at one moment; frozen. `latency` and `not_before` are seconds."""

    @property
    def name(self) -> str:
        """Its name."""
    @property
    def state(self) -> Literal["up", "suspect", "down", "recovering", "draining"]:
        """`"up"`, `"suspect"`, `"down"`, `"recovering"` or `"draining"`."""
    @property
    def enabled(self) -> bool:
        """The operator's will: `False` after `disable()`."""
    @property
    def ready(self) -> bool:
        """Whether it may be picked now."""
    @property
    def in_flight(self) -> int:
        """Attempts under way there."""
    @property
    def load(self) -> float:
        """Seconds of work that wait there: calls in flight, failed ones held, times what one takes."""
    @property
    def latency(self) -> float | None:
        """Seconds that a good answer is expected to take (peak EWMA); `None` before the first."""
    @property
    def failures(self) -> int:
        """How often it was marked failed."""
    @property
    def recoveries(self) -> int:
        """How often it came back."""
    @property
    def weight(self) -> float:
        """The weight it was given."""
    @property
    def share(self) -> float:
        """The part of its tier's calls that it is meant to get at the moment, 0 to 1."""
    @property
    def tier(self) -> int:
        """Its tier; the lowest is asked first."""
    @property
    def last_error(self) -> str | None:
        """Why it last failed: the kind of the failure, or the reason that was reported; `None` before the first."""
    @property
    def not_before(self) -> float | None:
        """Seconds until it may be asked again; `None` if no breaker, cool-down or ejection names a time."""

@final
class ManagerMetrics:
    """A manager's counts at one moment; frozen. `mean_recovery_time` is in seconds."""

    @property
    def calls(self) -> int:
        """Calls that have begun."""
    @property
    def failovers(self) -> int:
        """Calls that went on at another node."""
    @property
    def rejected(self) -> int:
        """Calls that no node was asked for."""
    @property
    def failures(self) -> int:
        """Outages of nodes: how often one was marked failed."""
    @property
    def recoveries(self) -> int:
        """Outages that have ended."""
    @property
    def recovery_success_rate(self) -> float | None:
        """Recoveries / failures; `None` before the first failure."""
    @property
    def mean_recovery_time(self) -> float | None:
        """Seconds from being marked failed to being back; `None` before the first recovery."""
    @property
    def in_flight(self) -> int:
        """Attempts under way."""

@final
class Scope:
    """One attempt, as `holdfast.current_attempt()` shows it; frozen."""

    @property
    def call_id(self) -> int:
        """The call's number in this process."""
    @property
    def number(self) -> int:
        """The attempt's number, counted from 1 over the whole call; 0 for a block under `deadline()`."""
    @property
    def attempt(self) -> int:
        """The same as `number`."""
    @property
    def deadline(self) -> float | None:
        """The whole call's deadline as a moment of `time.monotonic()`; `None` without one."""
    @property
    def idempotency_key(self) -> str:
        """A random key that all attempts of this call share."""
    @property
    def node(self) -> Any:
        """The `Node` that is asked, or `None` outside a manager."""
    @property
    def priority(self) -> Literal["low", "normal", "high"]:
        """How important its call is."""
    @property
    def time_left(self) -> float | None:
        """Seconds until the whole call's deadline, not below 0; `None` without one."""
    @property
    def attempt_time_left(self) -> float | None:
        """Seconds that this attempt may still take, by its own clock or the call's; `None` while no clock runs."""
    def _patience(self) -> float | None: ...
    def _cut(self) -> bool: ...

@final
class Attempts:
    """The attempts at one block: an iterator, sync and async."""

    def __new__(cls, pipeline: Pipeline) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Block: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> NextAttempt: ...

@final
class Block:
    """One attempt: a context manager around the block."""

    @property
    def number(self) -> int:
        """The attempt's number, counted from 1."""
    def __enter__(self) -> Self: ...
    def __exit__(self, _kind: object, raised: object, _trace: object, /) -> bool: ...

@final
class NextAttempt:
    """The awaitable of an async loop's next attempt."""

    def __await__(self) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def send(self, value: object) -> Any: ...
    def throw(self, typ: object, val: object = None, tb: object = None) -> Any: ...
    def close(self) -> None: ...

@final
class Guard:
    """A guarded callable, of the same colour as what it guards."""

    __name__: str
    __qualname__: str
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any: ...
    def __get__(self, instance: object, owner: type | None = None, /) -> Any: ...
    @property
    def colour(self) -> _Colour:
        """How it gives its answer."""
    @property
    def pipeline(self) -> Pipeline | FailoverManager:
        """The pipeline or manager whose policies guard this callable."""
    @property
    def breaker(self) -> CircuitBreaker | None:
        """The breaker, or `None`."""
    @property
    def metrics(self) -> BreakerMetrics | ManagerMetrics | None:
        """The breaker's metrics, or `None`; a manager's own for a manager's guards."""

@type_check_only
class _Resumable:
    """What the drivers share with Python's own generators and coroutines."""

    def send(self, value: Any) -> Any: ...
    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Any: ...
    def close(self) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...

@final
class GuardedGenerator(_Resumable):
    """A guarded generator."""

@final
class GuardedCoroutine(_Resumable):
    """A guarded call of a coroutine function."""

    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    @property
    def cr_code(self) -> CodeType | None:
        """The function's code."""
    @property
    def cr_frame(self) -> FrameType | None:
        """The user's frame, while it waits."""
    @property
    def cr_await(self) -> object:
        """What the user's coroutine waits for."""
    @property
    def cr_running(self) -> bool:
        """Does it run right now?"""
    def __await__(self) -> Self: ...

@final
class GuardedStep(_Resumable):
    """One step of a guarded async generator."""

    def __await__(self) -> Self: ...

@final
class GuardedAsyncGenerator:
    """A guarded async generator."""

    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    @property
    def ag_running(self) -> bool:
        """Is a step under way?"""
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> GuardedStep: ...
    def asend(self, value: Any) -> GuardedStep: ...
    def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> GuardedStep: ...
    def aclose(self) -> GuardedStep: ...

def check_heartbeat(*fields: Any) -> None:
    """Refuses the fields of a heartbeat that break a rule."""

def check_recovery(*fields: Any) -> None:
    """Refuses the fields of a recovery that break a rule."""

def check_address(address: str) -> None:
    """Refuses what is neither `host:port` nor a URL."""

def ask(how: _Asked, timeout: _Seconds) -> bool:
    """Asks once, natively, with the GIL released: is there a sign of life within `timeout`?"""

def aask(how: _Asked, timeout: _Seconds) -> Awaitable[bool]:
    """The same, awaited."""

def take_errands() -> list[tuple[Callable[[Order], None], Order]] | None:
    """Waits for something to do with the GIL released; `None` when the process ends."""

def close_errands() -> None:
    """Ends the thread that takes errands; nothing more is done for anybody."""

def deadline_scope(seconds: _Seconds) -> Scope:
    """The scope of `with deadline(seconds):`, inside an outer deadline if there is one."""

def priority_scope(level: Literal["low", "normal", "high"]) -> Scope:
    """The scope of `with priority(level):`, under the outer deadline if there is one."""

def set_active(active: bool) -> bool:
    """Turns all guards of this process on or off; how they were."""

def set_testing(attempts: int | None) -> int | None:
    """Caps the attempts of every call and removes the waits between them; what the cap was."""

def set_interest(kinds: Sequence[str]) -> None:
    """Says which kinds somebody listens to; the changes of state are always wanted, for the log."""

def last_event() -> int:
    """The number of the youngest event."""

def take_events() -> tuple[list[tuple[int, str, str, str | None]], list[_EventRow]] | None:
    """Waits for events with the GIL released; `None` when the process ends.

    The first list is lines for the log: level, logger, text, kind of event.
    """

def want_details(yes: bool) -> None:
    """Says whether what the runtime says at DEBUG is wanted too."""

def close_events() -> None:
    """Ends the delivering thread once it has delivered what is queued."""

def flush_events(timeout: float) -> bool:
    """Waits until everything posted so far has been delivered; `False` if `timeout` seconds ran out."""

def now() -> float:
    """Seconds since the process' own origin."""

def is_clock_manual() -> bool:
    """Is time moved by hand?"""

def pause(seconds: _Seconds) -> None:
    """Sleeps for `seconds`, with the GIL released."""

def apause(seconds: _Seconds) -> Rest:
    """An awaitable that ends after `seconds`."""

def wall() -> float:
    """Seconds of the wall clock since 1970."""

def quicken_state(kind: type[CircuitBreaker], /) -> None:
    """Puts a quick `state` into a subclass."""

def install_manual_clock() -> None:
    """From now on time stands still until it is advanced."""

def remove_manual_clock() -> None:
    """From now on time is the system's again."""

def advance_clock(seconds: _Seconds) -> None:
    """Moves time on, waking everybody whose time comes, each at its own moment."""

def clock_target(seconds: _Seconds) -> int:
    """The moment `seconds` from now, for `step_clock`."""

def step_clock(target: int) -> bool:
    """Wakes the first waiter due by `target` and says true, or moves time there and says false."""

def clock_busy() -> bool:
    """Is somebody who was woken not done yet?"""

def before_fork() -> None:
    """Readies the runtime for a fork."""

def after_fork_in_parent() -> None:
    """Goes on in the parent."""

def after_fork_in_child() -> None:
    """Begins anew in the child."""

def shutdown() -> None:
    """Stops the background runtime; the interpreter is about to exit."""
