"""What each scenario is to every client alike: outcome, kind, retry, fail over, blame."""

from __future__ import annotations

from .scenarios import SCENARIOS

Brief = tuple[str, str, bool, bool, str]

OWN = ("fail", "request", False, False, "nobody")
SERVER = ("fail", "server", True, True, "endpoint")
FULL = ("fail", "overloaded", True, True, "endpoint")
LATE = ("fail", "timeout", True, True, "endpoint")
CUT = ("fail", "network", True, True, "endpoint")
ODD = ("fail", "malformed", True, True, "endpoint")
RATE = ("throttled", "rate_limit", True, True, "rate")
MONEY = ("fail", "quota", False, True, "credential")
GONE = ("fail", "not_found", False, True, "model")
MOMENT = ("fail", "conflict", True, True, "nobody")

EXPECTED: dict[str, Brief] = {
    **dict.fromkeys((f"status-{code}" for code in (400, 405, 413, 415, 422, 431)), OWN),
    "status-401": ("fail", "auth", False, True, "credential"),
    "status-402": MONEY,
    "status-403": ("fail", "permission", False, True, "credential"),
    **dict.fromkeys(("status-404", "status-410"), GONE),
    **dict.fromkeys(("status-409", "status-425"), MOMENT),
    **dict.fromkeys((f"status-{code}" for code in (424, 500, 502, 520, 521, 523)), SERVER),
    "status-501": ("fail", "server", False, True, "endpoint"),
    **dict.fromkeys((f"status-{code}" for code in (498, 503, 529)), FULL),
    **dict.fromkeys((f"status-{code}" for code in (408, 504, 522, 524)), LATE),
    "status-429": RATE,
    **dict.fromkeys(("html-502", "empty-500"), SERVER),
    **dict.fromkeys((name for name in SCENARIOS if name.startswith("retry-after-")), RATE),
    "retry-after-503": ("throttled", "overloaded", True, True, "endpoint"),
    **dict.fromkeys((name for name in SCENARIOS if name.startswith("quota-")), MONEY),
    **dict.fromkeys(("context-openai", "context-anthropic"), ("fail", "context", False, False, "nobody")),
    "content-filter": ("fail", "policy", False, False, "nobody"),
    **dict.fromkeys(("reset-before", "eof-before", "garbage", "reset-in-body", "cut-body"), CUT),
    **dict.fromkeys(("bad-gzip", "bad-json", "empty-body"), ODD),
    "slow-headers": LATE,
}
"""What each scenario of a unary call is to every client alike."""

STREAMED: dict[str, Brief] = {
    **dict.fromkeys(("slow-headers", "slow-first", "role-only", "stall"), LATE),
    **dict.fromkeys(("cut-framed", "cut-reset"), CUT),
    **dict.fromkeys((f"error-{where}-overloaded_error" for where in ("first", "mid")), FULL),
    **dict.fromkeys(
        (
            f"error-{where}-{code}"
            for where in ("first", "mid")
            for code in ("rate_limit_error", "rate_limit_exceeded")
        ),
        RATE,
    ),
    **dict.fromkeys(
        (f"error-{where}-{code}" for where in ("first", "mid") for code in ("server_error", "api_error")),
        SERVER,
    ),
    "status-503": FULL,
    "status-429": RATE,
    "quota-insufficient_quota": MONEY,
}
"""What each scenario of a stream is, where it says so by an error."""
