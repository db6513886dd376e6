"""A pool of chat models is one chat model, and its calls survive the death of a node."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableBinding, RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

import holdfast as hf
from holdfast._localserver import Faults, LocalServer, ServerProcess
from holdfast.langchain import FailoverChatModel, FailoverRunnable, with_resilience

Make = Callable[..., ChatOpenAI]  # takes a LocalServer or a ServerProcess
PROMPT = ChatPromptTemplate.from_template("say {word}")
DEAD = Faults(status=503)


class Weather(BaseModel):
    """The weather somewhere."""

    city: str
    days: int


@pytest.fixture
def pool(alpha: LocalServer, beta: LocalServer, chat: Make) -> FailoverChatModel:
    """One model over the two servers; alpha is asked first."""
    return FailoverChatModel([hf.Node("a", chat(alpha)), hf.Node("b", chat(beta))], breaker=None)


async def _joined(stream: Any) -> str:
    return "".join([str(chunk.content) async for chunk in stream])


async def _content(message: Any) -> str:
    return str((await message).content)


async def _first(messages: Any) -> str:
    return str((await messages)[0].content)


PATHS: dict[str, Callable[[Runnable[Any, Any], Any], str]] = {
    "invoke": lambda model, question: str(model.invoke(question).content),
    "stream": lambda model, question: "".join(str(chunk.content) for chunk in model.stream(question)),
    "batch": lambda model, question: str(model.batch([question])[0].content),
    "ainvoke": lambda model, question: asyncio.run(_content(model.ainvoke(question))),
    "astream": lambda model, question: asyncio.run(_joined(model.astream(question))),
    "abatch": lambda model, question: asyncio.run(_first(model.abatch([question]))),
}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


@every_path
def test_a_call_goes_on_at_the_next_node(
    path: Callable[..., str], pool: FailoverChatModel, alpha: LocalServer, beta: LocalServer
) -> None:
    """A node that fails is asked once, without retries of its SDK, and the call is answered by the other."""
    alpha.faults = DEAD
    assert path(pool, "hi") == "beta heard: hi"
    assert (len(alpha.requests), len(beta.requests)) == (1, 1)


@every_path
def test_it_works_in_a_chain(path: Callable[..., str], pool: FailoverChatModel, alpha: LocalServer) -> None:
    """`prompt | pool` fails over too."""
    alpha.faults = DEAD
    assert path(PROMPT | pool, {"word": "ho"}) == "beta heard: say ho"


def test_calls_take_turns(pool: FailoverChatModel) -> None:
    """Healthy nodes are asked in turn, beginning with the first, whichever way they are called."""
    chain = PROMPT | pool | StrOutputParser()
    answers = [
        chain.invoke({"word": "1"}),
        "".join(chain.stream({"word": "2"})),
        *chain.batch([{"word": "3"}]),
    ]
    assert answers == ["alpha heard: say 1", "beta heard: say 2", "alpha heard: say 3"]


def test_the_answer_names_its_node(pool: FailoverChatModel, alpha: LocalServer) -> None:
    """`response_metadata["holdfast"]` says who answered and at which attempt; streams add up to the same."""
    alpha.faults = DEAD
    assert pool.invoke("hi").response_metadata["holdfast"] == {"node": "b", "attempts": 2}
    whole: Any = None
    for chunk in pool.stream("hi"):
        whole = chunk if whole is None else whole + chunk
    assert whole.response_metadata["holdfast"]["node"] == "b"


def test_when_all_nodes_fail_the_last_error_is_raised(
    pool: FailoverChatModel, alpha: LocalServer, beta: LocalServer
) -> None:
    """The SDK's own error comes out, with a note of the nodes that were asked: three attempts over both."""
    alpha.faults, beta.faults = DEAD, Faults(status=500)
    with pytest.raises(openai.InternalServerError) as failure:
        pool.invoke("hi")
    assert failure.value.status_code == 503
    asked = [(tried.node, tried.number) for tried in hf.history(failure.value)]
    assert asked == [("a", 1), ("b", 2), ("a", 3)]


