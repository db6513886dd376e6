"""The clients of providers, made fit to be called under a guard.

A guard counts attempts and keeps clocks. Both are lies if the client below tries again by itself, or sits in a
read that nothing can end. So the guard calls a copy of the client: its own retries are off, and its sync waits
end when the guard's clocks do. The user's client is never changed, and nothing it shares is ever closed.

=================  ===========================================================================================
`_copies.py`       the registry: what to switch off, client by client
`_rewrite.py`      a copy of an SDK's objects, down to the HTTP client among them
`_bounded.py`      an HTTP client whose waits end when the guarded call's clocks do
=================  ===========================================================================================

What it deliberately does not do: import a client, or interrupt what cannot be interrupted (see
`docs/guides/timeouts.md`); a thread left behind with a stuck read would hold the connection, the memory and
the provider's bill, and only look like a timeout.
"""
