"""What can go wrong, by name. Each plays in the dialect and kind (unary, stream) it is asked in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import shapes

if TYPE_CHECKING:
    from .server import Request, Wire

    Play = Callable[["Wire", "Request"], None]


@dataclass(frozen=True)
class Scenario:
    """One way to fail.

    Attributes:
        name: Its part of the URL.
        play: What it writes on the wire.
        own_fault: The caller's own fault: no retry and no other node helps.
        hangs: A client without clocks of its own waits without end.
        stream: Has a meaning for streams only (a unary request gets a healthy answer).
        silent: Clients take it for a success.
        speaks: Part of a stream's content comes before the fault does.
    """

    name: str
    play: Play
    own_fault: bool = False
    hangs: bool = False
    stream: bool = False
    silent: bool = False
    speaks: bool = False


SCENARIOS: dict[str, Scenario] = {}
SLOW = 0.4
"""Seconds that the healthy answer of ``slow-ok`` takes."""


def play(wire: Wire, request: Request) -> None:
    """Play the scenario that the request's path names.

    ``<scenario>@<n>`` plays it for the first n requests and is healthy from then on. ``<scenario>~<word>`` is the
    same scenario, counted by itself.
    """
    name, _, times = request.scenario.partition("~")[0].partition("@")
    scenario = SCENARIOS.get(name)
    if scenario is None:
        wire.answer(404, {"error": {"message": f"no scenario {name!r}"}})
    elif (times and request.number > int(times)) or (scenario.stream and not request.stream):
        healthy(wire, request)
    else:
        scenario.play(wire, request)


def _scenario(name: str, **kind: bool) -> Callable[[Play], Play]:
    def add(function: Play) -> Play:
        SCENARIOS[name] = Scenario(name, function, **kind)
        return function

    return add


# ── health ──────────────────────────────────────────────────────────────────────────────────────


@_scenario("ok")
def healthy(wire: Wire, request: Request) -> None:
    kind = request.dialect
    if not request.stream:
        wire.answer(200, shapes.answer(kind))
        return
    wire.begin_stream()
    wire.events([*shapes.opening(kind), *shapes.content(kind), *shapes.ending(kind)])
    wire.end_stream()


@_scenario("ok-tool")
def _healthy_tool(wire: Wire, request: Request) -> None:
    kind = request.dialect
    if not request.stream:
        wire.answer(200, shapes.answer(kind, tool=True))
        return
    wire.begin_stream()
    wire.events([*shapes.opening(kind), *shapes.tool_content(kind), *shapes.tool_ending(kind)])
    wire.end_stream()


@_scenario("slow-ok")
def _slow_ok(wire: Wire, request: Request) -> None:
    wire.pause(SLOW)
    healthy(wire, request)


# ── statuses ────────────────────────────────────────────────────────────────────────────────────

OWN_FAULT = (400, 405, 413, 415, 422, 431)
STATUSES = (
    *OWN_FAULT, 401, 402, 403, 404, 408, 409, 410, 424, 425, 429, 498, 500, 501, 502, 503, 504,
    520, 521, 522, 523, 524, 529,
)  # fmt: skip
HTML = b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"


def _with_status(status: int) -> Play:
    def function(wire: Wire, request: Request) -> None:
        wire.answer(status, shapes.error(request.dialect, status, "scripted"))

    return function


def _refusal(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> Play:
    def function(wire: Wire, request: Request) -> None:
        wire.answer(status, shapes.error(request.dialect, status, message, **more), **(headers or {}))

    return function


for _status in STATUSES:
    SCENARIOS[f"status-{_status}"] = Scenario(
        f"status-{_status}", _with_status(_status), own_fault=_status in OWN_FAULT
    )


@_scenario("html-502")
def _html_502(wire: Wire, request: Request) -> None:
    wire.answer(502, HTML, content_type="text/html")


@_scenario("empty-500")
def _empty_500(wire: Wire, request: Request) -> None:
    wire.answer(500, b"")


# ── being asked to wait ─────────────────────────────────────────────────────────────────────────

RETRY_AFTER: dict[str, tuple[dict[str, str], str]] = {
    # form: (headers, words in the message)
    "int": ({"retry_after": "7"}, ""),
    "float": ({"retry_after": "1.5"}, ""),
    "zero": ({"retry_after": "0"}, ""),
    "ms": ({"retry_after_ms": "250"}, ""),
    "date": ({"retry_after": "Wed, 21 Oct 2099 07:28:00 GMT"}, ""),
    "past": ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, ""),
    "negative": ({"retry_after": "-5"}, ""),
    "nan": ({"retry_after": "nan"}, ""),
    "inf": ({"retry_after": "1e999"}, ""),
    "huge": ({"retry_after": "9999999"}, ""),
    "words": ({}, "Rate limit reached. Please try again in 1.2s."),
    "reset": (
        {
            "x_ratelimit_remaining_requests": "10",
            "x_ratelimit_reset_requests": "59m0s",
            "x_ratelimit_remaining_tokens": "0",
            "x_ratelimit_reset_tokens": "6m0s",
        },
        "",
    ),
    "none": ({}, ""),
}
"""The forms of being asked to wait, each a scenario ``retry-after-<form>`` with status 429."""
for _form, (_headers, _words) in RETRY_AFTER.items():
    SCENARIOS[f"retry-after-{_form}"] = Scenario(
        f"retry-after-{_form}", _refusal(429, _words or "Too many requests", _headers)
    )
SCENARIOS["retry-after-503"] = Scenario("retry-after-503", _refusal(503, "Busy", {"retry_after": "2.5"}))


@_scenario("retry-after-google")
def _google(wire: Wire, request: Request) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "46.5s"}]
    inner = {
        "code": 429,
        "message": "Resource exhausted",
        "status": "RESOURCE_EXHAUSTED",
        "details": details,
    }
    wire.answer(429, {"error": inner})


# ── quotas, windows, filters ────────────────────────────────────────────────────────────────────

QUOTA_CODES = (
    "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
)  # fmt: skip
for _code in QUOTA_CODES:
    SCENARIOS[f"quota-{_code}"] = Scenario(
        f"quota-{_code}", _refusal(429, "You exceeded your current quota", code=_code)
    )
SCENARIOS["quota-anthropic-spend"] = Scenario(
    "quota-anthropic-spend",
    _refusal(
        429,
        "This organization has reached its spend limit.",
        details={"error_code": "enforced_spend_limit_reached"},
    ),
)


@_scenario("quota-google-day")
def _google_day(wire: Wire, request: Request) -> None:
    quota = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30240s"},
    ]
    inner = {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED", "details": details}
    wire.answer(429, {"error": inner})


SCENARIOS["quota-credit-balance"] = Scenario(
    "quota-credit-balance", _refusal(400, "Your credit balance is too low to access the API.")
)
SCENARIOS["context-openai"] = Scenario(
    "context-openai",
    _refusal(400, "This model's maximum context length is 8 tokens", code="context_length_exceeded"),
    own_fault=True,
)
SCENARIOS["context-anthropic"] = Scenario(
    "context-anthropic",
    _refusal(400, "prompt is too long: 300000 tokens > 200000 maximum"),
    own_fault=True,
)
SCENARIOS["content-filter"] = Scenario(
    "content-filter",
    _refusal(400, "The response was filtered", code="content_filter"),
    own_fault=True,
)


# ── broken connections ──────────────────────────────────────────────────────────────────────────


@_scenario("reset-before")
def _reset_before(wire: Wire, request: Request) -> None:
    wire.reset()


@_scenario("eof-before")
def _eof_before(wire: Wire, request: Request) -> None:
    wire.hang_up()


@_scenario("garbage")
def _garbage(wire: Wire, request: Request) -> None:
    wire.send(b"\x00\x01 this is not HTTP\r\n\r\n")
    wire.hang_up()


@_scenario("reset-in-body")
def _reset_in_body(wire: Wire, request: Request) -> None:
    body = json.dumps(shapes.answer(request.dialect)).encode()
    wire.head(200, content_type="application/json", content_length=str(len(body)))
    wire.send(body[: len(body) // 2])
    wire.pause(0.05)  # so that the half arrives before the reset discards it
    wire.reset()


@_scenario("cut-body")
def _cut_body(wire: Wire, request: Request) -> None:
    body = json.dumps(shapes.answer(request.dialect)).encode()
    wire.head(200, content_type="application/json", content_length=str(len(body)))
    wire.send(body[: len(body) // 2])
    wire.hang_up()


@_scenario("bad-gzip")
def _bad_gzip(wire: Wire, request: Request) -> None:
    wire.answer(200, b"this is not gzip", content_type="application/json", content_encoding="gzip")


# ── time ────────────────────────────────────────────────────────────────────────────────────────


@_scenario("slow-headers", hangs=True)
def _slow_headers(wire: Wire, request: Request) -> None:
    wire.hold()


@_scenario("drip-headers", hangs=True)
def _drip_headers(wire: Wire, request: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nx-drip: ")
    wire.drip(b"." * 10_000)
    wire.hold()


@_scenario("drip-body", hangs=True)
def _drip_body(wire: Wire, request: Request) -> None:
    body = json.dumps(shapes.answer(request.dialect)).encode() + b" " * 10_000
    wire.head(200, content_type="application/json", content_length=str(len(body)))
    wire.drip(body)


@_scenario("slow-first", hangs=True, stream=True)
def _slow_first(wire: Wire, request: Request) -> None:
    wire.begin_stream()
    wire.hold()


@_scenario("role-only", hangs=True, stream=True)
def _role_only(wire: Wire, request: Request) -> None:
    wire.begin_stream()
    wire.events(shapes.opening(request.dialect))
    wire.hold()


@_scenario("keepalive-only", hangs=True, stream=True)
def _keepalive_only(wire: Wire, request: Request) -> None:
    wire.begin_stream()
    _keep_alive(wire)


@_scenario("stall", hangs=True, stream=True, speaks=True)
def _stall(wire: Wire, request: Request) -> None:
    _first_half(wire, request)
    wire.hold()


@_scenario("stall-unframed", hangs=True, stream=True, speaks=True)
def _stall_unframed(wire: Wire, request: Request) -> None:
    _first_half(wire, request, framed=False)
    wire.hold()


@_scenario("keepalive-mid", hangs=True, stream=True, speaks=True)
def _keepalive_mid(wire: Wire, request: Request) -> None:
    _first_half(wire, request)
    _keep_alive(wire)


def _keep_alive(wire: Wire) -> None:
    for _ in range(10_000):
        wire.event(b": keep-alive\n\n")
        wire.pause(0.05)


def _first_half(wire: Wire, request: Request, *, framed: bool = True) -> None:
    wire.begin_stream(framed=framed)
    wire.events([*shapes.opening(request.dialect), *shapes.content(request.dialect)[:2]])


# ── streams that end wrongly ────────────────────────────────────────────────────────────────────


@_scenario("cut-framed", stream=True, speaks=True)
def _cut_framed(wire: Wire, request: Request) -> None:
    _first_half(wire, request)
    wire.hang_up()


@_scenario("cut-unframed", stream=True, silent=True, speaks=True)
def _cut_unframed(wire: Wire, request: Request) -> None:
    _first_half(wire, request, framed=False)
    wire.hang_up()


@_scenario("cut-clean", stream=True, silent=True, speaks=True)
def _cut_clean(wire: Wire, request: Request) -> None:
    _first_half(wire, request)
    wire.end_stream()


@_scenario("cut-reset", stream=True, speaks=True)
def _cut_reset(wire: Wire, request: Request) -> None:
    _first_half(wire, request)
    wire.pause(0.05)
    wire.reset()


@_scenario("cut-role", stream=True)
def _cut_role(wire: Wire, request: Request) -> None:
    wire.begin_stream()
    wire.events(shapes.opening(request.dialect))
    wire.hang_up()


@_scenario("no-marker", stream=True, silent=True, speaks=True)
def _no_marker(wire: Wire, request: Request) -> None:
    """All that was to be said, and a good end of the connection, but no end marker."""
    wire.begin_stream()
    wire.events([*shapes.opening(request.dialect), *shapes.content(request.dialect)])
    wire.end_stream()


@_scenario("cut-tool-after-text", stream=True, silent=True, speaks=True)
def _cut_tool_after_text(wire: Wire, request: Request) -> None:
    kind = request.dialect
    wire.begin_stream()
    wire.events([*shapes.opening(kind), *shapes.content(kind), *shapes.tool_content(kind)[:-1]])
    wire.end_stream()


@_scenario("agent")
def _agent(wire: Wire, request: Request) -> None:
    """Asks for the tool, and when its result is there says that it is done."""
    messages = request.body["messages"]
    (healthy if any(m["role"] == "tool" for m in messages) else _healthy_tool)(wire, request)


@_scenario("agent-cut", silent=True)
def _agent_cut(wire: Wire, request: Request) -> None:
    """The same, but what it asks for is cut off inside the arguments."""
    messages = request.body["messages"]
    (healthy if any(m["role"] == "tool" for m in messages) else _cut_tool)(wire, request)


@_scenario("cut-tool", stream=True, silent=True)
def _cut_tool(wire: Wire, request: Request) -> None:
    wire.begin_stream()
    wire.events([*shapes.opening(request.dialect), *shapes.tool_content(request.dialect)[:-1]])
    wire.end_stream()


@_scenario("empty-stream", stream=True, silent=True)
def _empty_stream(wire: Wire, request: Request) -> None:
    wire.begin_stream()
    wire.end_stream()


EVENT_CODES = (
    "overloaded_error",
    "rate_limit_error",
    "server_error",
    "api_error",
    "rate_limit_exceeded",
)
"""Error events in a 200 stream: ``error-first-<code>``, and after content ``error-mid-<code>``."""


def _error_event(code: str, *, mid: bool) -> Play:
    def function(wire: Wire, request: Request) -> None:
        if mid:
            _first_half(wire, request)
        else:
            wire.begin_stream()
        wire.event(shapes.error_event(request.dialect, code, "scripted"))
        wire.end_stream()

    return function


for _code in EVENT_CODES:
    for _where in ("first", "mid"):
        SCENARIOS[f"error-{_where}-{_code}"] = Scenario(
            f"error-{_where}-{_code}",
            _error_event(_code, mid=_where == "mid"),
            stream=True,
            speaks=_where == "mid",
        )


# ── bad successes ───────────────────────────────────────────────────────────────────────────────

_BAD_BODIES: dict[str, tuple[bytes, str]] = {
    "bad-json": (b'{"id": "chatcmpl_1", "choi', "application/json"),
    "empty-body": (b"", "application/json"),
    "html-200": (HTML, "text/html"),
    "empty-object": (b"{}", "application/json"),
    "null-choices": (
        b'{"id": "x", "object": "chat.completion", "choices": null}',
        "application/json",
    ),
    "no-choices": (b'{"id": "x", "object": "chat.completion", "choices": []}', "application/json"),
    "error-in-200": (
        b'{"error": {"message": "scripted", "type": "server_error", "code": 502}}',
        "application/json",
    ),
}


def _bad_body(body: bytes, content_type: str) -> Play:
    def function(wire: Wire, request: Request) -> None:
        wire.answer(200, body, content_type=content_type)

    return function


for _name, (_body, _type) in _BAD_BODIES.items():
    SCENARIOS[_name] = Scenario(_name, _bad_body(_body, _type), silent=True)
