"""The clients of openai and anthropic behind a pipeline: the same classes, methods and answers, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

import holdfast as hf
from faults import FaultServer
from faults.shapes import TEXT
from holdfast._localserver import Faults, LocalServer

WHOLE, HALF = "".join(TEXT), "".join(TEXT[:2])
ASK: list[Any] = [{"role": "user", "content": "hi"}]
TLS = ssl.create_default_context()
"""One for all: to read the certificates takes most of the time that making a client takes."""
LIMIT = 0.25
"""Seconds of our clocks."""
LATE = 1.5
"""Seconds after which a call was not cut by them, however busy the machine is."""


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def pipeline(attempts: int = 3, **fields: Any) -> hf.Pipeline:
    fields = {"breaker": hf.CircuitBreaker(failure_threshold=100), **fields}
    return hf.Pipeline(retry=hf.Retry(attempts, backoff=0, budget=None), **fields)


def http() -> httpx2.Client:
    return httpx2.Client(verify=TLS)


def async_http() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(verify=TLS)


def sync_openai(url: str) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", base_url=f"{url}/v1", http_client=http())


def async_openai(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", http_client=async_http())


def sync_anthropic(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url=url, http_client=http())


def async_anthropic(url: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="k", base_url=url, http_client=async_http())


MAKERS: dict[str, Callable[[str], Any]] = {
    "OpenAI": sync_openai,
    "AsyncOpenAI": async_openai,
    "Anthropic": sync_anthropic,
    "AsyncAnthropic": async_anthropic,
}

every_client = pytest.mark.parametrize("name", MAKERS)


# Every way to ask, as one coroutine function for both colours: what it gives is compared with the bare client's.


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def drained(items: Any) -> list[Any]:
    if hasattr(items, "__aiter__"):
        return [item async for item in items]
    return list(items)


async def until(true: Callable[[], bool]) -> None:
    """Waits for what the server sees; the test's own time limit ends it."""
    while not true():  # noqa: ASYNC110 the server is another thread
        await asyncio.sleep(0.005)


class Entered:
    """`with` and `async with` as one."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._async = hasattr(manager, "__aenter__")

    async def __aenter__(self) -> Any:
        return await self._manager.__aenter__() if self._async else self._manager.__enter__()

    async def __aexit__(self, *exc: Any) -> Any:
        return await self._manager.__aexit__(*exc) if self._async else self._manager.__exit__(*exc)


def plain(value: Any) -> Any:
    """What can be compared, of anything that a client gives."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    dump = getattr(value, "to_dict", None)
    return dump() if callable(dump) else value


async def chat_create(client: Any) -> Any:
    return await settled(client.chat.completions.create(model="m", messages=ASK))


async def chat_create_stream(client: Any) -> Any:
    return await drained(await settled(client.chat.completions.create(model="m", messages=ASK, stream=True)))


async def chat_parse(client: Any) -> Any:
    return (await settled(client.chat.completions.parse(model="m", messages=ASK))).choices[0].message.content


async def chat_stream(client: Any) -> Any:
    async with Entered(client.chat.completions.stream(model="m", messages=ASK)) as stream:
        kinds = [event.type for event in await drained(stream)]
        final = await settled(stream.get_final_completion())
        return kinds, final.choices[0].message.content, stream._response.status_code


async def chat_raw(client: Any) -> Any:
    raw = await settled(client.chat.completions.with_raw_response.create(model="m", messages=ASK))
    return type(raw), raw.status_code, plain(raw.parse())


async def chat_raw_stream(client: Any) -> Any:
    raw = await settled(
        client.chat.completions.with_raw_response.create(model="m", messages=ASK, stream=True)
    )
    return type(raw), raw.status_code, plain(await drained(raw.parse()))


async def chat_streaming_response(client: Any) -> Any:
    asked = client.chat.completions.with_streaming_response.create(model="m", messages=ASK)
    async with Entered(asked) as response:
        return type(response), response.status_code, plain(await settled(response.parse()))


