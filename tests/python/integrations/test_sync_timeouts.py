"""The clocks of guarded sync calls, held against servers that stop, drip or only keep alive.

Real clients on real sockets; the limits are fractions of a second, and what hangs here hangs for ever without us.
"""

from __future__ import annotations

import gc
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
import trustme
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import holdfast as hf
from faults import FaultServer
from holdfast.clients._bounded import Bounded, bounded
from holdfast.clients._copies import quiet
from holdfast.langchain._copies import quiet_model
from holdfast.testing import ManualClock

LIMIT = 0.5
"""Seconds of our clocks: long enough for a new client to have sent its request on a busy machine."""
LATE = 2.5
"""Seconds after which a call was not cut by them, however busy the machine is."""
TLS = ssl.create_default_context()
"""One for all: to read the certificates takes most of the time that making a client takes."""
ASK: list[Any] = [{"role": "user", "content": "hi"}]

Ask = Callable[[str], Any]
"""Makes one call on a base URL; a stream is returned unread."""


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """A plain server."""
    with FaultServer() as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whoever certifies the server: made anew for each run."""
    return trustme.CA()


@pytest.fixture(scope="module")
def secure(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """A server that speaks TLS."""
    folder, issued = tmp_path_factory.mktemp("tls"), authority.issue_cert("localhost", "127.0.0.1")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    with FaultServer(tls=(certificate, key)) as running:
        yield running


def fresh() -> Any:
    return httpx2.Client(timeout=None, verify=TLS)


def ask_openai(url: str, *, stream: bool = False) -> Any:
    client = quiet(openai.OpenAI(api_key="k", base_url=f"{url}/v1", timeout=None, http_client=fresh()))
    return client.chat.completions.create(model="m", messages=ASK, stream=stream)


def ask_anthropic(url: str, *, stream: bool = False) -> Any:
    client = quiet(anthropic.Anthropic(api_key="k", base_url=url, timeout=None, http_client=fresh()))
    return client.messages.create(model="m", messages=ASK, max_tokens=9, stream=stream)


def chat_openai(url: str) -> ChatOpenAI:
    return ChatOpenAI(model="m", api_key=SecretStr("k"), base_url=f"{url}/v1")


def chat_anthropic(url: str) -> ChatAnthropic:
    return ChatAnthropic(model_name="m", api_key=SecretStr("k"), base_url=url, timeout=None, stop=None)


def ask_httpx(url: str) -> Any:
    return bounded(httpx.Client(timeout=None, verify=TLS)).post(f"{url}/v1/chat/completions", json={})


def ask_httpx2(url: str) -> Any:
    return bounded(fresh()).post(f"{url}/v1/chat/completions", json={})


UNARY: dict[str, Ask] = {
    "openai": ask_openai,
    "anthropic": ask_anthropic,
    "ChatOpenAI": lambda url: quiet_model(chat_openai(url)).invoke("hi"),
    "ChatAnthropic": lambda url: quiet_model(chat_anthropic(url)).invoke("hi"),
    "httpx": ask_httpx,
    "httpx2": ask_httpx2,
}
STREAMS: dict[str, Ask] = {
    "openai": lambda url: ask_openai(url, stream=True),
    "anthropic": lambda url: ask_anthropic(url, stream=True),
    "ChatOpenAI": lambda url: quiet_model(chat_openai(url)).stream("hi"),
    "ChatAnthropic": lambda url: quiet_model(chat_anthropic(url)).stream("hi"),
}


def guarded(**limits: Any) -> hf.Pipeline:
    return hf.Pipeline(timeout=hf.Timeout(**limits), classify=hf.classify)


def cut(call: Callable[[], object], which: str) -> hf.CallTimeout:
    """The timeout of a call that our clock `which` must end soon."""
    began = time.monotonic()
    with pytest.raises(hf.CallTimeout) as caught:
        call()
    assert time.monotonic() - began < LATE
    assert caught.value.which == which
    return caught.value


def own_threads() -> set[int | None]:
    """The threads of this process without those on which the server answers."""
    return {thread.ident for thread in threading.enumerate() if "process_request" not in thread.name}


@pytest.mark.parametrize("scenario", ["slow-headers", "drip-headers", "drip-body"])
@pytest.mark.parametrize("client", UNARY)
def test_a_unary_call_is_cut_in_every_phase(server: FaultServer, client: str, scenario: str) -> None:
    """Silence before the headers, headers that drip, a body that drips: one request, and the limit holds."""
    before = server.hits(scenario)
    timeout = cut(lambda: guarded(attempt=LIMIT).call(UNARY[client], server.url(scenario)), "attempt")
    assert timeout.__cause__ is not None
    assert server.hits(scenario) == before + 1


@pytest.mark.parametrize("scenario", ["slow-headers", "drip-headers", "slow-first", "keepalive-only"])
@pytest.mark.parametrize("client", STREAMS)
def test_a_stream_that_never_begins_is_cut(server: FaultServer, client: str, scenario: str) -> None:
    """Until the first item the first-item clock runs, whatever bytes come."""
    before = server.hits(scenario)
    stream = guarded(first_item=LIMIT).stream(STREAMS[client], server.url(scenario))
    cut(lambda: next(stream), "first_item")
    assert server.hits(scenario) == before + 1


@pytest.mark.parametrize("scenario", ["stall", "keepalive-mid"])
@pytest.mark.parametrize("client", STREAMS)
def test_a_stream_that_stalls_is_cut(server: FaultServer, client: str, scenario: str) -> None:
    """After items came, the idle clock runs for each next one; keep-alives do not feed it."""
    stream = guarded(idle=LIMIT).stream(STREAMS[client], server.url(scenario))
    received = [next(stream), next(stream)]
    timeout = cut(lambda: received.extend(stream), "idle")
    assert timeout.__cause__ is not None


def test_the_deadline_cuts_the_last_attempt(server: FaultServer) -> None:
    """The time left of the whole call reaches each attempt's reads."""
    pipeline = hf.Pipeline(
        retry=hf.Retry(5, backoff=0.0, budget=None),
        timeout=hf.Timeout(2.5 * LIMIT, attempt=LIMIT),
        classify=hf.classify,
    )
    before = server.hits("drip-headers")
    cut(lambda: pipeline.call(ask_openai, server.url("drip-headers")), "total")
    assert 2 <= server.hits("drip-headers") - before <= 3


