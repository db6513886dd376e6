"""The clients of providers, made fit to be called under a guard, and guarded.

    client = hf.llm_defaults()(openai.OpenAI())

is a client of the same class with the same methods, each of whose requests goes through the pipeline.

A guard counts attempts and keeps clocks. Both are lies if the client below tries again by itself, or sits in a
read that nothing can end. So the guard calls a copy of the client: its own retries are off, and its sync waits
end when the guard's clocks do. The user's client is never changed, and nothing it shares is ever closed.

=================  ===========================================================================================
`_guarded.py`      a client behind a pipeline: a subclass of its class, guarded where all its methods meet
`failover.py`      several clients behind a manager, seen as one
`_call.py`         what may be sent more than once, and how an answer is looked at
`_streams.py`      the SDK's stream with guarded items
`_substitutes.py`  what a fallback answers, in the SDK's own types
`_copies.py`       the registry: what to switch off, client by client
`_rewrite.py`      a copy of an SDK's objects, down to the HTTP client among them
`_bounded.py`      an HTTP client whose waits end when the guarded call's clocks do
=================  ===========================================================================================

What it deliberately does not do: import a client, or interrupt what cannot be interrupted (see
`docs/guides/timeouts.md`); a thread left behind with a stuck read would hold the connection, the memory and
the provider's bill, and only look like a timeout.
"""

from holdfast.clients._guarded import attended, guard_client
from holdfast.clients.failover import failover_client

__all__ = ["attended", "failover_client", "guard_client"]
