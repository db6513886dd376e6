"""The limits as Python values: how many calls run at once, and how many in a stretch of time."""

from __future__ import annotations

from holdfast import _native
from holdfast._exceptions import refuse
from holdfast._usage import tokens_used
from holdfast._values import DEFAULT, Default, State, label
from holdfast._wrap import Guarding

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Self, TypeAlias

    from holdfast._events import Event
    from holdfast._policies import Pipeline
    from holdfast._values import Seconds

    Cost: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], float]
    Actual: TypeAlias = Callable[[Any], float | None]


class _Limit(Guarding, State):
    """What limits have in common."""

    __slots__ = ()

    source_id: int

    def subscribe(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``listener`` with this limit's events (``call_rejected``) from now on; returns how to unsubscribe."""
        from holdfast import _events

        return _events.subscribe(listener, source_id=self.source_id)


class _Slots(_Limit, _native.ConcurrencyLimit):
    """What the two limits on calls at once have in common."""

    __slots__ = ()

    def _alone(self) -> Pipeline:
        from holdfast._policies import Pipeline

        own: Any = self  # one of the two classes below
        return Pipeline(bulkhead=own)


class Bulkhead(_Slots):
    """Lets ``limit`` calls run at once; a few more may wait in line, and the rest are refused.

    One counter serves threads and tasks of any event loop. The line is first come, first served; whoever gives up
    (a cancelled task, Ctrl-C) leaves it at once. A stream holds its place until it ends.

    The instance is the state: guards that share it share its places; it cannot be copied or pickled.

    Args:
        limit: How many calls run at once, at least 1.
        max_queue: How many more wait in line. 0: a line costs the caller time and the callee nothing less.
        queue_timeout: Seconds that one waits in line at most; ``None``: until the call's deadline, and without one
            for as long as it takes.

    Raises:
        ConfigurationError: A number is out of range or of the wrong type.
    """

    __slots__ = ("_pipe",)

    def __new__(cls, limit: int, *, max_queue: int = 0, queue_timeout: Seconds | None = None) -> Self:
        return super().__new__(
            cls, label(None, "bulkhead"), limit, max_queue=max_queue, queue_timeout=queue_timeout
        )

    def __repr__(self) -> str:
        return f"Bulkhead({self.limit}, max_queue={self.max_queue})"


class AdaptiveLimit(_Slots):
    """Finds out how many calls may run at once, between ``minimum`` and ``maximum``.

    It grows by one per round trip while calls succeed and every slot is in use, and is cut to seven tenths when the
    callee says that it is overloaded (429, 503, 529), at most once per round trip. Of latencies it knows only the time
    to a stream's first content: when a round trip's mean is twice what it takes without a queue, and 10 ms more, it is
    cut by a tenth, or three if it is far too late. What it takes without a queue is the smallest such mean; it is
    learned anew about every ten seconds, in one round trip with a quarter of the limit. (AIMD: Chiu and Jain, 1989;
    the minimum: TCP Vegas, Brakmo and Peterson, 1995; the probe: BBR, Cardwell et al., 2016.)

    It stands wherever a :class:`Bulkhead` may: ``Pipeline(bulkhead=AdaptiveLimit())``.

    Args:
        initial: Where it begins. 8.
        minimum: It is never cut below this. 1.
        maximum: It never grows above this. 64.
        max_queue: How many calls wait in line. 1000: it is made for jobs that have more work than the callee can take
            at once, and to refuse that work would only move the line elsewhere.
        queue_timeout: Seconds that one waits in line at most; ``None``: until the call's deadline.

    Raises:
        ConfigurationError: A number is out of range, or ``initial`` is not between the other two.
    """

    __slots__ = ("_pipe",)

    def __new__(
        cls,
        initial: int = 8,
        *,
        minimum: int = 1,
        maximum: int = 64,
        max_queue: int = 1000,
        queue_timeout: Seconds | None = None,
    ) -> Self:
        return super().__new__(
            cls,
            label(None, "adaptive-limit"),
            initial,
            max_queue=max_queue,
            queue_timeout=queue_timeout,
            adaptive=(minimum, maximum),
        )

    def __repr__(self) -> str:
        return f"<AdaptiveLimit at {self.limit}>"


class RateLimit(_Limit, _native.RateLimit):
    """Lets ``requests`` permits pass in each ``per`` seconds: calls, or what calls weigh.

    A call that must wait does so if its turn comes before its deadline; else, or without a deadline, it is refused
    with :class:`RateLimited`, whose ``retry_after`` says when. Those who wait are served in order. (The generic cell
    rate algorithm, ITU-T I.371: a token bucket that needs one number.)

    The instance is the state: guards that share it share the rate; it cannot be copied or pickled.

    Args:
        requests: How many permits there are in each ``per``; above 0.
        per: The stretch of time, in seconds. 60: providers count by the minute.
        burst: How many may be used at once after a rest; ``None``: ``requests``, and at least 1. With the default, up
            to twice ``requests`` can pass in one stretch that begins rested; ``burst=1`` spaces calls evenly.
        cost: ``(args, kwargs) -> float``: how many permits a call weighs, such as its tokens; ``None``: 1. A call that
            weighs more than ``burst`` can never pass and is refused.
        actual: ``answer -> float | None``: how many a weighted call used in truth, or ``None`` to leave it at the
            estimate. ``DEFAULT``: the tokens that answers of LangChain, OpenAI and Anthropic say they used, and
            that headers of their good answers say are left. Of a stream it is asked about each item; the last number
            stands when the stream has ended.

    Raises:
        ConfigurationError: A number is out of range or of the wrong type.
    """

    __slots__ = ("_counts", "_pipe")

    # What it counts, as providers' headers have it: "requests", "tokens", or none of these.
    _counts: str | None

    def __new__(
        cls,
        requests: float,
        *,
        per: Seconds = 60.0,
        burst: float | None = None,
        cost: Cost | None = None,
        actual: Actual | Default | None = DEFAULT,
    ) -> Self:
        settles = tokens_used if isinstance(actual, Default) else actual
        name = label(None, "rate-limit")
        self = super().__new__(cls, name, requests, per=per, burst=burst, cost=cost, actual=settles)
        counts = "requests" if cost is None else "tokens" if isinstance(actual, Default) else None
        object.__setattr__(self, "_counts", counts)
        return self

    def _alone(self) -> Pipeline:
        from holdfast._policies import Pipeline

        return Pipeline(rate_limit=self)

    def __repr__(self) -> str:
        return f"RateLimit({self.requests:g}, per={self.per:g})"


def as_bulkhead(value: Bulkhead | AdaptiveLimit | int | None) -> Bulkhead | AdaptiveLimit | None:
    """``bulkhead=10`` stands for ``bulkhead=Bulkhead(10)``."""
    if value is None or isinstance(value, (Bulkhead, AdaptiveLimit)):
        return value
    if isinstance(value, (int, float)):
        return Bulkhead(value)  # a float or bool is refused by name there
    raise refuse("bulkhead", "be a Bulkhead, an AdaptiveLimit, a number of calls, or None", value)


def as_rates(value: RateLimit | Sequence[RateLimit] | float | None) -> list[RateLimit]:
    """``rate_limit=60`` stands for ``rate_limit=RateLimit(60)``; several are asked in turn."""
    if value is None:
        return []
    if isinstance(value, RateLimit):
        return [value]
    if isinstance(value, (int, float)):
        return [RateLimit(value)]
    if isinstance(value, (list, tuple)) and all(isinstance(rate, RateLimit) for rate in value):
        return list(value)
    raise refuse(
        "rate_limit", "be a RateLimit, several in a list, a number of calls per minute, or None", value
    )
