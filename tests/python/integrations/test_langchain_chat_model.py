"""A guarded chat model is the model it was, on every path, and each attempt is one request on the wire."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any, cast

import openai
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import Runnable, RunnableBinding, RunnableLambda, RunnableParallel
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, PrivateAttr

import holdfast as hf
from holdfast._localserver import Faults, LocalServer
from holdfast.langchain import ResilientRunnable, with_resilience
from holdfast.langchain._copies import without_sdk_retries

Make = Callable[..., ChatOpenAI]
PROMPT = ChatPromptTemplate.from_template("say {word}")


class Weather(BaseModel):
    """The weather somewhere."""

    city: str
    days: int


def at_once(attempts: int = 3) -> hf.Retry:
    return hf.Retry(attempts, backoff=hf.constant(0))


# One call by each of the paths LangChain has, giving the text.


def by_invoke(model: Runnable[Any, Any], question: Any) -> str:
    return str(model.invoke(question).content)


def by_stream(model: Runnable[Any, Any], question: Any) -> str:
    return "".join(str(chunk.content) for chunk in model.stream(question))


def by_batch(model: Runnable[Any, Any], question: Any) -> str:
    return str(model.batch([question])[0].content)


def by_ainvoke(model: Runnable[Any, Any], question: Any) -> str:
    async def call() -> str:
        return str((await model.ainvoke(question)).content)

    return asyncio.run(call())


def by_astream(model: Runnable[Any, Any], question: Any) -> str:
    async def call() -> str:
        return "".join([str(chunk.content) async for chunk in model.astream(question)])

    return asyncio.run(call())


def by_abatch(model: Runnable[Any, Any], question: Any) -> str:
    async def call() -> str:
        return str((await model.abatch([question]))[0].content)

    return asyncio.run(call())


def by_events(model: Runnable[Any, Any], question: Any) -> str:
    async def call() -> str:
        events = [event async for event in model.astream_events(question, version="v2")]
        return str(events[-1]["data"]["output"].content)

    return asyncio.run(call())


PATHS = [by_invoke, by_stream, by_batch, by_ainvoke, by_astream, by_abatch, by_events]
every_path = pytest.mark.parametrize("path", PATHS)


@every_path
def test_one_attempt_is_one_request(path: Callable[..., str], alpha: LocalServer, chat: Make) -> None:
    """Three attempts on a server that always fails are three requests: the SDK's own retries are off."""
    alpha.faults = Faults(status=503)
    model = with_resilience(chat(alpha), retry=at_once(3))
    with pytest.raises(openai.InternalServerError):
        path(model, "hi")
    assert len(alpha.requests) == 3


@every_path
def test_a_failed_attempt_is_made_again(path: Callable[..., str], alpha: LocalServer, chat: Make) -> None:
    """One failure costs one more request and nothing else, whichever way the model is called."""
    alpha.faults = Faults(status=503, times=1)
    assert path(with_resilience(chat(alpha), retry=at_once()), "hi") == "alpha heard: hi"
    assert len(alpha.requests) == 2


@every_path
def test_it_works_in_a_chain(path: Callable[..., str], alpha: LocalServer, chat: Make) -> None:
    """`prompt | model` behaves as with the bare model."""
    assert path(PROMPT | with_resilience(chat(alpha)), {"word": "ho"}) == "alpha heard: say ho"


def test_it_works_between_prompt_and_parser(alpha: LocalServer, chat: Make) -> None:
    """`prompt | model | parser` invokes, streams and batches."""
    chain = PROMPT | with_resilience(chat(alpha)) | StrOutputParser()
    assert chain.invoke({"word": "a"}) == "alpha heard: say a"
    assert "".join(chain.stream({"word": "b"})) == "alpha heard: say b"
    assert chain.batch([{"word": "c"}, {"word": "d"}]) == ["alpha heard: say c", "alpha heard: say d"]


