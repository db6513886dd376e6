"""The classifier: every rule of docs/classification.md, on classes shaped like the real ones."""

from __future__ import annotations

import asyncio
import copy
import errno
import gc
import json
import logging
import pickle
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holdfast as hf
from holdfast._classify import BLAME, judge_plain, make_classifier, narrow

NOW = 1_800_000_000.0
"""Fri, 15 Jan 2027 08:00:00 GMT."""


def error(
    name: str = "APIError",
    message: str = "",
    *,
    bases: tuple[type, ...] = (Exception,),
    **attributes: Any,
) -> Any:
    """An exception of a fresh class of that name, with these attributes."""
    exc = type(name, bases, {})(message)
    exc.__dict__.update(attributes)
    return exc


def status(
    code: int, message: str = "", /, *, headers: dict[str, str] | None = None, **attributes: Any
) -> Any:
    """Shaped like the status errors of openai and anthropic."""
    return error(
        "APIStatusError",
        message,
        status_code=code,
        response=Response(code, headers or {}),
        **attributes,
    )


class Response:
    """Shaped like the responses of httpx and requests: what was read is in `_content`."""

    def __init__(self, status_code: int, headers: dict[str, str], content: bytes | None = None) -> None:
        self.status_code = status_code
        self.headers = headers
        if content is not None:
            self._content = content

    @property
    def text(self) -> str:
        raise AssertionError("the classifier read a response that nobody had read")


def boto(code: str, http: int, headers: dict[str, str] | None = None) -> Any:
    """Shaped like botocore's ClientError."""
    meta = {"HTTPStatusCode": http, "HTTPHeaders": headers or {}}
    return error("ClientError", response={"Error": {"Code": code, "Message": "…"}, "ResponseMetadata": meta})


def chain(*links: BaseException) -> Any:
    """The first, raised from the second, raised from the third, …"""
    for link, cause in pairwise(links):
        link.__cause__ = cause
    return links[0]


def brief(verdict: hf.Verdict) -> tuple[str, str, bool, bool, str]:
    return verdict.outcome, verdict.kind, verdict.retry, verdict.fail_over, verdict.blame


R, F = True, True
NO = False

# ── §3.3: statuses ──────────────────────────────────────────────────────────────────────────────

STATUSES = [
    *((code, "fail", "request", NO, NO, "nobody", NO) for code in (400, 405, 413, 415, 422, 431)),
    (401, "fail", "auth", NO, F, "credential", NO),
    (402, "fail", "quota", NO, F, "credential", NO),
    (403, "fail", "permission", NO, F, "credential", NO),
    (404, "fail", "not_found", NO, F, "model", NO),
    (410, "fail", "not_found", NO, F, "model", NO),
    (409, "fail", "conflict", R, F, "nobody", NO),
    (425, "fail", "conflict", R, F, "nobody", NO),
    (424, "fail", "server", R, F, "endpoint", True),
    (429, "throttled", "rate_limit", R, F, "rate", NO),
    (451, "fail", "policy", NO, NO, "nobody", NO),
    *((code, "fail", "overloaded", R, F, "endpoint", NO) for code in (498, 503, 529)),
    *((code, "fail", "server", R, F, "endpoint", True) for code in (500, 502, 520, 521, 523)),
    *((code, "fail", "timeout", R, F, "endpoint", True) for code in (408, 504, 522, 524)),
    (501, "fail", "server", NO, F, "endpoint", NO),
    (302, "fail", "server", NO, F, "endpoint", NO),
]


@pytest.mark.parametrize("row", STATUSES, ids=lambda row: str(row[0]))
@pytest.mark.parametrize("judge", [hf.classify, judge_plain], ids=["chat", "plain"])
def test_status(row: tuple[Any, ...], judge: Callable[[BaseException], hf.Verdict]) -> None:
    """Each status has its consequences, the same for a plain callable."""
    code, *expected, ambiguous = row
    verdict = judge(status(code))
    assert brief(verdict) == tuple(expected)
    assert verdict.ambiguous is ambiguous
    assert verdict.matched == f"status {code}"


@pytest.mark.parametrize(
    "exc",
    [
        error(status_code=503),
        error(status=503),
        error(http_status=503),
        error(code=503),
        error(code="503"),
        error(response=Response(503, {})),
        boto("Whatever", 503),
        chain(error("Outer"), error("Middle"), error(status_code=503)),
        error("Outer", original_exception=error(status_code=503)),
        error("Outer", inner=error(status_code=503)),
        error("Outer", error("x", status_code=503)),
        chain(error("Outer"), ExceptionGroup("one", [error(status_code=503)])),
    ],
    ids=[
        "status_code", "status", "http_status", "code", "text", "response", "boto", "cause",
        "original_exception", "inner", "argument", "group-of-one",
    ],
)  # fmt: skip
def test_status_is_found_wherever_clients_put_it(exc: BaseException) -> None:
    """Every client's place for the status is read, through causes and wrappers."""
    assert hf.classify(exc).kind == "overloaded"


def test_nearest_status_wins() -> None:
    """Of two statuses in a chain the outer one is the answer that was given."""
    assert hf.classify(chain(status(503), status(400))).matched == "status 503"


def test_context_speaks_only_when_nothing_nearer_did() -> None:
    """What was being handled meanwhile is asked last: a connection error after a 400 is no 400."""
    refused, silent = error("ConnectError"), error("ModelError")
    refused.__context__ = silent.__context__ = status(400)
    assert hf.classify(refused).kind == "connect"
    assert hf.classify(silent).kind == "request"
    silent.__suppress_context__ = True  # raise … from None
    assert hf.classify(silent).kind == "unknown"
    own = ValueError()
    own.__context__ = status(400)
    assert judge_plain(own).retry, "a plain function that failed in its second way failed by that"


def test_html_body_needs_no_code() -> None:
    """A proxy's page has a status and nothing else, and the status is enough."""
    assert hf.classify(status(502, body="<html>502 Bad Gateway</html>")).kind == "server"


def test_server_may_forbid_a_retry() -> None:
    """`x-should-retry: false` is obeyed; another node may still answer."""
    verdict = hf.classify(status(500, headers={"x-should-retry": "false"}))
    assert (verdict.retry, verdict.fail_over) == (False, True)


