"""The `openai` client, guarded: the same methods and types, and each request behind a pipeline.

Your client is not changed. The guarded one is a copy whose own retries are off, so that three attempts are three
requests, and whose waits end with our clocks, even while a server drips bytes.

Runs offline: a local server in the provider's place.
"""

import time

import openai

import holdfast as hf
from holdfast.testing import Faults, LocalServer


def ask(client: openai.OpenAI) -> str:
    made = client.chat.completions.create(model="any", messages=[{"role": "user", "content": "Hello"}])
    return made.choices[0].message.content or ""


with LocalServer("server") as server:
    bare = openai.OpenAI(base_url=server.base_url, api_key="not needed here")
    guard = hf.llm_defaults(retry=hf.Retry(3, backoff=0.01), timeout=hf.Timeout(0.3))
    client = guard(bare)
    print(isinstance(client, openai.OpenAI), ask(client))

    server.faults = Faults(status=500, times=2)
    before = len(server.requests)
    print(ask(client), f"(after {len(server.requests) - before} requests)")

    server.faults = Faults(status=500)
    before = len(server.requests)
    try:
        ask(client)
    except openai.InternalServerError as error:
        print(f"the client's own {type(error).__name__}, after {len(server.requests) - before} requests")

    server.faults = Faults(delay=30.0)
    began = time.monotonic()
    try:
        ask(client)
    except hf.CallTimeout as late:
        print(f"{late} (waited {time.monotonic() - began:.1f} s)")
