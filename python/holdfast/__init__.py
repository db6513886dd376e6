"""Holdfast: fault tolerance for LLM applications.

A circuit breaker, retry, heartbeat and failover manager whose decisions are made in Rust and whose policies
are Python values that are also decorators::

    import holdfast as hf

    @hf.resilient(retry=3, breaker=hf.CircuitBreaker("search"), timeout=10.0)
    def search(query: str) -> list[str]: ...

Everything public is listed below.
"""

from holdfast._alerts import Alert, AlertRule
from holdfast._breaker import BreakerState, CircuitBreaker, CountWindow, breakers
from holdfast._chaos import Chaos
from holdfast._classify import Rule, Verdict, classify
from holdfast._detector import DeadlineDetector, PhiAccrualDetector, ThresholdDetector
from holdfast._events import Event, subscribe
from holdfast._exceptions import (
    BudgetExhausted,
    BulkheadFull,
    CallTimeout,
    CircuitOpen,
    ConfigurationError,
    HoldfastError,
    NoNodeReady,
    RateLimited,
    Rejected,
    StreamInterrupted,
    Truncated,
)
from holdfast._fallback import Fallback
from holdfast._hedge import Hedge
from holdfast._history import Tried, history
from holdfast._limits import AdaptiveLimit, Bulkhead, RateLimit
from holdfast._llm import llm_defaults
from holdfast._native import (
    BreakerMetrics,
    LimitMetrics,
    ManagerMetrics,
    NodeView,
    Permit,
    RateMetrics,
    Reliability,
    __version__,
)
from holdfast._node import Heartbeat, Node
from holdfast._policies import Pipeline, resilient
from holdfast._pool import FailoverManager
from holdfast._probe import HttpProbe, TcpProbe
from holdfast._process import ProcessNode
from holdfast._recovery import Restart
from holdfast._retry import Backoff, Retry, RetryBudget, constant, decorrelated, exponential, linear
from holdfast._scope import current_attempt, deadline, priority
from holdfast._timeout import Timeout
from holdfast._values import DEFAULT

__all__ = [
    "DEFAULT",
    "AdaptiveLimit",
    "Alert",
    "AlertRule",
    "Backoff",
    "BreakerMetrics",
    "BreakerState",
    "BudgetExhausted",
    "Bulkhead",
    "BulkheadFull",
    "CallTimeout",
    "Chaos",
    "CircuitBreaker",
    "CircuitOpen",
    "ConfigurationError",
    "CountWindow",
    "DeadlineDetector",
    "Event",
    "FailoverManager",
    "Fallback",
    "Heartbeat",
    "Hedge",
    "HoldfastError",
    "HttpProbe",
    "LimitMetrics",
    "ManagerMetrics",
    "NoNodeReady",
    "Node",
    "NodeView",
    "Permit",
    "PhiAccrualDetector",
    "Pipeline",
    "ProcessNode",
    "RateLimit",
    "RateLimited",
    "RateMetrics",
    "Rejected",
    "Reliability",
    "Restart",
    "Retry",
    "RetryBudget",
    "Rule",
    "StreamInterrupted",
    "TcpProbe",
    "ThresholdDetector",
    "Timeout",
    "Tried",
    "Truncated",
    "Verdict",
    "__version__",
    "breakers",
    "classify",
    "constant",
    "current_attempt",
    "deadline",
    "decorrelated",
    "exponential",
    "history",
    "linear",
    "llm_defaults",
    "priority",
    "resilient",
    "subscribe",
]