async def chat_streaming_response_events(client: Any) -> Any:
    asked = client.chat.completions.with_streaming_response.create(model="m", messages=ASK, stream=True)
    async with Entered(asked) as response:
        return type(response), plain(await drained(await settled(response.parse())))


async def chat_streaming_response_lines(client: Any) -> Any:
    asked = client.chat.completions.with_streaming_response.create(model="m", messages=ASK, stream=True)
    async with Entered(asked) as response:
        return type(response), await drained(response.iter_lines())


async def legacy_create(client: Any) -> Any:
    return await settled(client.completions.create(model="m", prompt="hi"))


async def legacy_create_stream(client: Any) -> Any:
    return await drained(await settled(client.completions.create(model="m", prompt="hi", stream=True)))


async def responses_create(client: Any) -> Any:
    return await settled(client.responses.create(model="m", input="hi"))


async def responses_create_stream(client: Any) -> Any:
    return await drained(await settled(client.responses.create(model="m", input="hi", stream=True)))


async def responses_parse(client: Any) -> Any:
    return (await settled(client.responses.parse(model="m", input="hi"))).output_text


async def responses_stream(client: Any) -> Any:
    async with Entered(client.responses.stream(model="m", input="hi")) as stream:
        kinds = [event.type for event in await drained(stream)]
        return kinds, (await settled(stream.get_final_response())).output_text


async def with_options(client: Any) -> Any:
    changed = client.with_options(timeout=7.0, default_headers={"x-own": "1"})
    return await settled(changed.chat.completions.create(model="m", messages=ASK))


async def messages_create(client: Any) -> Any:
    return await settled(client.messages.create(model="m", messages=ASK, max_tokens=9))


async def messages_create_stream(client: Any) -> Any:
    made = await settled(client.messages.create(model="m", messages=ASK, max_tokens=9, stream=True))
    return await drained(made)


async def messages_stream(client: Any) -> Any:
    async with Entered(client.messages.stream(model="m", messages=ASK, max_tokens=9)) as stream:
        texts = await drained(stream.text_stream)
        return texts, plain(await settled(stream.get_final_message())), stream.response.status_code


async def messages_raw(client: Any) -> Any:
    raw = await settled(client.messages.with_raw_response.create(model="m", messages=ASK, max_tokens=9))
    return type(raw), raw.status_code, plain(await settled(raw.parse()))


async def messages_streaming_response(client: Any) -> Any:
    how = {"model": "m", "messages": ASK, "max_tokens": 9, "stream": True}
    async with Entered(client.messages.with_streaming_response.create(**how)) as response:
        return type(response), plain(await drained(await settled(response.parse())))


async def beta_messages(client: Any) -> Any:
    return await settled(client.beta.messages.create(model="m", messages=ASK, max_tokens=9))


async def beta_messages_stream(client: Any) -> Any:
    async with Entered(client.beta.messages.stream(model="m", messages=ASK, max_tokens=9)) as stream:
        return await drained(stream.text_stream)


OPENAI = [
    chat_create, chat_create_stream, chat_parse, chat_stream, chat_raw, chat_raw_stream, chat_streaming_response,
    chat_streaming_response_events, chat_streaming_response_lines, legacy_create,
    legacy_create_stream, responses_create, responses_create_stream,
    responses_parse, responses_stream, with_options,
]  # fmt: skip
ANTHROPIC = [
    messages_create, messages_create_stream, messages_stream, messages_raw, messages_streaming_response,
    beta_messages, beta_messages_stream,
]  # fmt: skip
WAYS = [
    *(
        pytest.param(name, way, id=f"{name}-{way.__name__}")
        for name in ("OpenAI", "AsyncOpenAI")
        for way in OPENAI
    ),
    *(
        pytest.param(name, way, id=f"{name}-{way.__name__}")
        for name in ("Anthropic", "AsyncAnthropic")
        for way in ANTHROPIC
    ),
]

Way = Callable[[Any], Awaitable[Any]]