def test_a_reused_connection_is_cut(server: FaultServer) -> None:
    """The second call over one connection is bounded like the first, and the connection is not used again."""
    client = bounded(httpx2.Client(timeout=None))
    url = server.url("ok", "/v1/chat/completions")
    assert client.post(url, json={}).status_code == 200
    before = server.connections
    dripping = server.url("drip-headers", "/v1/chat/completions")
    cut(lambda: guarded(attempt=LIMIT).call(client.post, dripping, json={}), "attempt")
    assert server.connections == before, "the connection was not reused"
    assert client.post(url, json={}).status_code == 200
    assert server.connections == before + 1


def test_siblings_are_unharmed(server: FaultServer) -> None:
    """While one call is cut, others over the same pool of connections get their answers."""
    client = bounded(httpx2.Client(timeout=None))
    slow, dead = server.url("slow-ok", "/v1/chat/completions"), server.url("slow-headers", "/v1/x")
    answers: list[Any] = []

    def sibling(pipeline: hf.Pipeline | None) -> None:
        call = client.post if pipeline is None else lambda *a, **k: pipeline.call(client.post, *a, **k)
        answers.append(call(slow, json={}).json())

    threads = [threading.Thread(target=sibling, args=(p,)) for p in (None, guarded(attempt=30.0))]
    for thread in threads:
        thread.start()
    cut(lambda: guarded(attempt=LIMIT).call(client.post, dead, json={}), "attempt")
    for thread in threads:
        thread.join()
    assert len(answers) == 2


def test_a_cached_client_shared_by_models_is_left_alone(server: FaultServer) -> None:
    """LangChain gives models of one address one HTTP client: the copy has connections of its own beside it."""
    url = server.url("drip-headers@1")
    model, sibling = chat_openai(url), chat_openai(url)
    shared = model.root_client._client
    assert shared is sibling.root_client._client
    transport = shared._transport
    copied = quiet_model(model)
    cut(lambda: guarded(attempt=LIMIT).call(copied.invoke, "hi"), "attempt")
    assert model.root_client._client is shared
    assert shared._transport is transport
    assert not isinstance(transport, Bounded)
    assert not shared.is_closed
    assert "Hello" in sibling.invoke("hi").text


