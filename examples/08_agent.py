"""An agent whose model and tools both fail now and then, and that answers all the same.

`ResilienceMiddleware` guards every model call and every tool call: three attempts each, a breaker for each, and
no second layer of retries in the client beneath.

Runs offline: a local server in the provider's place, every second request to which fails.
"""

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import holdfast as hf
from holdfast.langchain import ResilienceMiddleware
from holdfast.testing import Faults, LocalServer

times_looked_up = 0


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    global times_looked_up
    times_looked_up += 1
    if times_looked_up == 1:
        raise ConnectionError("the weather service has hung up")
    return "sun, 25 degrees"


with LocalServer("model", faults=Faults(status=503, every=2)) as server:
    model = ChatOpenAI(model="any", base_url=server.base_url, api_key=SecretStr("not needed here"))
    guard = ResilienceMiddleware(retry=hf.Retry(3, backoff=0.01))
    agent = create_agent(model, tools=[get_weather], middleware=[guard])

    state = agent.invoke({"messages": [HumanMessage("How is the weather in Zürich?")]})
    for message in state["messages"]:
        print(f"{message.type:>5}: {message.text or [call['name'] for call in message.tool_calls]}")

    print(f"requests to the model: {len(server.requests)}, for 2 answers")
    print(f"calls of the tool: {times_looked_up}, for 1 result")