@pytest.mark.parametrize(("name", "way"), WAYS)
async def test_every_method_answers_as_the_bare_client_does(server: FaultServer, name: str, way: Way) -> None:
    """On a healthy server nothing differs: values, types, events; and each call is one request, one success."""
    scenario = f"ok~{name}-{way.__name__}"
    bare = MAKERS[name](server.url(scenario))
    guarded = pipeline()(bare)
    expected = plain(await way(bare))
    asked = server.hits(scenario)
    assert plain(await way(guarded)) == expected
    assert server.hits(scenario) == 2 * asked
    metrics = guarded.metrics
    assert metrics.in_flight == 0
    assert metrics.successes + metrics.ignored == metrics.calls > 0


@pytest.mark.parametrize(("name", "way"), WAYS)
@pytest.mark.parametrize("fault", ["status-503", "reset-before"])
async def test_every_method_survives_a_failing_server(
    server: FaultServer, name: str, way: Way, fault: str
) -> None:
    """Whatever the method, the first request fails and the second answers: one retry, ours."""
    scenario = f"{fault}@1~{name}-{way.__name__}"
    guarded = pipeline()(MAKERS[name](server.url(scenario)))
    await way(guarded)
    assert server.hits(scenario) == 2


# What it is


@every_client
def test_it_is_a_client_of_the_same_class(server: FaultServer, name: str) -> None:
    """`isinstance` holds, the class keeps its name, and the user's own object stays what it was."""
    own = MAKERS[name](server.url("ok"))
    before = dict(vars(own))
    for policy in (hf.Retry(2), hf.CircuitBreaker(), hf.Timeout(5.0), pipeline(), hf.llm_defaults()):
        guarded = policy(own)
        assert isinstance(guarded, type(own))
        assert type(guarded).__name__ == name
        assert guarded.max_retries == 0
        assert guarded.base_url == own.base_url
        assert inspect.signature(guarded.with_options) == inspect.signature(own.with_options)
    assert type(own).__module__.startswith(name.removeprefix("Async").lower())
    assert {key: value for key, value in vars(own).items() if key in before} == before
    assert own.max_retries == 2


def test_it_shows_its_pipeline(server: FaultServer) -> None:
    """`pipeline`, `breaker` and `metrics`, like every guard."""
    breaker = hf.CircuitBreaker("front")
    guard = hf.Pipeline(breaker=breaker)
    client: Any = guard(sync_openai(server.url("ok")))
    assert client.pipeline is guard
    assert client.breaker is breaker
    assert client.metrics.calls == 0


def test_stacked_policies_all_hold(server: FaultServer) -> None:
    """A policy around a guarded client is one more layer: the breaker inside sees every attempt of the retry."""
    breaker = hf.CircuitBreaker(failure_threshold=10)
    client: Any = hf.Retry(3, backoff=0, budget=None)(breaker(sync_openai(server.url("status-503@1"))))
    server.forget()
    chunks = list(client.chat.completions.create(model="m", messages=ASK, stream=True))
    assert chunks
    assert client.chat.completions.create(model="m", messages=ASK).choices
    assert server.hits("status-503@1") == 3
    assert breaker.metrics.successes == 2
    assert breaker.metrics.failures == 1


def test_a_client_of_a_client_keeps_its_guard(server: FaultServer) -> None:
    """`with_options` and `copy` give guarded clients behind the same pipeline."""
    client: Any = pipeline()(sync_openai(server.url("status-503@1")))
    server.forget()
    changed = client.with_options(timeout=3.0).copy(default_headers={"x-own": "1"})
    assert changed.chat.completions.create(model="m", messages=ASK).choices
    assert server.hits("status-503@1") == 2
    assert server.requests[-1].headers["x-own"] == "1"
    assert changed.metrics.calls == client.metrics.calls == 2


def test_max_retries_of_a_copy_turns_ours_off_or_means_nothing(server: FaultServer) -> None:
    """A2: `max_retries=0` is one attempt; another number does not bring the SDK's retries back."""
    client: Any = pipeline()(sync_openai(server.url("status-503")))
    for retries, requests in ((0, 1), (5, 3)):
        server.forget()
        with pytest.raises(openai.InternalServerError):
            client.with_options(max_retries=retries).chat.completions.create(model="m", messages=ASK)
        assert server.hits("status-503") == requests


