"""A pool of several providers: each node is asked in words that it understands, seen in the requests on the wire."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import holdfast as hf
from faults import FaultServer
from holdfast.langchain import FailoverChatModel

DOWN, UP = "status-503~settings", "ok~settings"
MARKED: dict[str, Any] = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def chat_openai(url: str) -> BaseChatModel:
    return ChatOpenAI(model="gpt", api_key=SecretStr("k"), base_url=f"{url}/v1")


def chat_anthropic(url: str) -> BaseChatModel:
    return ChatAnthropic(model_name="claude", api_key=SecretStr("k"), base_url=url, timeout=None, stop=None)


def pool_of(*models: BaseChatModel) -> FailoverChatModel:
    nodes = [hf.Node(f"n{number}", model) for number, model in enumerate(models)]
    return FailoverChatModel(nodes, breaker=None, retry=hf.Retry(2, backoff=0, budget=None))


@pytest.fixture
def from_openai(server: FaultServer) -> FailoverChatModel:
    """OpenAI's is down, Anthropic's answers."""
    server.forget()
    return pool_of(chat_openai(server.url(DOWN)), chat_anthropic(server.url(UP)))


@pytest.fixture
def from_anthropic(server: FaultServer) -> FailoverChatModel:
    """Anthropic's is down, OpenAI's answers."""
    server.forget()
    return pool_of(chat_anthropic(server.url(DOWN)), chat_openai(server.url(UP)))


def bodies(server: FaultServer) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the two nodes were sent."""
    down, up = server.requests
    assert (down.scenario, up.scenario) == (DOWN, UP)
    return down.body, up.body


@tool
def look_up(place: str) -> str:
    """Looks up the weather."""
    return place


ASKS: dict[str, Callable[..., Any]] = {
    "invoke": lambda asked, *given, **more: asked.invoke(*given, **more),
    "stream": lambda asked, *given, **more: list(asked.stream(*given, **more)),
}
both_ways = pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)


@both_ways
def test_settings_of_openai_stay_there(
    ask: Callable[..., Any], from_openai: FailoverChatModel, server: FaultServer
) -> None:
    """Its SDK takes them, Anthropic's would raise a TypeError for each; what both know reaches both."""
    own: dict[str, Any] = {
        "service_tier": "flex", "parallel_tool_calls": False, "prompt_cache_key": "a", "seed": 7, "model": "gpt-x",
        "logit_bias": {"5": 1}, "verbosity": "low", "extra_headers": {"x-own": "1"},
    }  # fmt: skip
    assert ask(from_openai, "hi", temperature=0.5, max_completion_tokens=77, **own)
    down, up = bodies(server)
    assert own.keys() - {"extra_headers"} <= down.keys()
    assert not own.keys() - {"model"} & up.keys()
    assert (up["model"], up["temperature"], up["max_tokens"]) == ("claude", 0.5, 77)
    assert [request.headers.get("x-own") for request in server.requests] == ["1", None]


@both_ways
def test_settings_of_anthropic_stay_there(
    ask: Callable[..., Any], from_anthropic: FailoverChatModel, server: FaultServer
) -> None:
    """So do `thinking` and `cache_control`, and the marks in the content of messages and tools."""
    messages = [SystemMessage([MARKED]), HumanMessage([MARKED, {"type": "text", "text": "ho"}])]
    kept = copy.deepcopy(messages)
    bound = from_anthropic.bind(
        thinking={"type": "enabled", "budget_tokens": 1024}, cache_control={"type": "ephemeral"}, top_k=3
    )
    assert ask(bound, messages, max_tokens=2000)
    down, up = bodies(server)
    assert {"thinking", "cache_control", "top_k"} <= down.keys()
    assert not {"thinking", "cache_control", "top_k"} & up.keys()
    assert down["system"][0]["cache_control"]
    assert "cache_control" not in str(up)
    assert up["messages"][1]["content"][1]["text"] == "ho"
    assert messages == kept


def test_a_new_name_is_not_sent_where_the_sdk_would_refuse_it(
    from_openai: FailoverChatModel, server: FaultServer
) -> None:
    """A name that nobody here has heard of: the first provider's SDK judges it, another's is not asked."""
    with pytest.raises(TypeError, match="brand_new"):
        from_openai.invoke("hi", brand_new=1)
    assert server.requests == []


@both_ways
@pytest.mark.parametrize("choice", ["any", "look_up", "auto"])
def test_bound_tools_are_translated_with_their_settings(
    ask: Callable[..., Any], choice: str, from_openai: FailoverChatModel, server: FaultServer
) -> None:
    """`bind_tools` with OpenAI's own settings and a tool that it runs itself: Anthropic gets the rest."""
    bound = from_openai.bind_tools(
        [look_up, {"type": "web_search_preview"}],
        tool_choice=choice, parallel_tool_calls=False, reasoning_effort="low", service_tier="flex",
    )  # fmt: skip
    ask(bound, "hi")
    down, up = bodies(server)
    assert {"parallel_tool_calls", "reasoning", "service_tier"} <= down.keys()
    assert [one["name"] for one in up["tools"]] == ["look_up"]
    assert "service_tier" not in up
    # What OpenAI calls parallel_tool_calls is said in Anthropic's words.
    assert up["tool_choice"]["disable_parallel_tool_use"] is True
    assert up["tool_choice"]["type"] == {"any": "any", "look_up": "tool", "auto": "auto"}[choice]