def test_the_caller_s_own_faults_are_raised_at_once(alpha: LocalServer, chat: Make) -> None:
    """A 400 is the caller's: one request, and the SDK's own error."""
    alpha.faults = Faults(status=400)
    with pytest.raises(openai.BadRequestError):
        with_resilience(chat(alpha), retry=at_once()).invoke("hi")
    assert len(alpha.requests) == 1


def test_an_open_breaker_sends_nothing(alpha: LocalServer, chat: Make) -> None:
    """Once the breaker is open, a call is rejected without a request."""
    alpha.faults = Faults(status=503)
    model = with_resilience(chat(alpha), retry=None, breaker=hf.CircuitBreaker(failure_threshold=2))
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            model.invoke("hi")
    with pytest.raises(hf.CircuitOpen):
        model.invoke("hi")
    assert len(alpha.requests) == 2


def test_it_is_still_the_model_it_was(alpha: LocalServer, chat: Make) -> None:
    """Class, name, type, parameters and profile are the model's: who looks at them sees no difference."""
    bare = chat(alpha, temperature=0.5)
    model = with_resilience(bare)
    assert isinstance(model, ChatOpenAI)
    for name in ("model_name", "temperature", "profile", "_llm_type", "_identifying_params", "lc_secrets"):
        assert getattr(model, name) == getattr(bare, name)
    assert model.get_name() == bare.get_name()
    assert model.lc_id() == bare.lc_id()
    assert model._get_ls_params() == bare._get_ls_params()


def test_the_user_s_object_is_not_changed(alpha: LocalServer, chat: Make) -> None:
    """The SDK's retries are off on a copy: the model that was given keeps its own, and so do its clients."""
    bare = chat(alpha)
    before = dict(vars(bare))
    with_resilience(bare)
    assert vars(bare) == before
    assert bare.root_client.max_retries == 2
    assert bare.root_async_client.max_retries == 2


def test_a_quiet_copy_is_quiet_in_every_client(alpha: LocalServer, chat: Make) -> None:
    """Root clients and their resources have no retries.

    The asynchronous ones share the connections of the originals, the others those of all such copies.
    """
    bare = chat(alpha, max_retries=5)
    quiet = without_sdk_retries(bare)
    assert isinstance(quiet, ChatOpenAI)
    for client in (
        quiet.root_client,
        quiet.root_async_client,
        quiet.client._client,
        quiet.async_client._client,
    ):
        assert client.max_retries == 0
    assert quiet.client._client is quiet.root_client
    assert quiet.root_async_client._client is bare.root_async_client._client
    other: Any = without_sdk_retries(chat(alpha))
    assert quiet.root_client._client._transport is other.root_client._client._transport
    assert quiet.max_retries == 0


def test_retries_are_switched_off_inside_compositions(alpha: LocalServer, chat: Make) -> None:
    """In sequences, parallels and bindings too; what holds no SDK model is not copied."""
    bare = chat(alpha)
    chain = PROMPT | RunnableParallel(a=bare.bind(stop=["x"]), b=RunnableLambda(str))
    quiet: Any = without_sdk_retries(chain)
    assert quiet.last.steps__["a"].bound.max_retries == 0
    assert quiet.last.steps__["b"] is chain.last.steps__["b"]  # type: ignore[attr-defined]
    assert bare.root_client.max_retries == 2
    parts = RunnableLambda(str) | StrOutputParser()
    assert without_sdk_retries(parts) is parts


def test_a_stream_that_breaks_before_its_first_word_is_asked_again(alpha: LocalServer, chat: Make) -> None:
    """A7: the opening chunk without content does not commit the call."""
    alpha.faults = Faults(cut_after=0, times=1)
    assert by_stream(with_resilience(chat(alpha), retry=at_once()), "hi") == "alpha heard: hi"
    alpha.faults = Faults(cut_after=0, times=1)
    assert by_astream(with_resilience(chat(alpha), retry=at_once()), "hi") == "alpha heard: hi"
    assert len(alpha.requests) == 4


