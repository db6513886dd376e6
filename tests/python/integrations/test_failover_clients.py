"""Several clients behind a manager: through `@manager`, and as one client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

import holdfast as hf
from faults import FaultServer
from faults.shapes import TEXT
from holdfast._localserver import Faults, LocalServer
from holdfast.clients import failover_client

WHOLE = "".join(TEXT)
ASK: list[Any] = [{"role": "user", "content": "hi"}]
LIMIT = 0.25
LATE = 1.5


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def client_of(server: FaultServer, scenario: str) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", base_url=server.url(scenario, "/v1"))


def async_client_of(server: FaultServer, scenario: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="k", base_url=server.url(scenario, "/v1"))


def local_client(server: LocalServer) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", base_url=server.base_url)


def nodes_of(server: FaultServer, *scenarios: str) -> list[hf.Node]:
    return [hf.Node(name, client_of(server, name)) for name in scenarios]


def text_of(answer: Any) -> str:
    said: str = answer.choices[0].message.content
    return said


# Through @manager


@pytest.mark.parametrize("scenario", ["slow-headers", "drip-headers", "drip-body"])
def test_the_attempt_clock_reaches_the_client_in_a_function(server: FaultServer, scenario: str) -> None:
    """The guard of a node's client is part of the attempt: the attempt's clock cuts its reads, not only the total."""
    server.forget()
    manager = hf.FailoverManager(nodes_of(server, scenario, "ok"), timeout=hf.Timeout(30.0, attempt=LATE))

    @manager
    def ask(node: hf.Node) -> str:
        return text_of(node.target.chat.completions.create(model="m", messages=ASK))

    began = time.monotonic()
    assert ask() == WHOLE
    assert time.monotonic() - began < 10.0


def test_a_deadline_block_inside_an_attempt_hides_no_clock(server: FaultServer) -> None:
    """Two guards around each other: the reads end with whichever clock is nearer, and the attempt says so."""
    server.forget()
    client = hf.Pipeline(retry=None)(client_of(server, "slow-headers"))

    @hf.Timeout(30.0, attempt=LIMIT)
    def ask() -> str:
        with hf.deadline(20.0):
            return text_of(client.chat.completions.create(model="m", messages=ASK))

    with pytest.raises(hf.CallTimeout) as raised:
        ask()
    assert (raised.value.which, raised.value.limit) == ("attempt", LIMIT)


@pytest.mark.parametrize("scenario", ["status-503", "status-429", "status-401", "empty-object", "html-200"])
def test_a_manager_goes_on_at_the_next_client(server: FaultServer, scenario: str) -> None:
    """The SDK's own retries are off, answers that are none count as failures, and the next node answers."""
    server.forget()
    manager = hf.FailoverManager(nodes_of(server, scenario, "ok"))

    @manager
    def ask(node: hf.Node, question: str) -> str:
        made = node.target.chat.completions.create(
            model="m", messages=[{"role": "user", "content": question}]
        )
        return text_of(made)

    assert ask("hi") == WHOLE
    assert server.hits(scenario) == 1
    assert server.hits("ok") == 1


async def test_a_manager_takes_asynchronous_clients_too(server: FaultServer) -> None:
    """As a coroutine function, and as an async generator of a stream that begins elsewhere."""
    nodes = [hf.Node(name, async_client_of(server, name)) for name in ("cut-role", "ok")]
    manager = hf.FailoverManager(nodes)

    @manager
    async def words(node: hf.Node) -> Any:
        async with await node.target.chat.completions.create(model="m", messages=ASK, stream=True) as stream:
            async for chunk in stream:
                yield chunk.choices[0].delta.content or ""

    assert "".join([word async for word in words()]) == WHOLE


def test_the_callers_own_fault_stays(server: FaultServer) -> None:
    """A 400 is raised as it is: no other node is asked."""
    server.forget()
    manager = hf.FailoverManager(nodes_of(server, "status-400", "ok"))
    with pytest.raises(openai.BadRequestError):
        manager.run(lambda node: node.target.chat.completions.create(model="m", messages=ASK))
    assert server.hits("ok") == 0


def test_the_managers_clocks_reach_the_clients_waits(server: FaultServer) -> None:
    """A drip of bytes on one node: its attempt ends in time and the next node answers."""
    manager = hf.FailoverManager(nodes_of(server, "drip-body", "ok"), timeout=hf.Timeout(attempt=LIMIT))
    began = time.monotonic()
    asked = manager.run(lambda node: node.target.chat.completions.create(model="m", messages=ASK))
    assert text_of(asked) == WHOLE
    assert time.monotonic() - began < LATE