def test_b26_busy_with_a_delay_is_back_pressure() -> None:
    """A 503 that asks us to wait cools its endpoint down and counts not; another one counts."""
    asked = hf.classify(status(503, headers={"Retry-After": "2.5"}))
    assert (asked.outcome, asked.kind, asked.blame, asked.delay) == (
        "throttled",
        "overloaded",
        "endpoint",
        2.5,
    )
    assert hf.classify(status(503)).outcome == "fail"


def test_b18_rate_belongs_to_the_rate_and_5xx_to_the_endpoint() -> None:
    """A 429 is not the endpoint's failure, a 5xx is, a 401 is the credential's."""
    assert [hf.classify(status(code)).blame for code in (429, 500, 401)] == [
        "rate",
        "endpoint",
        "credential",
    ]


# ── §5.1: delays ────────────────────────────────────────────────────────────────────────────────

DELAYS: list[tuple[str, dict[str, str], str, float | None]] = [
    ("whole", {"Retry-After": "7"}, "", 7.0),
    ("fraction", {"retry-after": "1.5"}, "", 1.5),
    ("zero", {"retry-after": "0"}, "", 0.0),
    ("milliseconds", {"retry-after-ms": "250"}, "", 0.25),
    ("milliseconds-first", {"retry-after-ms": "250", "retry-after": "9"}, "", 0.25),
    ("milliseconds-bad", {"retry-after-ms": "soon", "retry-after": "9"}, "", 9.0),
    ("amz", {"x-amz-retry-after": "1500"}, "", 1.5),
    ("date", {"retry-after": "Fri, 15 Jan 2027 08:01:30 GMT"}, "", 90.0),
    ("past", {"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, "", None),
    ("negative", {"retry-after": "-1"}, "", None),
    ("nan", {"retry-after": "nan"}, "", None),
    ("infinity", {"retry-after": "inf"}, "", None),
    ("overflow", {"retry-after": "1e400"}, "", None),
    ("underscore", {"retry-after": "1_0"}, "", None),
    ("words", {"retry-after": "tomorrow"}, "", None),
    ("clamped", {"retry-after": "9999999"}, "", 86_400.0),
    ("unit", {"retry-after": "30s"}, "", 30.0),
    ("text-seconds", {}, "Please try again in 1.2s. Visit …", 1.2),
    ("text-whole", {}, "Please retry in 46s.", 46.0),
    ("text-hours", {}, "Please try again in 10h17m. Need more?", 37_020.0),
    ("text-ms", {}, "Please try again in 20ms.", 0.02),
    ("text-azure", {}, "Please retry after 26 seconds.", 26.0),
    ("text-none", {}, "Please try again in a while.", None),
    ("header-first", {"retry-after": "3"}, "try again in 9s", 3.0),
    (
        "reset-of-what-is-used-up",
        {
            "x-ratelimit-remaining-requests": "10", "x-ratelimit-reset-requests": "59m0s",
            "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s",
        },
        "", 360.0,
    ),
    (
        "reset-of-nothing",
        {"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6m0s"}, "", None,
    ),
    (
        "reset-anthropic",
        {
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:20Z",
        },
        "", 20.0,
    ),
    ("reset-epoch", {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1800000005"}, "", 5.0),
    (
        "reset-epoch-ms",
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1800000005500"}, "", 5.5,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "message", "delay"), [d[1:] for d in DELAYS], ids=[d[0] for d in DELAYS])
def test_delay(headers: dict[str, str], message: str, delay: float | None) -> None:
    """Every form of being asked to wait is read, and every nonsense is refused."""
    verdict = hf.classify(status(429, message, headers=headers), now=NOW)
    assert verdict.delay == pytest.approx(delay)
    assert verdict.outcome == "throttled"


@pytest.mark.parametrize(
    "hint",
    ["46.5s", {"seconds": 46, "nanos": 500_000_000}, {"seconds": "46", "nanos": 500_000_000}],
)
def test_google_retry_info(hint: object) -> None:
    """Google says it in the body, in either spelling of a duration."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": hint}
    body = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [info]}}
    assert hf.classify(error(code=429, details=body)).delay == 46.5


@pytest.mark.parametrize(
    "headers",
    [
        {"RETRY-AFTER": "4"},
        [("Retry-After", "4")],
        {b"retry-after": b"4"},
        {"retry-after": 4},
        {"retry-after": 4.0},
    ],
    ids=["case", "pairs", "bytes", "int", "float"],
)
def test_headers_of_every_shape(headers: Any) -> None:
    """Mappings of any case, lists of pairs, bytes and numbers are all headers."""
    assert hf.classify(status(429, headers=headers)).delay == 4.0


def test_delay_without_a_status() -> None:
    """A `retry_after` of the user's own is read too, and the failure stays a failure."""
    verdict = judge_plain(error("Busy", retry_after=3))
    assert (verdict.outcome, verdict.retry, verdict.delay) == ("fail", True, 3.0)


def test_words_and_resets_speak_of_refusals_only() -> None:
    """A 500 that happens to carry a used-up rate, or the words, is not a request to wait."""
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}
    assert hf.classify(status(500, "try again in 9s", headers=headers)).delay is None
    assert hf.classify(status(500, headers={"retry-after": "9"})).delay == 9.0


def test_wall_clock_is_the_default() -> None:
    """Without `now`, dates are read against the system's clock."""
    from email.utils import formatdate

    headers = {"retry-after": formatdate(time.time() + 100, usegmt=True)}
    delay = hf.classify(status(429, headers=headers)).delay
    assert delay is not None
    assert 90 < delay <= 100


# ── rules 1 to 7 ────────────────────────────────────────────────────────────────────────────────

CONTROL = [error(name) for name in ("GraphBubbleUp", "ParentCommand", "NodeInterrupt", "GraphInterrupt")]


@pytest.mark.parametrize(
    "exc",
    [asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt(), SystemExit(1), *CONTROL],
    ids=repr,
)
@pytest.mark.parametrize("judge", [hf.classify, judge_plain], ids=["chat", "plain"])
def test_b7_stops_are_neutral(exc: BaseException, judge: Callable[[BaseException], hf.Verdict]) -> None:
    """Cancellation, exit and LangGraph's control flow are neither success nor failure."""
    assert brief(judge(exc)) == ("ignore", "none", False, False, "nobody")


def test_cancellation_in_the_chain_hides_nothing() -> None:
    """An async timeout has a cancellation behind it and is a timeout all the same."""
    exc = chain(TimeoutError(), asyncio.CancelledError())
    assert hf.classify(exc).kind == "timeout"
    assert judge_plain(exc).outcome == "fail"


OURS = [
    (hf.CircuitOpen(retry_after=3.0), "rejected", NO, F, "nobody", 3.0),
    (hf.NoNodeReady(), "rejected", NO, F, "nobody", None),
    (hf.ConfigurationError(field="x"), "bug", NO, NO, "nobody", None),
    (hf.CallTimeout(limit=1.0, which="attempt"), "timeout", R, F, "endpoint", None),
    (hf.Truncated(received=""), "truncated", R, F, "endpoint", None),
    (hf.StreamInterrupted(received=""), "network", NO, NO, "endpoint", None),
    (hf.StreamInterrupted(received="", cause=status(401)), "auth", NO, NO, "credential", None),
]


@pytest.mark.parametrize("row", OURS, ids=lambda row: type(row[0]).__name__)
def test_our_own_errors(row: tuple[Any, ...]) -> None:
    """A guard inside has already decided; its errors keep their meaning outside."""
    exc, kind, retry, fail_over, blame, delay = row
    verdict = hf.classify(exc)
    assert brief(verdict) == ("fail", kind, retry, fail_over, blame)
    assert verdict.delay == delay
    assert hf.classify(chain(error("Wrapper"), exc)).kind == kind


LOCAL = [
    chain(error("APITimeoutError"), error("PoolTimeout")),
    OSError(errno.EMFILE, "Too many open files"),
    chain(error("ConnectError"), OSError(errno.ENFILE, "File table overflow")),
    MemoryError(),
    RuntimeError("Cannot send a request, as the client has been closed."),
    RuntimeError("Event loop is closed"),
    TypeError('"Could not resolve authentication method. Expected …"'),
    error("OpenAIError", "Missing credentials. Please pass an `api_key` …"),
    error("NoCredentialsError"),
    chain(error("APIConnectionError"), error("LocalProtocolError", "Illegal header value")),
]


@pytest.mark.parametrize("exc", LOCAL, ids=repr)
def test_local(exc: BaseException) -> None:
    """Our own machine's trouble is nobody's failure, whatever it hides under."""
    assert brief(hf.classify(exc)) == ("fail", "local", False, False, "nobody")


def google(quota: str, message: str = "You exceeded your current quota, please check your plan") -> Any:
    violations = [{"quotaMetric": "generate_requests", "quotaId": quota}]
    failure = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}
    inner = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": message, "details": [failure]}
    return error("ClientError", message, code=429, status="RESOURCE_EXHAUSTED", details={"error": inner})


QUOTA = [
    status(402),
    status(429, code="insufficient_quota"),
    status(429, body={"error": {"code": "credit_balance_exhausted"}}),
    status(429, body={"code": "organization_spend_limit_exceeded"}),
    status(429, code="project_spend_limit_exceeded"),
    status(429, code="organization_usage_limit_exceeded"),
    status(429, type="billing_hard_limit_reached"),
    status(403, code="billing_not_active"),
    status(400, body={"type": "error", "error": {"type": "billing_error"}}),
    status(
        429,
        body={
            "error": {
                "type": "rate_limit_error",
                "details": {"error_code": "enforced_spend_limit_reached"},
            }
        },
    ),
    status(400, "Your credit balance is too low to access the Anthropic API."),
    status(429, "You exceeded your current quota, please check your plan and billing details."),
    status(429, "Your organization has reached its spend limit."),
    google("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
    boto("ServiceQuotaExceededException", 400),
    error(
        "RateLimitError",
        status_code=429,
        response=Response(429, {}, b'{"error": {"code": "insufficient_quota"}}'),
    ),
]


@pytest.mark.parametrize("exc", QUOTA, ids=lambda exc: hf.classify(exc).matched)
@pytest.mark.parametrize("judge", [hf.classify, judge_plain], ids=["chat", "plain"])
def test_quota(exc: BaseException, judge: Callable[[BaseException], hf.Verdict]) -> None:
    """Money is no rate: the credential is out, waiting does not help, another one does."""
    assert brief(judge(exc)) == ("fail", "quota", False, True, "credential")


@pytest.mark.parametrize(
    "exc",
    [
        google("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
        status(429, "You exceeded your current quota of 10 requests per minute"),
        status(429, "spend limit", headers={"retry-after": "5"}),
        status(429, code="rate_limit_exceeded", type="tokens"),
    ],
    ids=["quota-id", "per-minute", "with-delay", "openai"],
)
def test_rate_is_no_quota(exc: BaseException) -> None:
    """What is full again in a minute is a rate, though it speaks of quotas."""
    assert hf.classify(exc).outcome == "throttled"


def test_quota_keeps_the_reset_hint() -> None:
    """A quota's reset becomes how long the credential stays out."""
    exc = status(429, code="insufficient_quota", headers={"retry-after": "7200"})
    assert hf.classify(exc).delay == 7200.0


CONTEXT = [
    status(400, code="context_length_exceeded"),
    error("AContextOverflowError", bases=(type("ContextOverflowError", (Exception,), {}),)),
    status(400, "This model's maximum context length is 8192 tokens"),
    status(400, "prompt is too long: 210000 tokens > 200000 maximum"),
    status(400, "The input token count (1200000) exceeds the maximum number of tokens allowed"),
    status(413, "Input is too long for requested model."),
    ValueError("prompt is too long"),
]


@pytest.mark.parametrize("exc", CONTEXT, ids=lambda exc: hf.classify(exc).matched)
def test_context(exc: BaseException) -> None:
    """Too long is the caller's own: nobody failed and no retry helps."""
    assert brief(hf.classify(exc)) == ("fail", "context", False, False, "nobody")


def test_context_words_in_another_status_mean_nothing() -> None:
    """A 500 that quotes the prompt's words is a 500."""
    assert hf.classify(status(500, "prompt is too long")).kind == "server"


POLICY = [
    status(400, code="content_filter"),
    status(400, "Output blocked by content filtering policy"),
    status(400, body={"error": {"code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
    error("ContentFilterFinishReasonError"),
    error("OpenAIRefusalError", "I cannot help with that"),
    status(400, code="invalid_prompt"),
]


@pytest.mark.parametrize("exc", POLICY, ids=lambda exc: hf.classify(exc).matched)
def test_policy(exc: BaseException) -> None:
    """A filter or a refusal is an answer; no laxer model is shopped for."""
    assert brief(hf.classify(exc)) == ("fail", "policy", False, False, "nobody")


# ── rule 8: the status that is meant ────────────────────────────────────────────────────────────

MEANT = [
    (error("APIStatusError", status_code=200, type="overloaded_error"), "overloaded"),
    (
        error(
            "APIStatusError",
            status_code=200,
            body={"type": "error", "error": {"type": "overloaded_error"}},
        ),
        "overloaded",
    ),
    (error("APIError", type="server_error", code=None), "server"),
    (error("APIError", body={"code": "rate_limit_exceeded", "type": "tokens"}), "rate_limit"),
    (ValueError("rate_limit_exceeded: Rate limit reached"), "rate_limit"),
    (ValueError("ResponseError(code='server_error', message='…')"), "server"),
    (ValueError({"message": "…", "code": 502}), "server"),
    (error("ResponseError", "…", status_code=-1, error='{"error": {"code": 503}}'), "overloaded"),
    (error("EventStreamError", response={"Error": {"Code": "throttlingException"}}), "rate_limit"),
    (boto("ThrottlingException", 400), "rate_limit"),
    (boto("ModelTimeoutException", 408), "timeout"),
    (boto("AccessDeniedException", 403), "permission"),
    (boto("ValidationException", 400), "request"),
    (error("GoogleError", code="UNAVAILABLE"), "overloaded"),
    (error("GoogleError", status="DEADLINE_EXCEEDED"), "timeout"),
    (status(503, code="slow_down"), "rate_limit"),
    (status(429, code="slow_down"), "rate_limit"),
    (status(429, code="server_is_overloaded"), "overloaded"),
    (status(429, type="service_tier_capacity_exceeded"), "overloaded"),
    (status(500, type="overloaded_error"), "overloaded"),
    (status(401, code="rate_limit_exceeded"), "auth"),
    (error("RateLimitError"), "rate_limit"),
    (error("ServiceUnavailableError"), "overloaded"),
]


@pytest.mark.parametrize(
    ("exc", "kind"), MEANT, ids=[f"{type(e).__name__}-{k}-{n}" for n, (e, k) in enumerate(MEANT)]
)
def test_meant_status(exc: BaseException, kind: str) -> None:
    """An error without a useful status, as in streams, is known by its codes; load beats status."""
    assert hf.classify(exc).kind == kind


def test_grpc() -> None:
    """gRPC's errors tell their code by a method, and the code is an enum's member."""
    import enum

    class StatusCode(enum.Enum):
        UNAVAILABLE = (14, "unavailable")

    base = type("RpcError", (Exception,), {"code": lambda self: StatusCode.UNAVAILABLE})
    assert hf.classify(base()).kind == "overloaded"


def test_echo_of_the_request_is_not_the_provider() -> None:
    """A validation error that quotes the user's own dictionary is not the provider's code."""
    detail = [
        {
            "type": "missing",
            "loc": ["body"],
            "input": {"type": "insufficient_quota", "code": "content_filter"},
        }
    ]
    assert hf.classify(status(422, body={"detail": detail})).kind == "request"


# ── rules 10 to 18: transport, bad answers, bugs ────────────────────────────────────────────────


class ValidationError(ValueError):
    """Shaped like pydantic's."""

    def __init__(self, title: str) -> None:
        self.title = title


def httpx_like(module: str, name: str) -> Any:
    """A transport error of `httpx` or `httpx2`: same names, no common ancestor."""
    base = type("TransportError", (Exception,), {"__module__": module})
    return type(name, (base,), {"__module__": module})("…")


CONNECTION_ERROR = type("APIConnectionError", (Exception,), {})
"""The parent of `APITimeoutError` in openai and anthropic."""

TRANSPORT = [
    (chain(error("APIConnectionError"), httpx_like(module, name)), kind)
    for module in ("httpx", "httpx2")
    for name, kind in [
        ("ConnectError", "connect"), ("ReadError", "network"), ("RemoteProtocolError", "network"),
        ("DecodingError", "malformed"), ("ProxyError", "connect"),
    ]
] + [
    (chain(error("APITimeoutError", bases=(CONNECTION_ERROR,)), httpx_like(module, name)), kind)
    for module in ("httpx", "httpx2")
    for name, kind in [
        ("ConnectTimeout", "connect"), ("ReadTimeout", "timeout"), ("PoolTimeout", "local"),
    ]
] + [
    (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "connect"),
    (OSError(errno.EHOSTUNREACH, "No route to host"), "connect"),
    (socket.gaierror(-2, "Name or service not known"), "connect"),
    (error("EndpointConnectionError"), "connect"),
    (ConnectionError("Failed to connect to Ollama."), "connect"),
    (
        error("ConnectionError", error("MaxRetryError", reason=error("NewConnectionError"))),
        "connect",
    ),
    (
        chain(error("ConnectError"), ssl.SSLCertVerificationError(1, "certificate verify failed")),
        "tls",
    ),
    (error("ConnectError", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"), "tls"),
    (ConnectionResetError(104, "reset"), "network"),
    (ConnectionError("Connection aborted."), "network"),
    (error("ConnectionClosedError"), "network"),
    (error("ServerDisconnectedError"), "network"),
    (error("ConnectionError", "aborted", bases=(OSError,)), "network"),
    (TimeoutError(), "timeout"),
    (error("StreamChunkTimeoutError", bases=(TimeoutError,)), "timeout"),
    (error("ReadTimeoutError"), "timeout"),
    (json.JSONDecodeError("Expecting value", "", 0), "malformed"),
    (error("SSEError"), "malformed"),
    (error("APIResponseValidationError", status_code=200), "malformed"),
    (error("UnknownApiResponseError", bases=(ValueError,)), "malformed"),
    (ValueError("No generation chunks were returned"), "malformed"),
    (TypeError("Received response with null value for 'choices'."), "malformed"),
    (ValueError("Unexpected response type: <class 'str'>"), "malformed"),
    (AttributeError("'str' object has no attribute 'model_dump'"), "malformed"),
    (ValidationError("ChatCompletion"), "malformed"),
    (ValidationError("Person"), "output"),
    (error("OutputParserException", bases=(ValueError,)), "output"),
    (error("APIStatusError", status_code=200), "malformed"),
    (error("Odd", status_code=200), "malformed"),
    (error("APIError", "something"), "server"),
    (error("ResponseError", status_code=-1), "server"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("exc", "kind"),
    TRANSPORT,
    ids=[f"{type(e).__name__}-{k}-{n}" for n, (e, k) in enumerate(TRANSPORT)],
)
def test_kind(exc: BaseException, kind: str) -> None:
    """Each class is known by its name, whichever package it comes from and whatever wraps it."""
    verdict = hf.classify(exc)
    assert verdict.kind == kind
    retry, fail_over, ambiguous = {
        "connect": (True, True, False),  # never sent
        "tls": (False, True, False),
        "local": (False, False, False),
    }.get(kind, (True, True, True))
    assert (verdict.retry, verdict.fail_over, verdict.ambiguous) == (retry, fail_over, ambiguous)


def test_length_limit_is_not_retried() -> None:
    """The same request ends at the same limit again."""
    assert brief(hf.classify(error("LengthFinishReasonError"))) == (
        "fail",
        "output",
        False,
        False,
        "nobody",
    )


@pytest.mark.parametrize(
    "exc",
    [
        TypeError("x"),
        ValueError("x"),
        KeyError("x"),
        AttributeError("x"),
        AssertionError(),
        NotImplementedError(),
    ],
)
def test_bug(exc: BaseException) -> None:
    """A programming error is raised as it is: nobody's failure, and no retry cures it."""
    assert brief(hf.classify(exc)) == ("fail", "bug", False, False, "nobody")


def test_the_same_words_in_user_code_are_a_bug() -> None:
    """`list index out of range` of a user's own list is not a malformed answer."""
    with pytest.raises(IndexError) as caught:
        list[int]()[0]
    assert hf.classify(caught.value).kind == "bug"


def test_unknown() -> None:
    """What nobody knows fails over once; it is retried only if it says that it may be."""
    assert brief(hf.classify(RuntimeError("?"))) == ("fail", "unknown", False, True, "endpoint")
    assert hf.classify(error("Odd", is_retryable=True)).retry
    assert not hf.classify(error("Odd", is_retryable=1)).retry


def test_is_retryable_never_overrules() -> None:
    """LangChain calls every 429 retryable, a quota's too; the quota's rule comes first."""
    assert not hf.classify(status(429, code="insufficient_quota", is_retryable=True)).retry
    assert not hf.classify(status(400, is_retryable=True)).retry


# ── plain callables ─────────────────────────────────────────────────────────────────────────────

PLAIN = [
    ValueError("x"),
    RuntimeError(),
    KeyError("k"),
    TimeoutError(),
    ConnectionRefusedError(),
    error("Own"),
]


@pytest.mark.parametrize("exc", PLAIN, ids=repr)
def test_plain_exception_is_one_full_failure(exc: BaseException) -> None:
    """Every exception of a plain callable is a full, retryable failure of what was called."""
    assert brief(judge_plain(exc)) == ("fail", "unknown", True, True, "endpoint")


def test_plain_rejection_and_configuration() -> None:
    """A nested rejection is nobody's failure and moves on; a configuration error only raises."""
    assert brief(judge_plain(hf.CircuitOpen(retry_after=2.0))) == (
        "fail",
        "rejected",
        False,
        True,
        "nobody",
    )
    assert judge_plain(hf.CircuitOpen(retry_after=2.0)).delay == 2.0
    assert brief(judge_plain(hf.ConfigurationError(field="x"))) == (
        "fail",
        "bug",
        False,
        False,
        "nobody",
    )


def test_plain_facts_of_an_instance() -> None:
    """Facts are found on the instance, the class and an explicit cause, at every call anew."""
    cls = type("Own", (Exception,), {})
    assert judge_plain(cls()).retry
    exc = cls()
    exc.status_code = 400
    assert not judge_plain(exc).retry
    assert judge_plain(cls()).retry
    assert not judge_plain(chain(cls(), exc)).retry
    assert not judge_plain(type("OnClass", (Exception,), {"status_code": 400})()).retry
    assert not judge_plain(type("Slotted", (Exception,), {"status": property(lambda self: 400)})()).retry
    dynamic = type(
        "Dynamic",
        (Exception,),
        {"__getattr__": lambda self, name: 400 if name == "status_code" else None},
    )
    assert not judge_plain(dynamic()).retry


def test_plain_is_cheap() -> None:
    """An exception without HTTP facts is judged in microseconds (the bound is generous)."""
    exc = error("Own")
    judge_plain(exc)
    rounds = 2_000
    best = min(_timed(lambda: judge_plain(exc), rounds) for _ in range(5))
    assert best / rounds < 20e-6


def _timed(function: Callable[[], object], rounds: int) -> float:
    start = time.perf_counter()
    for _ in range(rounds):
        function()
    return time.perf_counter() - start


def test_r9_no_exception_is_kept() -> None:
    """The memory is of classes, bounded, and never of exceptions or what they hold."""
    from holdfast._classify import plain

    class Held:
        pass

    held = Held()
    judge_plain(error("Own", payload=held))
    hf.classify(error("Own", payload=held))
    gc.collect()
    assert [type(r).__name__ for r in gc.get_referrers(held) if isinstance(r, BaseException)] == []
    for n in range(2_500):
        judge_plain(error(f"Own{n}"))
    assert len(plain._remembered) <= 1024


# ── exception groups ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("judge", [hf.classify, judge_plain], ids=["chat", "plain"])
class TestGroups:
    """R6: groups are judged by their leaves."""

    def test_r6_only_cancellations(self, judge: Callable[[BaseException], hf.Verdict]) -> None:
        """A group of cancellations alone is neutral, however deep."""
        inner = BaseExceptionGroup("inner", [asyncio.CancelledError(), GeneratorExit()])
        group = BaseExceptionGroup("outer", [asyncio.CancelledError(), inner])
        assert judge(group).outcome == "ignore"

    def test_r6_mixed(self, judge: Callable[[BaseException], hf.Verdict]) -> None:
        """A cancelled sibling does not hide the failure, and the gravest leaf speaks."""
        group = BaseExceptionGroup("g", [asyncio.CancelledError(), status(429), status(503)])
        verdict = judge(group)
        assert (verdict.kind, verdict.blame) == ("overloaded", "endpoint")

    def test_r6_one_hopeless_leaf(self, judge: Callable[[BaseException], hf.Verdict]) -> None:
        """The whole call would be made again, so one leaf that must not be retried forbids it."""
        verdict = judge(ExceptionGroup("g", [status(503), status(400)]))
        assert brief(verdict) == ("fail", "overloaded", False, False, "endpoint")

    def test_r6_stop(self, judge: Callable[[BaseException], hf.Verdict]) -> None:
        """If one leaf asked the program to end, the failure counts and nothing more is tried."""
        verdict = judge(BaseExceptionGroup("g", [KeyboardInterrupt(), status(503)]))
        assert brief(verdict) == ("fail", "overloaded", False, False, "endpoint")

    def test_r6_longest_delay(self, judge: Callable[[BaseException], hf.Verdict]) -> None:
        """Of several delays the longest is the one after which all may answer."""
        leaves = [status(429, headers={"retry-after": text}) for text in ("1", "9", "4")]
        assert judge(ExceptionGroup("g", leaves)).delay == 9.0

    def test_huge(self, judge: Callable[[BaseException], hf.Verdict]) -> None:
        """A hundred thousand leaves, or a depth of a thousand, are judged at once."""
        wide = ExceptionGroup("wide", [ValueError(n) for n in range(100_000)])
        deep: Exception = status(503)
        for _ in range(1_000):
            deep = ExceptionGroup("deep", [deep])
        start = time.perf_counter()
        assert judge(wide).outcome == "fail"
        assert judge(deep).kind == "overloaded"
        assert time.perf_counter() - start < 2.0


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────


def test_verdict_explains_itself() -> None:
    """`str()` is one sentence with the outcome, the rule, what it matched and what follows."""
    text = str(hf.classify(status(429, code="insufficient_quota", headers={"retry-after": "60"})))
    assert text == (
        "fail (quota); by rule 5 quota, on code insufficient_quota; no retry here, but another "
        "node may answer; counts against the credential; asked to wait 60 s."
    )
    assert "ignore" in str(hf.classify(KeyboardInterrupt()))


def test_verdict_tells_no_secret() -> None:
    """No message, body, header value or unknown code enters a verdict."""
    secret = "sk-secret-prompt"
    exc = status(
        429,
        f"{secret} credit balance is too low",
        headers={"retry-after": "3", "authorization": secret},
        body={"error": {"message": secret, "code": secret}},
        code=secret,
    )
    for verdict in (
        hf.classify(exc),
        judge_plain(exc),
        hf.classify(chain(ValueError(secret), exc)),
    ):
        assert secret not in str(verdict) + repr(verdict)


def test_verdict_is_a_value() -> None:
    """Frozen, equal by value, hashable, picklable, copyable."""
    verdict = hf.classify(status(429, headers={"retry-after": "1.5"}))
    twin = pickle.loads(pickle.dumps(verdict))
    assert twin == verdict
    assert hash(twin) == hash(verdict)
    assert copy.copy(verdict) is copy.deepcopy(verdict) is verdict
    assert verdict != verdict.but(delay=None)
    assert eval(repr(verdict), {"Verdict": hf.Verdict}) == verdict
    with pytest.raises(AttributeError, match="frozen"):
        verdict.retry = False
    with pytest.raises(AttributeError, match="frozen"):
        del verdict.retry


def test_verdict_constructors() -> None:
    """Users make verdicts in a word, and blame follows from the kind."""
    assert brief(hf.Verdict.ok()) == ("ok", "none", False, False, "nobody")
    assert brief(hf.Verdict.ignore()) == ("ignore", "none", False, False, "nobody")
    assert brief(hf.Verdict.fail()) == ("fail", "unknown", True, True, "endpoint")
    assert brief(hf.Verdict.fail("quota", retry=False)) == (
        "fail",
        "quota",
        False,
        True,
        "credential",
    )
    assert hf.Verdict.fail("quota", blame="endpoint").blame == "endpoint"
    assert brief(hf.Verdict.throttled(2)) == ("throttled", "rate_limit", True, True, "rate")
    assert hf.Verdict.throttled(timedelta(minutes=1)).delay == 60.0
    assert hf.Verdict.throttled(1e9).delay == 86_400.0


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), "5", True, timedelta(seconds=-1)])
def test_verdict_refuses_a_bad_delay(delay: Any) -> None:
    """A delay that is no duration is refused by name."""
    with pytest.raises(hf.ConfigurationError, match="delay must be") as caught:
        hf.Verdict.throttled(delay)
    assert caught.value.field == "delay"


def test_verdict_refuses_an_unknown_kind() -> None:
    """A kind or a blame that there is not is refused by name."""
    with pytest.raises(hf.ConfigurationError, match="kind must be one of"):
        hf.Verdict.fail("explosion")
    with pytest.raises(hf.ConfigurationError, match="blame must be one of"):
        hf.Verdict.fail(blame="me")  # type: ignore[arg-type]


# ── the user's word ─────────────────────────────────────────────────────────────────────────────


def test_user_rule_comes_first_and_may_pass() -> None:
    """A user's callable decides before any rule, and None leaves the matter to the rules."""
    judge = make_classifier(lambda exc: "ignore" if isinstance(exc, KeyError) else None, hf.classify)
    assert judge(KeyError()).outcome == "ignore"
    assert judge(status(503)).kind == "overloaded"


def test_user_words() -> None:
    """Each of the four words is a verdict; how long to wait is still read from the exception."""
    exc = status(500, headers={"retry-after": "4"})
    for word in ("ok", "fail", "throttled", "ignore"):
        verdict = make_classifier(lambda _, word=word: word, hf.classify)(exc)
        assert verdict.outcome == word
        assert verdict.delay == (4.0 if word in ("fail", "throttled") else None)


def test_user_rules_as_data() -> None:
    """Rules are callables, `Rule`s and tuples, in order; all that a rule gives must match."""
    judge = make_classifier(
        [
            hf.Rule("Read*", verdict="throttled"),
            hf.Rule(status=range(500, 600), message="maintenance", verdict=hf.Verdict.fail("overloaded")),
            (None, 409, "lock_*", None, "ignore"),
            lambda exc: hf.Verdict.fail("quota") if "money" in str(exc) else None,
        ],
        hf.classify,
    )
    assert judge(error("ReadTimeout")).outcome == "throttled"
    assert judge(chain(error("APIError"), error("ReadError"))).outcome == "throttled"
    assert judge(status(500, "Down for Maintenance")).kind == "overloaded"
    assert judge(status(500, "else")).kind == "server"
    assert judge(status(400, "maintenance")).kind == "request"
    assert judge(status(409, code="LOCK_HELD")).outcome == "ignore"
    assert judge(status(409, code="other")).kind == "conflict"
    assert judge(error("Odd", "no money")).kind == "quota"


def test_one_rule_needs_no_list() -> None:
    """One tuple is one rule, and a tuple of rules is several."""
    one = make_classifier((None, 418, None, None, "ignore"), hf.classify)
    several = make_classifier((hf.Rule(status=418, verdict="ignore"),), hf.classify)
    assert one(status(418)).outcome == several(status(418)).outcome == "ignore"


def test_user_veto_comes_last() -> None:
    """A callable with two required parameters is given the verdict and may answer another."""

    def veto(exc: BaseException, verdict: hf.Verdict) -> hf.Verdict | None:
        return verdict.but(retry=False) if verdict.kind == "server" else None

    judge = make_classifier([veto], hf.classify)
    assert not judge(status(500)).retry
    assert judge(status(503)).retry

    class Methods:
        def veto(self, exc: BaseException, verdict: hf.Verdict, extra: int = 0) -> str:
            return "ignore"

        def rule(self, exc: BaseException) -> str:
            return "throttled"

    assert make_classifier(Methods().veto, hf.classify)(status(500)).outcome == "ignore"
    assert make_classifier(Methods().rule, hf.classify)(status(500)).outcome == "throttled"


@pytest.mark.parametrize("answer", [RuntimeError("mine"), "perhaps", 7])
@pytest.mark.parametrize("arity", [1, 2])
def test_user_rule_that_breaks_is_passed_over(
    answer: Any, arity: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A rule that raises or answers nonsense never replaces the exception it was asked about."""

    def respond() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def one(exc: BaseException) -> Any:
        return respond()

    def two(exc: BaseException, verdict: hf.Verdict) -> Any:
        return respond()

    judge = make_classifier(one if arity == 1 else two, hf.classify)
    with caplog.at_level(logging.WARNING, "holdfast"):
        assert judge(status(503)).kind == "overloaded"
    assert "passed over" in caplog.text
    assert "mine" not in caplog.text


def test_no_user_rule_is_the_base_itself() -> None:
    """Without rules nothing is wrapped, so nothing is paid."""
    assert make_classifier(None, judge_plain) is judge_plain
    assert narrow(judge_plain, None) is judge_plain


@pytest.mark.parametrize(
    ("user", "field"),
    [
        (7, "classify"),
        ([7], "classify"),
        ("ignore", "classify"),
        ((None, 400, None, None), "classify"),
    ],
)
def test_what_is_no_rule_is_refused(user: Any, field: str) -> None:
    """A bad rule is refused when it is given, not when a call fails."""
    with pytest.raises(hf.ConfigurationError) as caught:
        make_classifier(user, hf.classify)
    assert caught.value.field == field


def test_bad_rule_data_is_refused() -> None:
    """A rule with nothing to match, no verdict or a broken pattern is refused by name."""
    for bad in (
        {"verdict": "ok"},
        {"status": 400, "verdict": "no"},
        {"message": "(", "verdict": "ok"},
    ):
        with pytest.raises(hf.ConfigurationError):
            hf.Rule(**bad)


@pytest.mark.parametrize(
    "retry_on", [KeyError, (KeyError, IndexError), lambda exc: isinstance(exc, KeyError)]
)
def test_retry_on_narrows(retry_on: Any) -> None:
    """What is not in `retry_on` is not retried, and counts as it did."""
    judge = narrow(judge_plain, retry_on)
    assert judge(KeyError()).retry
    verdict = judge(ValueError())
    assert brief(verdict) == ("fail", "unknown", False, False, "endpoint")
    assert "retry_on" in verdict.rule


def test_retry_on_does_not_widen() -> None:
    """A 400 stays the caller's own fault, whatever `retry_on` says."""
    assert not narrow(hf.classify, Exception)(status(400)).retry


def test_retry_on_that_raises_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """A predicate that raises leaves the verdict as it was."""
    judge = narrow(judge_plain, lambda exc: exc.missing)
    with caplog.at_level(logging.WARNING, "holdfast"):
        assert judge(ValueError()).retry
    assert "retry_on" in caplog.text


@pytest.mark.parametrize("retry_on", [7, int, (KeyError, 7), "KeyError"])
def test_what_is_no_retry_on_is_refused(retry_on: Any) -> None:
    """A bad `retry_on` is refused by name when it is given."""
    with pytest.raises(hf.ConfigurationError) as caught:
        narrow(judge_plain, retry_on)
    assert caught.value.field == "retry_on"


# ── whatever arrives ────────────────────────────────────────────────────────────────────────────


class Hostile(Exception):
    """Every attribute that the classifier reads raises something."""

    def _raise(self) -> Any:
        raise SystemExit("a property ended the program")

    status_code = status = code = response = headers = body = message = details = property(_raise)
    __class__ = args = __cause__ = __context__ = title = is_retryable = retry_after = errno = property(_raise)

    def __str__(self) -> str:
        raise RuntimeError("no text either")


@pytest.mark.parametrize("judge", [hf.classify, judge_plain], ids=["chat", "plain"])
def test_attributes_that_raise(judge: Callable[[BaseException], hf.Verdict]) -> None:
    """A property that raises, even SystemExit, says nothing and hides nothing."""
    assert judge(Hostile()).kind == "unknown"


@pytest.mark.parametrize("judge", [hf.classify, judge_plain], ids=["chat", "plain"])
def test_mocks_have_no_status(judge: Callable[[BaseException], hf.Verdict]) -> None:
    """A mock has every attribute, and none of them is a status, a header or a delay."""

    class Mocked(Exception):
        def __getattr__(self, name: str) -> Any:
            return MagicMock()

    for exc in (
        Mocked(),
        error(
            "Odd",
            response=MagicMock(),
            headers=MagicMock(),
            code=MagicMock(),
            body=MagicMock(spec=dict),
        ),
    ):
        verdict = judge(exc)
        assert (verdict.kind, verdict.delay) == ("unknown", None)


def test_unread_response_is_not_read() -> None:
    """A response whose body nobody has read stays unread: reading might wait on the network."""
    assert hf.classify(status(503)).kind == "overloaded"  # `Response.text` raises AssertionError


def test_metaclass_is_not_asked() -> None:
    """A metaclass that lies about names or raises is passed by."""

    class Meta(type):
        @property
        def __name__(cls) -> Any:  # type: ignore[override]
            raise RuntimeError("no name")

    class Odd(Exception, metaclass=Meta):
        pass

    assert hf.classify(Odd()).kind == "unknown"
    assert judge_plain(Odd()).retry


def test_chain_in_a_circle() -> None:
    """Causes in a circle and endless chains end after nine links."""
    one, two = error("One"), error("Two")
    one.__cause__, two.__cause__ = two, one
    assert hf.classify(one).kind == "unknown"
    assert judge_plain(one).retry
    far: BaseException = status(400)
    for n in range(50):
        far = chain(error(f"Link{n}"), far)
    assert judge_plain(far).retry, "what is fifty causes away is not asked"


WEIRD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([200, 300, 400, 429, 500, 503, 599, 600, -1, 10**400, True]),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from(
        [
            "insufficient_quota",
            "429",
            "{",
            "[[[[",
            '{"error": {"code": 429}}',
            "retry in 1s",
            "x" * 100_000,
        ]
    ),
    st.builds(MagicMock),
    st.builds(object),
    st.builds(lambda: Response(503, {"retry-after": "1"})),
)
WEIRD = st.recursive(
    WEIRD_VALUES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    [
                        "error",
                        "code",
                        "type",
                        "details",
                        "retryDelay",
                        "seconds",
                        "retry-after",
                        "Error",
                    ]
                ),
                st.integers(),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from([
        "status_code", "status", "http_status", "code", "type", "body", "details", "error",
        "headers", "response", "raw_response", "message", "retry_after", "errno", "inner", "reason",
        "original_exception", "title", "is_retryable", "args",
    ]),
    WEIRD,
    max_size=6,
)  # fmt: skip
NAMES = st.sampled_from([
    "Odd", "APIError", "ReadTimeout", "RpcError", "ValidationError", "ConnectError",
    "RateLimitError", "TypeError",
])  # fmt: skip


@st.composite
def weird_exceptions(draw: st.DrawFn) -> BaseException:
    """Exceptions of any shape, in chains that may be circles, in groups that may be nested."""
    made: list[BaseException] = []
    for _ in range(draw(st.integers(1, 5))):
        base = draw(st.sampled_from([Exception, ValueError, OSError, KeyError, BaseException]))
        exc = type(draw(NAMES), (base,), {})(*draw(st.lists(WEIRD, max_size=3)))
        for name, value in draw(ATTRIBUTES).items():
            try:
                setattr(exc, name, value)
            except (TypeError, AttributeError, OverflowError):
                continue  # `args` takes only what is iterable
        made.append(exc)
        if draw(st.booleans()):
            made.append(BaseExceptionGroup("group", list(made)))
    for exc in made:
        exc.__cause__ = draw(st.sampled_from([None, *made]))
        exc.__context__ = draw(st.sampled_from([None, *made]))
    return made[-1]


@settings(max_examples=150, deadline=1_000)
@given(weird_exceptions())
def test_r8_whatever_arrives_gets_a_verdict(exc: BaseException) -> None:
    """No exception, however odd, makes the classifiers raise, hang or answer nonsense."""
    for judge in (hf.classify, judge_plain):
        verdict = judge(exc)
        assert verdict.outcome in ("fail", "throttled", "ignore")
        assert verdict.kind in BLAME or verdict.kind == "none"
        assert verdict.delay is None or 0 <= verdict.delay <= 86_400
        assert verdict.rule
        assert str(verdict)
        assert pickle.loads(pickle.dumps(verdict)) == verdict


@given(st.text(max_size=60))
def test_delay_of_any_header_is_a_duration_or_nothing(text: str) -> None:
    """Whatever a header says, a delay is between zero and a day, or none."""
    for name in ("retry-after", "retry-after-ms", "x-amz-retry-after"):
        delay = hf.classify(status(429, headers={name: text}), now=NOW).delay
        assert delay is None or 0 <= delay <= 86_400


# ── the package ─────────────────────────────────────────────────────────────────────────────────


def test_import_is_light() -> None:
    """Importing the classifier loads no client and no heavy part of the standard library."""
    heavy = ["asyncio", "logging", "dataclasses", "json", "email", "inspect", "httpx", "openai"]
    code = (
        "import sys; before = set(sys.modules)\n"
        "import holdfast._classify\n"
        f"print([m for m in {heavy!r} if m in set(sys.modules) - before])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "[]", found.stdout + found.stderr


def test_kinds_are_the_cores() -> None:
    """The kinds and blames here are those of the core, name by name."""
    source = (Path(__file__).parents[2] / "src" / "base" / "verdict.rs").read_text("utf-8")
    kinds = source.partition("FailureKind {")[2].partition("\n}")[0]
    assert set(re.findall(r'= "(\w+)",', kinds)) == set(BLAME)
    blames = source.partition("pub enum Blame {")[2].partition("\n}")[0]
    assert {name.lower() for name in re.findall(r"^ +(\w+),", blames, re.MULTILINE)} == set(BLAME.values())