def test_a7_nothing_is_replayed_after_the_first_word(alpha: LocalServer, chat: Make) -> None:
    """A7: a stream that breaks after content has been handed out is not asked again."""
    alpha.faults = Faults(cut_after=2)
    stream = with_resilience(chat(alpha), retry=at_once()).stream("hi")
    received: list[str] = []

    def read_all() -> None:
        received.extend(str(chunk.content) for chunk in stream)

    with pytest.raises(hf.StreamInterrupted) as broken:
        read_all()
    assert "".join(received) == broken.value.received.content == "alpha heard:"
    assert isinstance(broken.value.cause, openai.APIError)
    assert len(alpha.requests) == 1


def test_a_reader_who_leaves_gives_the_permit_back(alpha: LocalServer, chat: Make) -> None:
    """R7: a stream closed after its first word, in either colour, is neither failure nor still in flight."""
    breaker = hf.CircuitBreaker()
    model = with_resilience(chat(alpha), retry=at_once(), breaker=breaker)
    stream = model.stream("hi")
    next(stream)
    cast("Generator[Any]", stream).close()

    async def leave() -> None:
        chunks = model.astream("hi")
        await anext(chunks)
        await cast("AsyncGenerator[Any]", chunks).aclose()

    asyncio.run(leave())
    metrics = breaker.metrics
    assert (metrics.calls, metrics.in_flight, metrics.failures) == (2, 0, 0)


class Runs(BaseCallbackHandler):
    """Counts the runs of chat models and remembers their parents."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.ended = 0

    def on_chat_model_start(self, *args: Any, parent_run_id: Any = None, **kwargs: Any) -> None:
        self.started.append(parent_run_id)

    def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        self.ended += 1


@every_path
def test_one_call_is_one_run(path: Callable[..., str], alpha: LocalServer, chat: Make) -> None:
    """However many attempts a call makes, the trace has one chat model run, which ends once."""
    alpha.faults = Faults(status=503, times=2)
    runs = Runs()
    model = with_resilience(chat(alpha), retry=at_once()).with_config(callbacks=[runs])
    path(model, "hi")
    assert len(alpha.requests) == 3
    assert (len(runs.started), runs.ended) == (1, 1)


def test_the_run_in_a_chain_has_the_chain_as_its_parent(alpha: LocalServer, chat: Make) -> None:
    """The model's run hangs under the chain's."""
    runs = Runs()
    (PROMPT | with_resilience(chat(alpha))).invoke({"word": "x"}, {"callbacks": [runs]})
    assert len(runs.started) == 1
    assert runs.started[0] is not None


def test_the_message_says_how_many_attempts_it_took(alpha: LocalServer, chat: Make) -> None:
    """`response_metadata["holdfast"]` has the number of attempts, in answers and in streams added up."""
    model = with_resilience(chat(alpha), retry=at_once())
    alpha.faults = Faults(status=503, times=1)
    assert model.invoke("hi").response_metadata["holdfast"] == {"attempts": 2}
    first, *rest = model.stream("hi")
    whole = first
    for chunk in rest:
        whole += chunk
    assert whole.response_metadata["holdfast"] == {"attempts": 1}


def test_tools_are_bound_to_the_guarded_model(alpha: LocalServer, chat: Make) -> None:
    """`bind_tools` gives a RunnableBinding whose calls are guarded."""
    bound = with_resilience(chat(alpha), retry=at_once()).bind_tools([Weather], tool_choice="any")
    assert isinstance(bound, RunnableBinding)
    alpha.faults = Faults(status=503, times=1)
    assert bound.invoke("weather?").tool_calls[0]["args"] == {"city": "city", "days": 1}
    assert len(alpha.requests) == 2


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_is_guarded(method: Any, alpha: LocalServer, chat: Make) -> None:
    """The provider's own way of asking for a schema is kept, and a failed attempt is made again."""
    model = with_resilience(chat(alpha), retry=at_once()).with_structured_output(Weather, method=method)
    alpha.faults = Faults(status=503, times=1)
    assert model.invoke("weather?") == Weather(city="city", days=1)
    assert ("response_format" in alpha.requests[-1]) == (method == "json_schema")
    assert len(alpha.requests) == 2


