"""What the real clients raise over a real socket, and that it is classified as it should be.

The classifier knows no client; these tests do. When a client's new version words things otherwise,
they are what notices.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import pytest

import holdfast as hf
from faults import SCENARIOS, FaultServer, closed_port
from faults.verdicts import EXPECTED, FULL, LATE, ODD, SERVER, STREAMED, Brief
from holdfast._classify import judge_plain

anthropic = pytest.importorskip("anthropic")
httpx = pytest.importorskip("httpx")
httpx2 = pytest.importorskip("httpx2")
openai = pytest.importorskip("openai")
langchain_anthropic = pytest.importorskip("langchain_anthropic")
langchain_openai = pytest.importorskip("langchain_openai")

TIMEOUT = 0.3
"""Seconds of the clients' own read timeouts: what hangs here hangs longer than this."""
ASK = [{"role": "user", "content": "hi"}]

Call = Callable[[str], object]
"""Makes one call on a base URL (without ``/v1``) and returns what it gave."""


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running, _LOOP:
        yield running


_TLS = ssl.create_default_context()
"""One for all: to read the certificates takes most of the time that making a client takes."""


def _http() -> Any:
    return httpx2.Client(verify=_TLS, timeout=TIMEOUT)


def _http_async() -> Any:
    return httpx2.AsyncClient(verify=_TLS, timeout=TIMEOUT)


def _openai(url: str, *, stream: bool) -> object:
    with openai.OpenAI(
        api_key="k", base_url=f"{url}/v1", max_retries=0, timeout=TIMEOUT, http_client=_http()
    ) as client:
        answer = client.chat.completions.create(model="stub", messages=ASK, stream=stream)
        return list(answer) if stream else answer


async def _openai_async(url: str, *, stream: bool) -> object:
    async with openai.AsyncOpenAI(
        api_key="k", base_url=f"{url}/v1", max_retries=0, timeout=TIMEOUT, http_client=_http_async()
    ) as client:
        answer = await client.chat.completions.create(model="stub", messages=ASK, stream=stream)
        return [chunk async for chunk in answer] if stream else answer


def _anthropic(url: str, *, stream: bool) -> object:
    with anthropic.Anthropic(
        api_key="k", base_url=url, max_retries=0, timeout=TIMEOUT, http_client=_http()
    ) as client:
        answer = client.messages.create(model="stub", messages=ASK, max_tokens=9, stream=stream)
        return list(answer) if stream else answer


async def _anthropic_async(url: str, *, stream: bool) -> object:
    async with anthropic.AsyncAnthropic(
        api_key="k", base_url=url, max_retries=0, timeout=TIMEOUT, http_client=_http_async()
    ) as client:
        answer = await client.messages.create(model="stub", messages=ASK, max_tokens=9, stream=stream)
        return [chunk async for chunk in answer] if stream else answer


def _chat_openai(url: str, **more: Any) -> Any:
    return langchain_openai.ChatOpenAI(
        model="stub", api_key="k", base_url=f"{url}/v1", max_retries=0, timeout=TIMEOUT,
        http_client=_http(), http_async_client=_http_async(), **more,
    )  # fmt: skip


def _responses(url: str) -> Any:
    return _chat_openai(url, use_responses_api=True)


def _chat_anthropic(url: str) -> Any:
    return langchain_anthropic.ChatAnthropic(
        model="stub", api_key="k", base_url=url, max_retries=0, timeout=TIMEOUT
    )


_LOOP = asyncio.Runner()
"""One loop for all: LangChain shares its async clients, which are bound to the first loop."""


def _run(coroutine: Coroutine[Any, Any, object]) -> object:
    return _LOOP.run(coroutine)


async def _drained(chunks: Any) -> list[Any]:
    return [chunk async for chunk in chunks]