# What is raised, and when


@every_client
@pytest.mark.parametrize("stream", [False, True])
async def test_the_callers_own_fault_is_raised_where_the_call_is_made(
    server: FaultServer, name: str, stream: bool
) -> None:
    """A 400 is the SDK's own error, from `create` itself even for a stream, after one request."""
    server.forget()
    client = pipeline()(MAKERS[name](server.url("status-400")))
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)):
        await settled(_create(client, stream=stream))
    assert server.hits("status-400") == 1


@every_client
async def test_exhausted_attempts_raise_the_sdks_error_with_its_history(
    server: FaultServer, name: str
) -> None:
    """The last original exception, with a note of the attempts."""
    client = pipeline()(MAKERS[name](server.url("status-500")))
    with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)) as raised:
        await settled(_create(client))
    assert len(hf.history(raised.value)) == 3


@every_client
@pytest.mark.parametrize("scenario", ["cut-clean", "cut-unframed"])
async def test_a_cut_stream_is_truncated(server: FaultServer, name: str, scenario: str) -> None:
    """What the SDK takes for whole is refused, with what had come."""
    client = pipeline()(MAKERS[name](server.url(scenario)))
    stream = await settled(_create(client, stream=True))
    with pytest.raises(hf.Truncated) as refused:
        await drained(stream)
    assert refused.value.received == HALF


@pytest.mark.parametrize("scenario", ["cut-clean", "cut-unframed"])
@pytest.mark.parametrize("name", ["OpenAI", "AsyncOpenAI"])
async def test_a_cut_legacy_stream_is_truncated(server: FaultServer, name: str, scenario: str) -> None:
    """A completion of a prompt ends with its marker too; one that never begins is asked again."""
    client = pipeline()(MAKERS[name](server.url(scenario)))
    stream = await settled(client.completions.create(model="m", prompt="hi", stream=True))
    with pytest.raises(hf.Truncated) as refused:
        await drained(stream)
    assert refused.value.received == HALF
    server.forget()
    client = pipeline()(MAKERS[name](server.url("empty-stream@1~legacy")))
    assert await drained(await settled(client.completions.create(model="m", prompt="hi", stream=True)))
    assert server.hits("empty-stream@1~legacy") == 2


@every_client
async def test_a_broken_stream_is_interrupted(server: FaultServer, name: str) -> None:
    """After the first content a reset is `StreamInterrupted`, never the SDK's own error."""
    client = pipeline()(MAKERS[name](server.url("cut-framed")))
    stream = await settled(_create(client, stream=True))
    with pytest.raises(hf.StreamInterrupted) as broken:
        await drained(stream)
    assert broken.value.received == HALF


@every_client
@pytest.mark.parametrize("scenario", ["cut-tool", "empty-stream", "cut-role"])
async def test_before_the_first_content_the_next_attempt_answers(
    server: FaultServer, name: str, scenario: str
) -> None:
    """Half a tool call, nothing, a role: none of it is handed out."""
    server.forget()
    client = pipeline()(MAKERS[name](server.url(f"{scenario}@1")))
    assert await drained(await settled(_create(client, stream=True)))
    assert server.hits(f"{scenario}@1") == 2


@every_client
@pytest.mark.parametrize("scenario", ["html-200", "empty-object"])
@pytest.mark.parametrize("raw", [False, True])
async def test_answers_that_are_none_are_refused(
    server: FaultServer, name: str, scenario: str, raw: bool
) -> None:
    """The SDK returns a string, or an object of nothing: here it is tried again, and then refused."""
    server.forget()
    client = pipeline(2)(MAKERS[name](server.url(scenario)))
    with pytest.raises(hf.Truncated):
        await settled(_create(client, raw=raw))
    assert server.hits(scenario) == 2