def test_clients_of_different_makers_may_stand_together(server: FaultServer) -> None:
    """The function knows what each node speaks."""
    claude = anthropic.Anthropic(api_key="k", base_url=server.url("ok"))
    nodes = [*nodes_of(server, "status-500"), hf.Node("claude", claude)]
    manager = hf.FailoverManager(nodes)

    @manager
    def ask(node: hf.Node) -> str:
        if isinstance(node.target, anthropic.Anthropic):
            made = node.target.messages.create(model="m", messages=ASK, max_tokens=9)
            return "".join(block.text for block in made.content if block.type == "text")
        return text_of(node.target.chat.completions.create(model="m", messages=ASK))

    assert ask() == WHOLE


def test_a_client_that_joins_later_is_treated_like_the_first(server: FaultServer) -> None:
    """`add_node` switches the SDK's retries off as well."""
    server.forget()
    manager = hf.FailoverManager(nodes_of(server, "ok"))
    manager.add_node(hf.Node("late", client_of(server, "status-503"), tier=1))
    manager.disable("ok")
    with pytest.raises(openai.InternalServerError):
        manager.run(lambda node: node.target.chat.completions.create(model="m", messages=ASK))
    assert server.hits("status-503") == 1


def test_a_managers_own_door_does_not_take_clients(server: FaultServer) -> None:
    """A client is no callable: `call` says so."""
    manager = hf.FailoverManager(nodes_of(server, "ok"))
    with pytest.raises(hf.ConfigurationError):
        manager.call(model="m", messages=ASK)


# As one client


def pool(server: FaultServer, *scenarios: str, **fields: Any) -> Any:
    fields = {"retry": hf.Retry(3, backoff=0, budget=None), **fields}
    return failover_client(openai.OpenAI, nodes_of(server, *scenarios), **fields)


def test_a_pool_is_a_client_of_the_class(server: FaultServer) -> None:
    """`isinstance` holds, and whole answers, streams and helpers go on at the next node."""
    client = pool(server, "status-503", "ok")
    assert isinstance(client, openai.OpenAI)
    assert text_of(client.chat.completions.create(model="m", messages=ASK)) == WHOLE
    with client.chat.completions.stream(model="m", messages=ASK) as stream:
        assert text_of(stream.get_final_completion()) == WHOLE
    assert client.responses.create(model="m", input="hi").output_text == WHOLE
    raw = client.chat.completions.with_raw_response.create(model="m", messages=ASK)
    assert text_of(raw.parse()) == WHOLE
    assert client.metrics.failovers >= 1
    assert set(client.manager.nodes) == {"status-503", "ok"}


@pytest.mark.parametrize("scenario", ["cut-tool", "empty-stream", "cut-role", "status-401"])
def test_a_stream_moves_until_its_first_content(server: FaultServer, scenario: str) -> None:
    """What was not handed out may come from another node."""
    stream = pool(server, scenario, "ok").chat.completions.create(model="m", messages=ASK, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == WHOLE
    assert stream.response.url.path.startswith("/s/ok/")


async def test_an_asynchronous_pool(server: FaultServer) -> None:
    """The same for asynchronous clients."""
    nodes = [hf.Node(name, async_client_of(server, name)) for name in ("reset-before", "ok")]
    client = failover_client(openai.AsyncOpenAI, nodes)
    assert text_of(await client.chat.completions.create(model="m", messages=ASK)) == WHOLE
    stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
    assert len([chunk async for chunk in stream]) > 3


def test_each_node_is_asked_for_the_model_by_its_own_name() -> None:
    """`models` maps names per node: one for all, or by the name that was asked for."""
    with LocalServer("a") as a, LocalServer("b") as b, LocalServer("c") as c:
        nodes = [hf.Node("a", local_client(a)), hf.Node("b", local_client(b)), hf.Node("c", local_client(c))]
        models = {"b": "b-large", "c": {"large": "c-large"}}
        client = failover_client(openai.OpenAI, nodes, models=models, balancer="round_robin")
        for model in ("large", "large", "large", "small", "small", "small"):
            client.chat.completions.create(model=model, messages=ASK)
        client.embeddings.create(model="large", input="x")
        assert [request["model"] for request in a.requests] == ["large", "small", "large"]
        assert [request["model"] for request in b.requests] == ["b-large", "b-large"]
        assert [request["model"] for request in c.requests] == ["c-large", "small"]


def test_each_node_has_its_own_key_and_address() -> None:
    """The request goes out with the client of the node: its credential, its headers."""
    with FaultServer() as server:
        targets = [
            openai.OpenAI(
                api_key=f"key-{n}", base_url=server.url(f"ok~{n}", "/v1"), default_headers={"x-own": f"{n}"}
            )
            for n in range(2)
        ]
        nodes = [hf.Node(f"n{n}", target) for n, target in enumerate(targets)]
        client = failover_client(openai.OpenAI, nodes)
        changed = client.with_options(default_headers={"x-all": "yes"}, timeout=9.0)
        for _ in range(2):
            changed.chat.completions.create(model="m", messages=ASK)
        sent = [
            (r.scenario, r.headers["authorization"], r.headers["x-own"], r.headers["x-all"])
            for r in server.requests
        ]
        assert sent == [("ok~0", "Bearer key-0", "0", "yes"), ("ok~1", "Bearer key-1", "1", "yes")]
        with pytest.raises(hf.ConfigurationError, match="api_key"):
            client.with_options(api_key="other")


def test_one_attempt_if_asked_for(server: FaultServer) -> None:
    """`with_options(max_retries=0)` of a pool asks one node once."""
    server.forget()
    client = pool(server, "status-503", "ok")
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=0).chat.completions.create(model="m", messages=ASK)
    assert server.hits("ok") == 0


