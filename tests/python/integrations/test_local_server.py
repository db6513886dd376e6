"""The local server speaks OpenAI's protocol to the real client, fails on demand, leaves with its parent."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from holdfast._localserver import Faults, LocalServer, ServerProcess
from holdfast._localserver.answers import chunks, completion, example


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server on a thread of this process."""
    with LocalServer("alpha") as running:
        yield running


@pytest.fixture
def client(server: LocalServer) -> Iterator[openai.OpenAI]:
    """The official client, without retries of its own."""
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0, timeout=10.0) as opened:
        yield opened


def ask(text: str) -> list[Any]:
    """The messages of a request."""
    return [{"role": "user", "content": text}]


def get(url: str) -> tuple[int, dict[str, object]]:
    """Status and body of a page, whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=5.0) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def wait_until(holds: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Polls until it holds; False if it never did."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_the_official_client_reads_a_completion(client: openai.OpenAI) -> None:
    """A plain completion has the text, the finish reason and the usage the official client expects."""
    answer = client.chat.completions.create(model="m", messages=ask("hi there"))
    assert answer.choices[0].message.content == "alpha heard: hi there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 2 + 4


def test_a_stream_has_role_content_finish_reason_and_usage(client: openai.OpenAI) -> None:
    """The chunks come in OpenAI's order and join to the text that a plain completion gives."""
    stream = client.chat.completions.create(
        model="m", messages=ask("hi there"), stream=True, stream_options={"include_usage": True}
    )
    received = list(stream)
    assert received[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in received if chunk.choices)
    assert text == "alpha heard: hi there"
    assert received[-2].choices[0].finish_reason == "stop"
    assert received[-1].usage is not None


def test_connections_are_kept_alive(server: LocalServer, client: openai.OpenAI) -> None:
    """Calls one after the other share one connection."""
    for _ in range(3):
        client.chat.completions.create(model="m", messages=ask("hi"))
    assert server.connections == 1


def test_the_same_request_gets_the_same_answer() -> None:
    """No clock and no dice: two answers to one request are equal."""
    request = {"model": "m", "messages": ask("hi"), "stream_options": {"include_usage": True}}
    assert completion("alpha", request) == completion("alpha", request)
    assert list(chunks("alpha", request)) == list(chunks("alpha", request))


def test_a_forced_tool_is_called_with_arguments_of_its_schema(client: openai.OpenAI) -> None:
    """`tool_choice` naming a function gives a call of that function with arguments its schema accepts."""
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    }
    answer = client.chat.completions.create(
        model="m",
        messages=ask("weather?"),
        tools=[{"type": "function", "function": {"name": "weather", "parameters": parameters}}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert json.loads(calls[0].function.arguments) == {"city": "city", "days": 1}
    assert answer.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"enum": ["b", "a"]}, "b"),
        ({"type": ["integer", "null"], "minimum": 7}, 7),
        ({"const": 3}, 3),
    ],
)
def test_examples_fit_their_schema(schema: dict[str, object], value: object) -> None:
    """The example of a schema is a value that the schema accepts."""
    assert example(schema) == value


def test_models_health_embeddings_and_unknown_pages(server: LocalServer, client: openai.OpenAI) -> None:
    """The small pages answer, and a page that does not exist is a 404."""
    assert [model.id for model in client.models.list()] == ["alpha-model"]
    assert get(f"{server.origin}/health") == (200, {"status": "ok", "name": "alpha"})
    embedded = client.embeddings.create(model="e", input=["a", "b"], encoding_format="float")
    assert len(embedded.data) == 2
    assert embedded.data[0].embedding != embedded.data[1].embedding
    assert get(f"{server.origin}/nowhere")[0] == 404


def test_faults_affect_as_many_completions_as_asked(server: LocalServer, client: openai.OpenAI) -> None:
    """`times=1` fails one completion with the status and the header, and leaves the next alone."""
    server.faults = Faults(status=503, retry_after="1.5", times=1)
    with pytest.raises(openai.InternalServerError) as refusal:
        client.chat.completions.create(model="m", messages=ask("hi"))
    assert refusal.value.response.headers["retry-after"] == "1.5"
    assert client.chat.completions.create(model="m", messages=ask("hi")).choices
    assert len(server.requests) == 2


def test_a_cut_stream_breaks_after_the_chunks_asked_for(server: LocalServer, client: openai.OpenAI) -> None:
    """`cut_after=2` hands out two pieces of content and then the connection is gone, without an end mark."""
    server.faults = Faults(cut_after=2)
    stream = client.chat.completions.create(model="m", messages=ask("hi there"), stream=True)
    received = [next(stream).choices[0].delta.content or "" for _ in range(3)]
    with pytest.raises(openai.APIConnectionError):
        next(stream)
    assert "".join(received) == "alpha heard:"


def test_a_failing_health_page_fails(server: LocalServer) -> None:
    """`health=503` turns the health page, and only that, bad."""
    server.faults = Faults(health=503)
    assert get(f"{server.origin}/health")[0] == 503


def test_a_killed_process_comes_back_on_its_port() -> None:
    """SIGKILL ends it at once; the next start takes the same port and answers."""
    with ServerProcess("beta") as process:
        port = process.port
        assert get(f"{process.origin}/health")[0] == 200
        process.kill()
        with pytest.raises(urllib.error.URLError):
            get(f"{process.origin}/health")
        process.start()
        assert process.port == port
        assert get(f"{process.origin}/health") == (200, {"status": "ok", "name": "beta"})
        assert process.completions() == 0


def test_flags_reach_the_process() -> None:
    """The faults of the command line are those of the server."""
    with ServerProcess("beta", "--health", "500") as process:
        assert get(f"{process.origin}/health")[0] == 500


def test_a_process_that_cannot_start_says_why() -> None:
    """A port in use is reported with the child's own words instead of a hang."""
    with LocalServer("first") as first:
        second = ServerProcess("second")
        second.port = first.port
        with pytest.raises(RuntimeError, match=r"'second' did not start.*in use"):
            second.start()
        assert second.pid is None


def test_a_server_does_not_outlive_a_killed_parent() -> None:
    """When the parent is killed with SIGKILL, its server is gone soon after, because its pipe is closed."""
    program = (
        "import sys, time; from holdfast._localserver import ServerProcess; "
        "child = ServerProcess('orphan').start(); "
        "sys.stdout.write(f'{child.port}\\n'); sys.stdout.flush(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert get(f"http://127.0.0.1:{port}/health")[0] == 200
        parent.kill()

    def gone() -> bool:
        try:
            get(f"http://127.0.0.1:{port}/health")
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
            return True
        return False

    assert wait_until(gone)