def test_copies_of_one_client_share_connections(server: FaultServer) -> None:
    """A model wrapped for each request still reuses connections: there is one bounded pool per pool."""
    original = httpx2.Client(timeout=None)
    url = server.url("ok", "/v1/chat/completions")
    before = server.connections
    for _ in range(3):
        assert bounded(original).post(url, json={}).status_code == 200
    assert server.connections == before + 1
    copied = bounded(original)
    assert bounded(copied) is copied


def test_closing_a_copy_closes_nothing_shared(server: FaultServer) -> None:
    """A copy may be closed, and the original may be: neither takes the other's connections away."""
    original = openai.OpenAI(api_key="k", base_url=server.url("ok", "/v1"))
    copied, other = quiet(original), quiet(original)
    copied.close()
    for client in (original, other):
        assert client.chat.completions.create(model="m", messages=ASK).choices
    original.close()
    assert other.chat.completions.create(model="m", messages=ASK).choices


def test_settings_are_kept() -> None:
    """The copy's pool has the original's certificates, limits, proxies and socket options."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    limits = httpx2.Limits(max_connections=7, max_keepalive_connections=3, keepalive_expiry=11.0)
    context = ssl.create_default_context()
    proxy = httpx2.Proxy("http://proxy.invalid:3128", auth=("user", "word"))
    original: Any = httpx2.Client(
        transport=httpx2.HTTPTransport(verify=context, limits=limits, socket_options=options, retries=2),
        mounts={"https://": httpx2.HTTPTransport(proxy=proxy), "all://local": None},
        headers={"x-own": "1"},
        timeout=3.0,
    )
    copied = bounded(original)
    ours, theirs = copied._transport._transport._pool, original._transport._pool
    private = ("_connections", "_requests", "_optional_thread_lock", "_network_backend")
    shared = {name: value for name, value in vars(theirs).items() if name not in private}
    assert {name: vars(ours)[name] for name in shared} == shared
    assert ours._ssl_context is context
    assert all(vars(ours)[name] is not vars(theirs)[name] for name in private)
    mounts = {pattern.pattern: transport for pattern, transport in copied._mounts.items()}
    assert mounts["all://local"] is None
    assert type(mounts["https://"]._transport._pool).__name__ == "HTTPProxy"
    assert copied.headers["x-own"] == "1"
    assert copied.timeout == original.timeout


def test_the_consumers_time_is_its_own(server: FaultServer) -> None:
    """Between items no clock runs: a consumer may take an hour for each."""
    with ManualClock() as clock:
        stream = guarded(first_item=LIMIT, idle=LIMIT).stream(STREAMS["openai"], server.url("ok"))
        received = 0
        for _ in stream:
            received += 1
            clock.advance(3600.0)
    assert received > 3


def test_a_clock_moved_by_hand_cuts_too(server: FaultServer) -> None:
    """A read that waits on a manual clock ends when that clock has passed the limit, and not before."""
    scenario = "slow-headers@8"

    def advance(clock: ManualClock) -> None:
        while server.hits(scenario) == 0:
            time.sleep(0.005)
        clock.advance(59.0)
        clock.advance(2.0)

    with ManualClock() as clock:
        mover = threading.Thread(target=advance, args=(clock,))
        mover.start()
        with pytest.raises(hf.CallTimeout):
            guarded(attempt=60.0).call(ask_openai, server.url(scenario))
        mover.join()


def test_time_that_stands_still_cuts_nothing(server: FaultServer) -> None:
    """Under a manual clock that nobody moves, an answer slower than the limit in real time is in time."""
    with ManualClock():
        answer = guarded(attempt=LIMIT).call(ask_openai, server.url("slow-ok"))
    assert answer.choices


def test_tls(secure: FaultServer, authority: trustme.CA) -> None:
    """Over TLS: an answer comes, silence and drip are cut."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    client = bounded(httpx2.Client(verify=context, timeout=None))
    assert client.post(secure.url("ok", "/v1/chat/completions"), json={}).status_code == 200
    for scenario in ("slow-headers", "drip-headers", "drip-body"):
        url = secure.url(scenario, "/v1/chat/completions")
        cut(partial(guarded(attempt=LIMIT).call, client.post, url, json={}), "attempt")