def test_the_caller_s_own_faults_do_not_move(
    pool: FailoverChatModel, alpha: LocalServer, beta: LocalServer
) -> None:
    """A 400 would be a 400 everywhere: the other node is not asked."""
    alpha.faults = Faults(status=400)
    with pytest.raises(openai.BadRequestError):
        pool.invoke("hi")
    assert beta.requests == []


def test_a7_a_stream_moves_before_its_first_word_only(
    pool: FailoverChatModel, alpha: LocalServer, beta: LocalServer
) -> None:
    """A7: cut before any content, the stream goes on elsewhere; cut after it, nothing is replayed."""
    alpha.faults = Faults(cut_after=0, times=1)
    assert PATHS["stream"](pool, "hi") == "beta heard: hi"
    alpha.faults = beta.faults = Faults(cut_after=1)
    asked = len(alpha.requests) + len(beta.requests)
    stream = pool.stream("hi")
    assert next(chunk.content for chunk in stream if chunk.content) in {"alpha", "beta"}
    with pytest.raises(hf.StreamInterrupted) as broken:
        list(stream)
    assert broken.value.received.content in {"alpha", "beta"}
    assert isinstance(broken.value.cause, openai.APIError)
    assert len(alpha.requests) + len(beta.requests) == asked + 1


class Runs(BaseCallbackHandler):
    """Counts the runs of chat models."""

    def __init__(self) -> None:
        self.started = self.ended = 0

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.started += 1

    def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        self.ended += 1


@every_path
def test_one_call_is_one_run(path: Callable[..., str], pool: FailoverChatModel, alpha: LocalServer) -> None:
    """However many nodes a call visits, the trace has one chat model run, which ends once."""
    alpha.faults = DEAD
    runs = Runs()
    path(pool.with_config(callbacks=[runs]), "hi")
    assert (runs.started, runs.ended) == (1, 1)


def test_it_stands_where_its_first_model_stood(
    pool: FailoverChatModel, alpha: LocalServer, chat: Make
) -> None:
    """Type, profile and parameters are the first node's; methods that would go around the pool are absent."""
    first = chat(alpha)
    assert isinstance(pool, BaseChatModel)
    for name in ("_llm_type", "model_name", "profile", "_identifying_params"):
        assert getattr(pool, name) == getattr(first, name)
    assert pool._get_ls_params() == first._get_ls_params()
    assert not hasattr(pool, "get_response_headers")
    with pytest.raises(AttributeError, match="nonsense"):
        _ = pool.nonsense


def test_copies_share_the_manager(pool: FailoverChatModel) -> None:
    """A copy, deep or not, is another model over the same nodes."""
    for other in (copy.copy(pool), copy.deepcopy(pool), pool.model_copy(update={"tags": ["x"]})):
        assert other.manager is pool.manager
        assert other.invoke("hi").content


def test_a_cached_answer_asks_no_node(alpha: LocalServer, beta: LocalServer, chat: Make) -> None:
    """LangChain's cache stands outside the pool; whichever node answered, the answer is the pool's."""
    nodes = [hf.Node("a", chat(alpha)), hf.Node("b", chat(beta))]
    cached = FailoverChatModel(nodes, cache=InMemoryCache())
    said = [cached.invoke("hi").content for _ in range(3)]
    assert said == ["alpha heard: hi"] * 3
    assert (len(alpha.requests), len(beta.requests)) == (1, 0)


def test_tools_reach_every_node(pool: FailoverChatModel, alpha: LocalServer, beta: LocalServer) -> None:
    """`bind_tools` gives a RunnableBinding that shows the tools, and the next node gets them too."""
    bound = pool.bind_tools([Weather], tool_choice="any")
    assert isinstance(bound, RunnableBinding)
    assert bound.kwargs["tools"][0]["function"]["name"] == "Weather"
    alpha.faults = DEAD
    assert bound.invoke("weather?").tool_calls[0]["args"] == {"city": "city", "days": 1}
    assert alpha.requests[0]["tools"] == beta.requests[0]["tools"]
    assert pool.invoke("hi").tool_calls == []


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_of_equal_models_is_their_own(
    method: Any, pool: FailoverChatModel, alpha: LocalServer, beta: LocalServer
) -> None:
    """Nodes of one class use that class's way of asking for a schema, also after a failover."""
    alpha.faults = DEAD
    assert pool.with_structured_output(Weather, method=method).invoke("?") == Weather(city="city", days=1)
    assert ("response_format" in beta.requests[-1]) == (method == "json_schema")
    raw = pool.with_structured_output(Weather, method=method, include_raw=True).invoke("?")
    assert isinstance(raw, dict)
    assert raw["parsed"] == Weather(city="city", days=1)
    assert raw["raw"].response_metadata["holdfast"]["node"] == "b"