@both_ways
def test_tools_given_at_the_call_are_translated(
    ask: Callable[..., Any], from_openai: FailoverChatModel, server: FaultServer
) -> None:
    """OpenAI's own format, as its `bind_tools` would have made it."""
    shown: Any = chat_openai("http://x").bind_tools([look_up]).kwargs["tools"]  # type: ignore[attr-defined]
    ask(from_openai, "hi", tools=shown, tool_choice={"type": "function", "function": {"name": "look_up"}})
    down, up = bodies(server)
    assert down["tools"] == shown
    assert up["tools"][0]["input_schema"]["properties"].keys() == {"place"}
    assert up["tool_choice"]["name"] == "look_up"


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ("look_up", {"type": "tool", "name": "look_up"}),
    ],
)
def test_a_choice_made_at_the_call_is_translated(
    said: str, heard: Any, from_openai: FailoverChatModel, server: FaultServer
) -> None:
    """Tools bound before, and another choice among them at the call."""
    from_openai.bind_tools([look_up]).invoke("hi", tool_choice=said)
    assert bodies(server)[1]["tool_choice"] == heard


def test_marks_on_tools_are_taken_off(from_anthropic: FailoverChatModel, server: FaultServer) -> None:
    """A tool in Anthropic's format with a cache mark becomes a function of OpenAI's without one."""
    own = {
        "name": "look_up", "description": "Looks.", "cache_control": {"type": "ephemeral"},
        "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
    }  # fmt: skip
    from_anthropic.bind_tools([own], tool_choice="any").invoke("hi")
    down, up = bodies(server)
    assert down["tools"][0]["cache_control"]
    assert "cache_control" not in str(up)
    assert up["tools"][0]["function"]["name"] == "look_up"
    assert up["tool_choice"] == "required"


def test_an_agent_goes_on_at_another_provider(from_openai: FailoverChatModel, server: FaultServer) -> None:
    """`create_agent` binds its tools with settings of the first provider; the second answers."""
    state = create_agent(from_openai, tools=[look_up], system_prompt="be brief").invoke(
        {"messages": [("user", "hi")]}
    )
    assert state["messages"][-1].content
    assert bodies(server)[1]["tools"][0]["name"] == "look_up"


def test_equal_providers_are_given_everything(server: FaultServer) -> None:
    """Two nodes of one provider: nothing is taken away and nothing translated."""
    server.forget()
    pool = pool_of(chat_openai(server.url(DOWN)), chat_openai(server.url(UP)))
    pool.invoke([HumanMessage([MARKED])], service_tier="flex", tool_choice="none")
    down, up = bodies(server)
    assert down == up
    assert up["service_tier"] == "flex"
    assert "cache_control" in str(up)


class Scripted(BaseChatModel):
    """A model of somebody's own, known by its type alone."""

    kind: str
    down: bool = False
    heard: list[Any] = []  # noqa: RUF012  # pydantic copies it for each model

    @property
    def _llm_type(self) -> str:
        return self.kind

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        self.heard.append((messages, kwargs))
        if self.down:
            raise ConnectionError("down")
        message = AIMessage("fine", response_metadata={"finish_reason": "stop"})
        return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.mark.parametrize(
    ("second", "taken"),
    [
        ("anthropic-chat", {"thinking", "reasoning_effort", "temperature"}),
        ("azure-openai-chat", {"service_tier", "thinking", "reasoning_effort", "temperature", "theirs"}),
        ("our-own", {"temperature", "theirs"}),
    ],
)
def test_providers_are_known_by_their_type_too(second: str, taken: set[str]) -> None:
    """What `_llm_type` says where the class says nothing; a name of somebody's own reaches whoever may know it."""
    first, other = Scripted(kind="openai-chat", down=True), Scripted(kind=second)
    asked = {"service_tier": "flex", "thinking": {}, "reasoning_effort": "low", "temperature": 1, "theirs": 2}
    pool_of(first, other).invoke("hi", **asked)
    assert first.heard[0][1] == asked
    assert other.heard[0][1].keys() == taken


def test_a_node_that_is_added_later_is_asked_in_its_own_words(server: FaultServer) -> None:
    """It is of another provider than those at the start."""
    server.forget()
    pool = pool_of(chat_openai(server.url(DOWN)))
    pool.manager.add_node(hf.Node("late", chat_anthropic(server.url(UP))))
    pool.invoke([HumanMessage([MARKED])], service_tier="flex")
    assert "service_tier" not in bodies(server)[1]
    assert "cache_control" in str(bodies(server)[1])


def test_r11_a_pool_says_why_it_cannot_be_pickled(server: FaultServer) -> None:
    """R11: what is known of its nodes is state; copies share it, and it does not travel."""
    pool = pool_of(chat_openai(server.url(UP)))
    assert copy.copy(pool) == pool != pool_of(chat_openai(server.url(UP)))
    with pytest.raises(TypeError, match="FailoverManager"):
        pickle.dumps(pool)