def test_a_handshake_that_stalls_is_cut() -> None:
    """A server that accepts and never answers the TLS hello."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        client = bounded(httpx2.Client(timeout=None, verify=ssl.create_default_context()))
        url = f"https://127.0.0.1:{deaf.getsockname()[1]}/"
        cut(lambda: guarded(attempt=LIMIT).call(client.get, url), "attempt")


def test_a_connection_that_is_never_made_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that do not answer share the time that is left; the socket's own loop would give it to each."""
    asked: list[float] = []

    def connect(address: Any, timeout: float, **options: Any) -> socket.socket:
        asked.append(timeout)
        time.sleep(timeout)
        raise TimeoutError("timed out")

    def look_up(host: str, port: int, *rest: Any, **more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{n}", port)) for n in range(8)]

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    client = bounded(httpx2.Client(timeout=None))
    cut(lambda: guarded(attempt=LIMIT).call(client.get, "http://black.hole/"), "attempt")
    assert sum(asked) < LATE


def test_an_unframed_body_that_is_cut_is_no_answer(server: FaultServer) -> None:
    """A body that only its connection's end would end must not look complete because we ended the wait."""
    client = bounded(httpx2.Client(timeout=None))
    url = server.url("stall-unframed", "/v1/chat/completions")
    ask = {"stream": True}
    cut(lambda: guarded(attempt=LIMIT).call(client.post, url, json=ask), "attempt")


def test_a_full_pool_is_local(server: FaultServer) -> None:
    """Waiting for one of our own connections is bounded too, and no failure of the server."""
    limits = httpx2.Limits(max_connections=1)
    http = httpx2.Client(timeout=None, transport=httpx2.HTTPTransport(limits=limits))
    client = quiet(
        openai.OpenAI(api_key="k", base_url=server.url("ok", "/v1"), http_client=http, timeout=None)
    )
    held = client.chat.completions.create(model="m", messages=ASK, stream=True)
    with pytest.raises(openai.APITimeoutError) as caught:
        guarded(attempt=LIMIT).call(client.chat.completions.create, model="m", messages=ASK)
    held.close()
    assert hf.classify(caught.value).kind == "local"


def test_outside_a_guard_the_copy_is_as_the_original(server: FaultServer) -> None:
    """Unguarded, the client's own timeouts hold and nothing else."""
    client = bounded(httpx2.Client(timeout=LIMIT))
    with pytest.raises(httpx2.ReadTimeout):
        client.get(server.url("slow-headers", "/v1/x"))
    with pytest.raises(httpx2.ReadTimeout):
        guarded(attempt=30.0).call(client.get, server.url("slow-headers", "/v1/x"))


def test_a_transport_of_the_users_own_is_left_as_it_is() -> None:
    """What has no pool we know cannot be bounded, and works as before."""
    client = httpx2.Client(transport=httpx2.MockTransport(lambda request: httpx2.Response(204)))
    assert bounded(client) is client
    assert guarded(attempt=LIMIT).call(client.get, "http://nowhere/").status_code == 204


def test_nothing_is_left_behind(server: FaultServer) -> None:
    """No thread watches and no connection stays open once the copies are gone."""
    threads = own_threads()
    client = bounded(httpx2.Client(timeout=None))
    backend = client._transport._transport._pool._network_backend
    for scenario in ("ok", "drip-headers"):
        url = server.url(scenario, "/v1/chat/completions")
        try:
            guarded(attempt=LIMIT).call(client.post, url, json={})
        except hf.CallTimeout:
            assert scenario == "drip-headers"
    assert own_threads() == threads
    assert client.post(server.url("ok", "/v1/chat/completions"), json={}).status_code == 200
    (idle,) = backend._open
    connection = idle.get_extra_info("socket")
    del client, backend, idle
    gc.collect()
    assert connection.fileno() == -1