@every_client
async def test_a_body_that_is_read_later_is_looked_at_then(server: FaultServer, name: str) -> None:
    """`with_streaming_response` hands out the head; what `parse` makes of the body must be an answer."""
    client = pipeline()(MAKERS[name](server.url("empty-object")))
    more = {} if name.endswith("OpenAI") else {"max_tokens": 9}
    made = (client.chat.completions if name.endswith("OpenAI") else client.messages).with_streaming_response
    async with Entered(made.create(model="m", messages=ASK, **more)) as response:
        assert response.status_code == 200
        with pytest.raises(hf.Truncated):
            await settled(response.parse())
        assert await settled(response.parse(to=str))


async def test_a_raw_stream_breaks_in_our_words(server: FaultServer) -> None:
    """The head of a response has been handed out, so nothing is tried again; what breaks is told as ever."""
    server.forget()
    client = pipeline()(sync_openai(server.url("cut-clean")))
    raw = client.chat.completions.with_raw_response.create(model="m", messages=ASK, stream=True)
    with pytest.raises(hf.Truncated):
        list(raw.parse())
    assert server.hits("cut-clean") == 1


def test_validate_is_asked_about_answers(server: FaultServer) -> None:
    """One's own validator is given the answer as the user would get it; `False` asks nobody."""
    asked: list[Any] = []

    def refuse(answer: Any) -> bool:
        asked.append(answer)
        return False

    strict: Any = hf.Pipeline(validate=refuse)(sync_openai(server.url("ok")))
    with pytest.raises(hf.Truncated, match="refused by validate"):
        strict.chat.completions.create(model="m", messages=ASK)
    assert asked[0].choices[0].message.content == WHOLE
    lax: Any = hf.Pipeline(validate=False)(sync_openai(server.url("empty-object")))
    assert lax.chat.completions.create(model="m", messages=ASK).choices is None


# Time


@every_client
@pytest.mark.parametrize("scenario", ["slow-headers", "drip-headers", "drip-body"])
async def test_a_call_ends_with_our_clock(server: FaultServer, name: str, scenario: str) -> None:
    """Sync or async, silence or a drip of bytes: the attempt's limit holds."""
    client = hf.Pipeline(timeout=hf.Timeout(attempt=LIMIT))(MAKERS[name](server.url(scenario)))
    began = time.monotonic()
    with pytest.raises(hf.CallTimeout) as late:
        await settled(_create(client))
    assert time.monotonic() - began < LATE
    assert late.value.which == "attempt"


@every_client
async def test_a_stream_ends_with_our_clocks(server: FaultServer, name: str) -> None:
    """Nothing but keep-alives before the first content, or after it: `CallTimeout` says which clock."""
    for scenario, which in (("keepalive-only", "first_item"), ("keepalive-mid", "idle")):
        timeout = hf.Timeout(first_item=LIMIT, idle=LIMIT)
        client = hf.Pipeline(timeout=timeout)(MAKERS[name](server.url(scenario)))
        began = time.monotonic()
        with pytest.raises(hf.CallTimeout) as late:
            await drained(await settled(_create(client, stream=True)))
        assert time.monotonic() - began < 2 * LATE
        assert late.value.which == which


async def test_a_cancelled_call_leaves_at_once(server: FaultServer) -> None:
    """A17: who gives up waiting closes the request, and it is nobody's failure."""
    client: Any = pipeline()(async_openai(server.url("slow-headers")))
    server.forget()
    task = asyncio.ensure_future(client.chat.completions.create(model="m", messages=ASK))
    await until(lambda: server.hits("slow-headers") > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: server.left("slow-headers") > 0)
    assert client.metrics.failures == 0
    assert client.metrics.in_flight == 0


# Permits


@every_client
async def test_a_stream_that_is_left_early_gives_its_permit_back(server: FaultServer, name: str) -> None:
    """By `close`, by leaving a `with`, by being dropped (R7): no permit stays out."""
    client = pipeline()(MAKERS[name](server.url("stall")))
    stream = await settled(_create(client, stream=True))
    assert client.metrics.in_flight == 1
    await settled(stream.close())
    assert client.metrics.in_flight == 0
    async with Entered(await settled(_create(client, stream=True))):
        assert client.metrics.in_flight == 1
    assert client.metrics.in_flight == 0
    stream = await settled(_create(client, stream=True))
    assert client.metrics.in_flight == 1
    del stream
    await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0.05)
    assert client.metrics.in_flight == 0
    assert client.metrics.failures == 0