def test_an_already_bound_model_stays_bound(alpha: LocalServer, chat: Make) -> None:
    """A binding comes back as a binding around the guarded model, its arguments kept."""
    bound = with_resilience(chat(alpha).bind(temperature=0.25), retry=at_once())
    assert isinstance(bound, RunnableBinding)
    assert isinstance(bound.bound, ChatOpenAI)
    alpha.faults = Faults(status=503, times=1)
    bound.invoke("hi")
    assert [request["temperature"] for request in alpha.requests] == [0.25, 0.25]


def test_streaming_true_is_mirrored(alpha: LocalServer, chat: Make) -> None:
    """A model that streams under `invoke` does so behind the guard, and a failed stream is asked again."""
    alpha.faults = Faults(status=503, times=1)
    assert by_invoke(with_resilience(chat(alpha, streaming=True), retry=at_once()), "hi") == "alpha heard: hi"
    assert [request.get("stream") for request in alpha.requests] == [True, True]


def test_a_changed_copy_is_guarded_and_shares_the_breaker(alpha: LocalServer, chat: Make) -> None:
    """`model_copy(update=…)` changes what the copy sends; health is shared, because the provider is."""
    breaker = hf.CircuitBreaker()
    model = with_resilience(chat(alpha), retry=at_once(), breaker=breaker)
    for changed in (model.model_copy(update={"temperature": 0.125}), copy.copy(model)):
        alpha.faults = Faults(status=503, times=1)
        changed.invoke("hi")
    model.invoke("hi")
    assert [request.get("temperature") for request in alpha.requests] == [0.125, 0.125, None, None, None]
    assert breaker.metrics.calls == 5


def test_a_cached_answer_makes_no_attempt(alpha: LocalServer, chat: Make) -> None:
    """LangChain's cache stands outside the guard."""
    model = with_resilience(chat(alpha, cache=InMemoryCache()))
    assert model.invoke("hi").content == model.invoke("hi").content
    assert len(alpha.requests) == 1


def test_every_policy_takes_a_model(alpha: LocalServer, chat: Make) -> None:
    """A pipeline or a single policy applied to a chat model gives a guarded chat model."""
    for policy in (hf.Pipeline(retry=at_once()), hf.CircuitBreaker(), at_once()):
        model = policy(chat(alpha))
        assert isinstance(model, ChatOpenAI)
        assert model.invoke("hi").content == "alpha heard: hi"


class Plain(BaseChatModel):
    """A model with the least a model must have; it counts, and fails as often as told."""

    failures: int = 0
    calls: int = 0
    _log: list[str] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "plain"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.calls += 1
        self._log.append(str(messages[-1].content))
        if self.calls <= self.failures:
            raise ConnectionError("down")
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=f"plain {self.calls}"))])


class Nested(Plain):
    """A model whose asynchronous half calls its synchronous half, as many do."""

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop)


class Streaming(Plain):
    """A model with a synchronous stream and no asynchronous one."""

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError("down")
        for word in ("plain", " ", "stream"):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))


def test_a_model_without_a_stream_does_not_claim_one() -> None:
    """What the model cannot do the guarded one cannot either: `stream` is one chunk, by way of `invoke`."""
    model = with_resilience(Plain(failures=1), retry=at_once())
    assert type(model)._stream is BaseChatModel._stream
    assert by_stream(model, "hi") == "plain 2"
    assert not model._should_stream(async_api=False, stream=True)
    assert not model._should_stream(async_api=True, stream=True)