UNARY: dict[str, Call] = {
    "openai": lambda url: _openai(url, stream=False),
    "openai-async": lambda url: _run(_openai_async(url, stream=False)),
    "anthropic": lambda url: _anthropic(url, stream=False),
    "anthropic-async": lambda url: _run(_anthropic_async(url, stream=False)),
    "ChatOpenAI": lambda url: _chat_openai(url).invoke("hi"),
    "ChatOpenAI-async": lambda url: _run(_chat_openai(url).ainvoke("hi")),
    "ChatOpenAI-responses": lambda url: _responses(url).invoke("hi"),
    "ChatAnthropic": lambda url: _chat_anthropic(url).invoke("hi"),
}
STREAM: dict[str, Call] = {
    "openai": lambda url: _openai(url, stream=True),
    "openai-async": lambda url: _run(_openai_async(url, stream=True)),
    "anthropic": lambda url: _anthropic(url, stream=True),
    "anthropic-async": lambda url: _run(_anthropic_async(url, stream=True)),
    "ChatOpenAI": lambda url: list(_chat_openai(url).stream("hi")),
    "ChatOpenAI-async": lambda url: _run(_drained(_chat_openai(url).astream("hi"))),
    "ChatOpenAI-responses": lambda url: list(_responses(url).stream("hi")),
    "ChatAnthropic": lambda url: list(_chat_anthropic(url).stream("hi")),
}


def raised(call: Call, url: str) -> Exception:
    """The exception of a call that must fail."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 any: the callers look at it
        call(url)
    return caught.value


def brief(verdict: hf.Verdict) -> Brief:
    return verdict.outcome, verdict.kind, verdict.retry, verdict.fail_over, verdict.blame


def sample(clients: Iterable[str], scenarios: Iterable[str], tellers: Iterable[str]) -> list[tuple[str, str]]:
    """Each scenario through one client, in turn, and a few telling ones through all. `make faults` tries every pair."""
    turn = itertools.cycle(clients)
    pairs = [(next(turn), scenario) for scenario in scenarios]
    pairs += [(client, scenario) for client in clients for scenario in tellers]
    return list(dict.fromkeys(pairs))


TELLING = ("status-400", "status-401", "status-503", "retry-after-float", "quota-insufficient_quota",
           "reset-before", "bad-json", "slow-headers")  # fmt: skip
"""One scenario of each family that clients word differently."""


@pytest.mark.parametrize(("client", "scenario"), sample(UNARY, EXPECTED, TELLING))
def test_unary(server: FaultServer, client: str, scenario: str) -> None:
    """Every client's exception for the same fault gets the same verdict, after one request."""
    before = server.hits(scenario)
    exc = raised(UNARY[client], server.url(scenario))
    assert brief(hf.classify(exc)) == EXPECTED[scenario], f"{exc!r}: {hf.classify(exc)}"
    assert server.hits(scenario) == before + 1


DELAYS = {
    "int": 7.0, "float": 1.5, "zero": 0.0, "ms": 0.25, "date": 86_400.0, "past": None,
    "negative": None, "nan": None, "inf": None, "huge": 86_400.0, "words": 1.2, "reset": 360.0,
    "none": None, "503": 2.5, "google": 46.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("client", "form"),
    sample(["openai", "anthropic", "ChatOpenAI", "ChatAnthropic"], DELAYS, ["float", "date", "words"]),
)
def test_delay(server: FaultServer, client: str, form: str) -> None:
    """However a server asks us to wait, through every client the same number of seconds is read."""
    exc = raised(UNARY[client], server.url(f"retry-after-{form}"))
    assert hf.classify(exc).delay == DELAYS[form]
    if form != "words":
        assert judge_plain(exc).delay == DELAYS[form]


TELLING_STREAMS = ("stall", "cut-framed", "error-first-overloaded_error", "error-mid-rate_limit_error")


@pytest.mark.parametrize(("client", "scenario"), sample(STREAM, STREAMED, TELLING_STREAMS))
def test_stream(server: FaultServer, client: str, scenario: str) -> None:
    """Errors of streams carry no useful status, and are known all the same."""
    exc = raised(STREAM[client], server.url(scenario))
    assert brief(hf.classify(exc)) == STREAMED[scenario], f"{exc!r}: {hf.classify(exc)}"


MISREAD = ("html-200", "empty-object", "null-choices", "no-choices")


