"""One chat model over two providers: the call goes on at the second when the first fails.

Runs offline: two local servers stand in for the providers, and the first of them is told to fail.
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import holdfast as hf
from holdfast.langchain import FailoverChatModel
from holdfast.testing import Faults, LocalServer

KEY = SecretStr("not needed here")

with LocalServer("first") as first, LocalServer("second") as second:
    model = FailoverChatModel(
        [
            hf.Node("first", ChatOpenAI(model="any", base_url=first.base_url, api_key=KEY)),
            hf.Node("second", ChatOpenAI(model="any", base_url=second.base_url, api_key=KEY)),
        ],
        timeout=30,
    )
    chain = ChatPromptTemplate.from_template("What is {thing}?") | model | StrOutputParser()

    print(chain.invoke({"thing": "a breaker"}))

    first.faults = Faults(status=503)
    for thing in ("a heartbeat", "a failover", "a retry"):
        print(chain.invoke({"thing": thing}))

    print("calls that reached the first:", len(first.requests))
    print("calls that reached the second:", len(second.requests))
    for name, node in model.manager.nodes.items():
        print(f"{name}: {node.state}, last error {node.last_error}")