def test_a_synchronous_stream_serves_asynchronous_callers() -> None:
    """A model with `_stream` only is streamed asynchronously too, guarded."""
    model = with_resilience(Streaming(failures=1), retry=at_once())
    assert by_astream(model, "hi") == "plain stream"
    assert by_stream(with_resilience(Streaming(failures=1), retry=at_once()), "hi") == "plain stream"


def test_a_model_that_calls_itself_is_guarded_once() -> None:
    """A2: three attempts of a model whose `_agenerate` calls its `_generate` are three calls, not nine."""
    bare = Nested(failures=100)
    with pytest.raises(ConnectionError):
        by_ainvoke(with_resilience(bare, retry=at_once(3)), "hi")
    assert bare.calls == 3


def test_state_is_shared_with_the_user_s_object() -> None:
    """What the model keeps in its fields and private attributes is seen on either side."""
    bare = Plain(failures=1)
    model = with_resilience(bare, retry=at_once())
    model.invoke("hi")
    assert (bare.calls, model.calls) == (2, 2)
    assert bare._log == ["hi", "hi"]


class Turnstile(BaseRateLimiter):
    """Counts who passes."""

    def __init__(self) -> None:
        self.passed = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.passed += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire()


@pytest.mark.parametrize("path", [by_invoke, by_ainvoke, by_stream, by_astream])
def test_every_attempt_passes_the_model_s_rate_limiter(path: Callable[..., str]) -> None:
    """Retries wait for the limiter like first attempts: three attempts, three passes."""
    turnstile = Turnstile()
    path(with_resilience(Streaming(failures=2, rate_limiter=turnstile), retry=at_once()), "hi")
    assert turnstile.passed == 3


# Runnables that are not chat models.


class Flaky:
    """Fails each input once."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, number: int) -> int:
        self.seen.append(number)
        if self.seen.count(number) == 1:
            raise ConnectionError("first time")
        return number * 2


def test_other_runnables_are_guarded_on_every_path() -> None:
    """invoke, ainvoke, stream, astream, batch and abatch of a lambda are each made again after a failure."""

    async def asynchronously(guarded: Runnable[int, int]) -> list[int]:
        one = await guarded.ainvoke(4)
        streamed = [item async for item in guarded.astream(5)]
        return [one, *streamed, *await guarded.abatch([6, 7])]

    flaky = Flaky()
    guarded = with_resilience(RunnableLambda(flaky), retry=at_once(), breaker=None)
    assert isinstance(guarded, ResilientRunnable)
    assert guarded.invoke(1) == 2
    assert list(guarded.stream(2)) == [4]
    assert guarded.batch([3]) == [6]
    assert asyncio.run(asynchronously(guarded)) == [8, 10, 12, 14]
    assert sorted(flaky.seen) == sorted([*range(1, 8)] * 2)


def test_a_batch_costs_each_element_its_own_failures_only() -> None:
    """Each element of a batch gets its own answer or its own error, in its place."""

    def pick(number: int) -> int:
        if number == 2:
            raise ConnectionError("always")
        return number

    guarded = with_resilience(RunnableLambda(pick), retry=at_once(2), breaker=None)
    first, second, third = cast("list[Any]", guarded.batch([1, 2, 3], return_exceptions=True))
    assert (first, third) == (1, 3)
    assert isinstance(second, ConnectionError)


def test_a_chain_can_be_guarded_as_a_whole(alpha: LocalServer, chat: Make) -> None:
    """A guarded chain is composed further, and its model's SDK does not retry underneath."""
    alpha.faults = Faults(status=503, times=1)
    guarded = with_resilience(PROMPT | chat(alpha) | StrOutputParser(), retry=at_once())
    chain = guarded | RunnableLambda(str.upper)
    assert chain.invoke({"word": "x"}) == "ALPHA HEARD: SAY X"
    assert len(alpha.requests) == 2
    assert guarded.get_input_jsonschema()["properties"].keys() == {"word"}