@pytest.mark.parametrize("scenario", MISREAD)
@pytest.mark.parametrize("client", ["ChatOpenAI", "ChatOpenAI-responses", "ChatAnthropic"])
def test_bad_success_that_raises(server: FaultServer, client: str, scenario: str) -> None:
    """A client that stumbles over a bad answer raises builtin errors: malformed, and not a bug."""
    exc = raised(UNARY[client], server.url(scenario))
    assert brief(hf.classify(exc)) == ODD, f"{exc!r}: {hf.classify(exc)}"


def test_empty_stream_of_a_chat_model(server: FaultServer) -> None:
    """LangChain says of an empty stream that no generation chunks came."""
    for client in ("ChatOpenAI", "ChatOpenAI-async", "ChatAnthropic"):
        assert brief(hf.classify(raised(STREAM[client], server.url("empty-stream")))) == ODD


def test_error_in_a_good_answer(server: FaultServer) -> None:
    """A gateway's `{"error": …}` with status 200 is judged by the code inside."""
    exc = raised(UNARY["ChatOpenAI"], server.url("error-in-200"))
    assert brief(hf.classify(exc)) == SERVER


@pytest.mark.parametrize("name", sorted(n for n, s in SCENARIOS.items() if s.silent and s.stream))
def test_silent_faults_are_silent(server: FaultServer, name: str) -> None:
    """Some faults no client notices: this is what the completion validator is for."""
    assert isinstance(_openai(server.url(name), stream=True), list)
    assert isinstance(_anthropic(server.url(name), stream=True), list)


@pytest.mark.parametrize("client", UNARY)
def test_health(server: FaultServer, client: str) -> None:
    """What is healthy is taken for healthy, unary and streamed, tools too."""
    assert "Hello from the other side" in str(UNARY[client](server.url("ok")))
    assert STREAM[client](server.url("ok"))
    assert "scratch" in str(UNARY[client](server.url("ok-tool")))


def test_recovery(server: FaultServer) -> None:
    """`<scenario>@2` fails twice and is healthy from then on, and the server counts."""
    url = server.url("status-503@2")
    for _ in range(2):
        assert brief(hf.classify(raised(UNARY["openai"], url))) == FULL
    assert "Hello" in str(UNARY["openai"](url))
    assert server.hits("status-503@2") == 3


@pytest.mark.parametrize("client", UNARY)
def test_refused(client: str) -> None:
    """Nobody listens: certainly nothing was sent, so the retry is free of doubt."""
    verdict = hf.classify(raised(UNARY[client], f"http://127.0.0.1:{closed_port()}"))
    assert brief(verdict) == ("fail", "connect", True, True, "endpoint")
    assert verdict.ambiguous is False