class Foreign(BaseChatModel):
    """A model of another provider: it wants its tools under another name, and cannot stream."""

    received: list[dict[str, Any]] = []  # noqa: RUF012  # pydantic copies it for each model
    down: bool = False

    @property
    def _llm_type(self) -> str:
        return "foreign"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.received.append(kwargs)
        if self.down:
            raise ConnectionError("down")
        call = {"name": "Weather", "args": {"city": "c", "days": 2}, "id": "1"}
        calls = [call] if "functions" in kwargs else []
        message = AIMessage(content="foreign heard", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(functions=[tool.__name__ for tool in tools])


@pytest.fixture
def mixed(alpha: LocalServer, chat: Make) -> tuple[FailoverChatModel, Foreign]:
    """A pool of a ChatOpenAI and a model of another provider."""
    foreign = Foreign()
    return FailoverChatModel([hf.Node("a", chat(alpha)), hf.Node("f", foreign)], breaker=None), foreign


def test_each_node_gets_tools_in_its_own_format(
    mixed: tuple[FailoverChatModel, Foreign], alpha: LocalServer
) -> None:
    """A tool bound to the pool reaches OpenAI as `tools` and the foreign model as `functions`."""
    pool, foreign = mixed
    bound = pool.bind_tools([Weather], tool_choice="any")
    alpha.faults = Faults(status=503, times=1)
    assert bound.invoke("?").tool_calls[0]["args"] == {"city": "c", "days": 2}
    assert foreign.received == [{"functions": ["Weather"]}]
    assert {"tools", "tool_choice"} <= alpha.requests[0].keys()
    assert "functions" not in alpha.requests[0]


def test_what_the_caller_says_beats_what_was_bound(
    mixed: tuple[FailoverChatModel, Foreign], alpha: LocalServer
) -> None:
    """An argument given at the call replaces the bound one at the node where it applies."""
    pool, _ = mixed
    pool.bind_tools([Weather], tool_choice="any").invoke("?", tool_choice="none")
    assert alpha.requests[0]["tool_choice"] == "none"


def test_structured_output_of_unequal_models_is_a_tool_call(
    mixed: tuple[FailoverChatModel, Foreign], alpha: LocalServer
) -> None:
    """In a pool of several classes all nodes are asked for a tool call, and each answers in its own way."""
    structured = mixed[0].with_structured_output(Weather)
    assert structured.invoke("?") == Weather(city="city", days=1)
    assert structured.invoke("?") == Weather(city="c", days=2)


def test_a_node_that_cannot_stream_gives_one_chunk(
    mixed: tuple[FailoverChatModel, Foreign], alpha: LocalServer
) -> None:
    """The pool streams if any node can; the others hand out one chunk, tool calls included."""
    pool, _ = mixed
    alpha.faults = DEAD
    assert PATHS["stream"](pool, "hi") == "foreign heard"
    assert PATHS["astream"](pool, "hi") == "foreign heard"
    whole: Any = None
    for chunk in pool.bind_tools([Weather]).stream("hi"):
        whole = chunk if whole is None else whole + chunk
    assert whole.tool_calls[0]["args"] == {"city": "c", "days": 2}


def test_a_pool_that_cannot_stream_does_not_claim_to() -> None:
    """Without a node that streams, `stream` goes by way of `invoke`, as for a model without `_stream`."""
    pool = FailoverChatModel([hf.Node("x", Foreign(down=True)), hf.Node("y", Foreign())])
    assert not pool._should_stream(async_api=False, stream=True)
    assert PATHS["stream"](pool, "hi") == "foreign heard"


def test_a_node_added_later_is_treated_like_the_first_ones(
    pool: FailoverChatModel, alpha: LocalServer, beta: LocalServer, chat: Make
) -> None:
    """Its SDK does not retry either, and it gets its share."""
    with LocalServer("gamma") as gamma:
        gamma.faults = DEAD
        pool.manager.add_node(hf.Node("c", chat(gamma)))
        for _ in range(3):
            pool.invoke("hi")
        assert len(gamma.requests) == 1


def test_bad_nodes_are_refused(alpha: LocalServer, chat: Make) -> None:
    """No nodes, a target that is no chat model, equal names: each error names the field."""
    cases: list[tuple[str, list[Any]]] = [
        ("nodes", []),
        ("target", [hf.Node("x", print)]),
        ("name", [hf.Node("x", chat(alpha)), hf.Node("x", chat(alpha))]),
    ]
    for field, nodes in cases:
        with pytest.raises(hf.ConfigurationError, match=field):
            FailoverChatModel(nodes)


def test_a_guarded_model_can_be_a_node(alpha: LocalServer, beta: LocalServer, chat: Make) -> None:
    """A2: a node that retries by itself is asked as often as it says, then the call moves on."""
    alpha.faults = DEAD
    guarded = with_resilience(chat(alpha), retry=hf.Retry(2, backoff=hf.constant(0)))
    pool = FailoverChatModel([hf.Node("a", guarded), hf.Node("b", chat(beta))])
    assert pool.invoke("hi").content == "beta heard: hi"
    assert (len(alpha.requests), len(beta.requests)) == (2, 1)


class Callers:
    """Calls a pool from threads and from an event loop until told to stop, and keeps what became of it."""

    def __init__(self, pool: FailoverChatModel) -> None:
        self.pool = pool
        self.answers: list[str] = []
        self.failures: list[BaseException] = []
        self._enough = threading.Event()
        work = [self._ask, self._ask, lambda: asyncio.run(self._aask_twice())]
        self._threads = [threading.Thread(target=self._kept, args=(one,)) for one in work]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def wait_until(self, holds: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds() and not self.failures:
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)

    def _kept(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as error:
            self.failures.append(error)

    def _ask(self) -> None:
        while not self._enough.is_set():
            self._note(self.pool.invoke("hi"))

    async def _aask_twice(self) -> None:
        await asyncio.gather(self._aask(), self._aask())

    async def _aask(self) -> None:
        while not self._enough.is_set():
            self._note(await self.pool.ainvoke("hi"))

    def _note(self, message: BaseMessage) -> None:
        self.answers.append(message.response_metadata["holdfast"]["node"])


def test_no_call_fails_while_a_server_process_is_killed(chat: Make) -> None:
    """A real process killed with SIGKILL under calls from threads and an event loop costs no call."""
    with ServerProcess("one") as one, ServerProcess("two") as two:
        pool = FailoverChatModel([hf.Node(server.name, chat(server)) for server in (one, two)])
        with Callers(pool) as callers:
            callers.wait_until(lambda: callers.answers.count("one") >= 10)
            one.kill()
            seen = len(callers.answers)
            callers.wait_until(lambda: len(callers.answers) >= seen + 40)
    assert callers.failures == []
    assert set(callers.answers[-10:]) == {"two"}


# Runnables that are not chat models.


def test_other_runnables_fail_over_on_every_path() -> None:
    """invoke, stream, batch and their asynchronous twins go on at the next node."""

    def broken(number: int) -> int:
        raise ConnectionError("down")

    def works(number: int) -> int:
        return number + 1

    async def asynchronously(runnable: Runnable[int, int]) -> list[int]:
        one = await runnable.ainvoke(1)
        streamed = [item async for item in runnable.astream(2)]
        return [one, *streamed, *await runnable.abatch([3])]

    nodes = [hf.Node("broken", RunnableLambda(broken)), hf.Node("works", RunnableLambda(works))]
    pool = FailoverRunnable(nodes, breaker=None)
    assert [pool.invoke(1), *pool.stream(2), *pool.batch([3])] == [2, 3, 4]
    assert asyncio.run(asynchronously(pool)) == [2, 3, 4]


def test_only_runnables_are_taken() -> None:
    """A plain function is refused: it belongs into a FailoverManager."""
    with pytest.raises(hf.ConfigurationError, match="target"):
        FailoverRunnable([hf.Node("x", print)])
