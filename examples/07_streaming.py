"""Streams: until the first word another node may begin anew, unseen; after it nothing is said twice.

What breaks in the middle is an error that carries what was received, or, with `resume`, goes on from there.

Runs offline: two local servers in the providers' place; the first cuts its streams.
"""

from typing import Any

from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import holdfast as hf
from holdfast.langchain import FailoverChatModel
from holdfast.testing import Faults, LocalServer

QUESTION = "Are you there?"


def chain(*servers: LocalServer, **policies: Any) -> FailoverChatModel:
    key = SecretStr("not needed here")
    nodes = [hf.Node(s.name, ChatOpenAI(model="any", base_url=s.base_url, api_key=key)) for s in servers]
    return FailoverChatModel(nodes, **policies)


def go_on(broken: hf.StreamInterrupted) -> Any:
    """The arguments of another attempt, which is to say the rest."""
    said = broken.received.text.strip()
    return ([("user", QUESTION), ("assistant", said), ("user", f"Go on after {said!r}.")],), {}


with LocalServer("first") as first, LocalServer("second") as second:
    first.faults = Faults(cut_after=0)
    words = [chunk.text for chunk in chain(first, second).stream(QUESTION)]
    print("cut before the first word: ", "".join(words))

    first.faults = Faults(cut_after=3)
    try:
        for chunk in chain(first, second).stream(QUESTION):
            if chunk.text:
                print(f"handed out: {chunk.text!r}")
    except hf.StreamInterrupted as broken:
        print("cut in the middle, received:", repr(broken.received.text))

    first.faults = Faults(cut_after=3)
    words = [chunk.text for chunk in chain(first, second, retry=3, resume=go_on).stream(QUESTION)]
    print("cut, and resumed elsewhere:", " | ".join(word.strip() for word in words if word))