@pytest.mark.parametrize("client", ["openai", "anthropic", "ChatOpenAI", "ChatAnthropic"])
def test_name_that_does_not_resolve(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed look-up is a failed connection."""

    def look_up(*args: object, **kwargs: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert hf.classify(raised(UNARY[client], "http://model.invalid")).kind == "connect"


def test_drip_defeats_the_clients_clock(server: FaultServer) -> None:
    """Dripping headers never time out by the client's own clock: httpx counts between bytes."""

    async def call() -> None:
        async with asyncio.timeout(4 * TIMEOUT):
            await _openai_async(server.url("drip-headers"), stream=False)

    with pytest.raises(TimeoutError) as caught:
        _run(call())
    assert brief(hf.classify(caught.value)) == LATE  # by the caller's clock, with a cancel behind it


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
class TestTransports:
    """`httpx` and `httpx2` share no class, and every verdict."""

    def test_kinds(self, server: FaultServer, library: Any) -> None:
        """Each transport error is known by its name, raw, in both libraries."""
        expected = {
            "reset-before": "network",
            "eof-before": "network",
            "garbage": "network",
            "cut-body": "network",
            "bad-gzip": "malformed",
            "slow-headers": "timeout",
        }
        with library.Client(timeout=TIMEOUT) as client:
            for scenario, kind in expected.items():
                exc = raised(client.get, server.url(scenario, "/v1/x"))
                assert hf.classify(exc).kind == kind, scenario
                assert brief(judge_plain(exc)) == ("fail", "unknown", True, True, "endpoint")
            refused = raised(client.get, f"http://127.0.0.1:{closed_port()}")
            assert hf.classify(refused).kind == "connect"

    def test_status_error(self, server: FaultServer, library: Any) -> None:
        """`raise_for_status()` carries its facts for plain functions too."""
        with library.Client() as client:
            for scenario, outcome in {
                "status-400": "request",
                "status-503": "overloaded",
                "quota-insufficient_quota": "quota",
                "retry-after-float": "rate_limit",
            }.items():
                exc = raised(lambda url: client.get(url).raise_for_status(), server.url(scenario, "/v1/x"))
                assert judge_plain(exc).kind == hf.classify(exc).kind == outcome

    def test_unread_stream_stays_unread(self, server: FaultServer, library: Any) -> None:
        """An error of a stream whose body was not read is judged without reading it."""
        with library.Client() as client, client.stream("GET", server.url("status-503")) as response:
            exc = raised(lambda _: response.raise_for_status(), "")
            assert hf.classify(exc).kind == "overloaded"
            assert not response.is_stream_consumed

    def test_pool_exhausted(self, server: FaultServer, library: Any) -> None:
        """Our own pool has no free connection: nobody's failure, and the server never knew."""
        limits = library.Limits(max_connections=1)
        timeout = library.Timeout(TIMEOUT, read=5.0)
        url = server.url("ok", "/v1/x")
        with library.Client(limits=limits, timeout=timeout) as client, client.stream("GET", url):
            exc = raised(client.get, url)
        assert brief(hf.classify(exc)) == ("fail", "local", False, False, "nobody")

    def test_closed_client(self, server: FaultServer, library: Any) -> None:
        """A client used after its end is our own mistake."""
        client = library.Client()
        client.close()
        assert hf.classify(raised(client.get, server.url("ok"))).kind == "local"


def test_pool_exhausted_under_a_sdk(server: FaultServer) -> None:
    """openai calls it a timeout; the cause tells that it was our own pool."""
    http = httpx2.Client(limits=httpx2.Limits(max_connections=1), timeout=httpx2.Timeout(TIMEOUT, read=5.0))
    url = server.url("ok", "/v1")
    with openai.OpenAI(api_key="k", base_url=url, max_retries=0, http_client=http) as client:
        held = client.chat.completions.create(model="stub", messages=ASK, stream=True)
        brief_pool = client.with_options(timeout=httpx2.Timeout(TIMEOUT, read=5.0))
        ask = {"model": "stub", "messages": ASK}
        exc = raised(lambda _: brief_pool.chat.completions.create(**ask), "")
        held.close()
    assert type(exc).__name__ == "APITimeoutError"
    assert hf.classify(exc).kind == "local"


def test_missing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client without a key is our own mistake, not the provider's."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert hf.classify(raised(lambda _: openai.OpenAI(), "")).kind == "local"


def test_structured_output(server: FaultServer) -> None:
    """An answer that is not what was asked for is nobody's failure, and may be asked again."""
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str

    model = _chat_openai(server.url("ok")).with_structured_output(Person, method="json_mode")
    assert brief(hf.classify(raised(lambda _: model.invoke("hi"), ""))) == (
        "fail", "output", True, True, "nobody",
    )  # fmt: skip


def test_cancellation(server: FaultServer) -> None:
    """A cancelled call is neutral, and the client's connection is gone from the server."""

    async def call() -> BaseException:
        task = asyncio.ensure_future(_openai_async(server.url("slow-headers@9"), stream=False))
        while server.hits("slow-headers@9") == 0:  # noqa: ASYNC110 the server is another thread's
            await asyncio.sleep(0.005)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as exc:
            return exc
        raise AssertionError("the call was not cancelled")

    assert hf.classify(_LOOP.run(call())).outcome == "ignore"


def test_prompts_stay_out(server: FaultServer) -> None:
    """No verdict quotes the server's message, the request or a key."""
    for call in UNARY.values():
        verdict = hf.classify(raised(call, server.url("context-anthropic")))
        assert "300000" not in str(verdict) + repr(verdict)