def test_guards_inside_and_outside_a_pool(server: FaultServer) -> None:
    """A node's client may have a breaker of its own, and a policy may stand around the whole."""
    inner = hf.CircuitBreaker("inner")
    outer = hf.CircuitBreaker("outer")
    nodes = [hf.Node("a", inner(client_of(server, "status-503"))), hf.Node("b", client_of(server, "ok"))]
    client: Any = outer(failover_client(openai.OpenAI, nodes))
    assert text_of(client.chat.completions.create(model="m", messages=ASK)) == WHOLE
    assert inner.metrics.failures == 1
    assert outer.metrics.successes == 1


def test_bad_pools_are_refused(server: FaultServer) -> None:
    """Another class, a model for no node, a field that the manager does not take: each names itself."""
    nodes = nodes_of(server, "ok")
    with pytest.raises(hf.ConfigurationError, match="target"):
        failover_client(openai.AsyncOpenAI, nodes)
    with pytest.raises(hf.ConfigurationError, match="models"):
        failover_client(openai.OpenAI, nodes, models={"nobody": "m"})
    with pytest.raises(hf.ConfigurationError, match="exhausted"):
        failover_client(openai.OpenAI, nodes, exhausted="never")


def test_a_pool_that_fails_every_other_request_answers_all() -> None:
    """Both nodes refuse every second request: ten calls, ten answers."""
    with LocalServer("a") as a, LocalServer("b") as b:
        for node in (a, b):
            node.faults = Faults(status=503, every=2)
        nodes = [hf.Node("a", local_client(a)), hf.Node("b", local_client(b))]
        client = failover_client(openai.OpenAI, nodes, retry=hf.Retry(4, backoff=0, budget=None))
        for _ in range(10):
            assert client.chat.completions.create(model="m", messages=ASK).choices


def test_heartbeats_find_the_clients_address(server: FaultServer) -> None:
    """A probe's path joins the origin of the client's base URL."""
    with LocalServer("a") as a:
        beat = hf.Heartbeat(interval=0.05, probe=hf.HttpProbe("/health"))
        client: Any = failover_client(openai.OpenAI, [hf.Node("a", local_client(a))], heartbeat=beat)
        a.faults = Faults(health=503)
        with client.manager:
            end = time.monotonic() + 20.0
            while client.manager.nodes["a"].state != "down" and time.monotonic() < end:
                time.sleep(0.02)
        assert client.manager.nodes["a"].state == "down"


def test_an_http_client_of_ones_own_is_kept(server: FaultServer) -> None:
    """The node's own HTTP client carries its requests, bounded by our clocks."""
    own = httpx2.Client(headers={"x-http": "mine"})
    target = openai.OpenAI(api_key="k", base_url=server.url("ok", "/v1"), http_client=own)
    client = failover_client(openai.OpenAI, [hf.Node("a", target)])
    server.forget()
    client.chat.completions.create(model="m", messages=ASK)
    assert server.requests[-1].headers["x-http"] == "mine"
    own.close()