def test_leaving_the_sdks_own_helper_gives_the_permit_back(server: FaultServer) -> None:
    """The helper closes the response and not the stream: that ends the guarded call as well."""
    client: Any = pipeline()(sync_openai(server.url("stall")))
    with client.chat.completions.stream(model="m", messages=ASK) as stream:
        assert next(iter(stream)).type
        assert client.metrics.in_flight == 1
    assert client.metrics.in_flight == 0


def test_an_open_breaker_rejects_without_a_request(server: FaultServer) -> None:
    """Rejections are raised by the method that was called."""
    breaker = hf.CircuitBreaker()
    client: Any = breaker(sync_openai(server.url("ok")))
    breaker.force_open()
    server.forget()
    for stream in (False, True):
        with pytest.raises(hf.CircuitOpen):
            client.chat.completions.create(model="m", messages=ASK, stream=stream)
    assert server.hits("ok") == 0


# What is sent


@every_client
async def test_one_idempotency_key_for_all_attempts_of_a_call(server: FaultServer, name: str) -> None:
    """A9: the attempts of a call share their key, and calls do not."""
    server.forget()
    client = pipeline()(MAKERS[name](server.url("status-503@2")))
    await settled(_create(client))
    await settled(_create(client))
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert len(keys) == 4
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_body_that_can_be_read_once_is_sent_once(server: FaultServer) -> None:
    """A8: a file that can be sought is sent again from where it stood; what cannot be is not sent again."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    client: Any = pipeline()(sync_openai(server.url("status-503")))
    for make, requests in ((io.BytesIO, 3), (Pipe, 1)):
        file = make(b"head and body")
        file.read(5)
        server.forget()
        with pytest.raises(openai.InternalServerError):
            client.files.create(file=("a.txt", file), purpose="assistants")
        assert server.hits("status-503") == requests
        assert all(b"and body" in request.body for request in server.requests)


# Beyond chat


@pytest.fixture
def local() -> Iterator[LocalServer]:
    with LocalServer("local") as running:
        yield running


async def test_embeddings_and_pages_survive_too(local: LocalServer) -> None:
    """Embeddings are retried and counted; lists of models are what they were, sync and async."""
    local.faults = Faults(status=503, every=2)
    client: Any = pipeline()(openai.OpenAI(api_key="k", base_url=local.base_url))
    made = client.embeddings.create(model="e", input=["a", "b"])
    assert len(made.data) == 2
    assert len(local.requests) == 2
    assert [model.id for model in client.models.list()] == ["local-model"]
    later: Any = pipeline()(openai.AsyncOpenAI(api_key="k", base_url=local.base_url))
    assert len((await later.embeddings.create(model="e", input="a")).data) == 1
    assert [model.id async for model in later.models.list()] == ["local-model"]
    await later.close()


def test_embeddings_that_are_not_as_many_as_the_texts_are_refused(
    local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One embedding for two texts would shift those that follow: it is no answer."""
    from holdfast._localserver import answers

    whole = answers.embeddings
    monkeypatch.setattr(answers, "embeddings", lambda request: whole({**request, "input": ["only one"]}))
    client: Any = pipeline(2)(openai.OpenAI(api_key="k", base_url=local.base_url))
    with pytest.raises(hf.Truncated, match="1 embeddings"):
        client.embeddings.create(model="e", input=["a", "b"])
    assert len(local.requests) == 2


def _create(client: Any, *, stream: bool = False, raw: bool = False) -> Any:
    more = {"stream": True} if stream else {}
    if isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
        completions = client.chat.completions
        create: Any = completions.with_raw_response.create if raw else completions.create
        return create(model="m", messages=ASK, **more)
    messages = client.messages
    create = messages.with_raw_response.create if raw else messages.create
    return create(model="m", messages=ASK, max_tokens=9, **more)
