"""A small OpenAI-compatible server on loopback, for the demo, the examples and the tests.

It exists so that a real client can be driven over real HTTP, and a real process really killed, without an
account, a key or a network. The standard library is all it needs, and the same question always gets the
same answer.

    python -m holdfast._localserver --port 0 --name alpha

prints one line of JSON (``{"name": "alpha", "port": 40123, "pid": 4711}``) once it is ready to be called.

=============  ==========================================================================
`answers.py`   what is said: pure functions from a request to the JSON of its answer
`http.py`      how it is said: threads, keep-alive, SSE, and the faults that tests ask for
`process.py`   the server as a child process: start, kill, start again on the same port
=============  ==========================================================================

What it deliberately does not do: authenticate, listen anywhere but on 127.0.0.1, or imitate a model's
intelligence.
"""

from holdfast._localserver.http import Faults, LocalServer
from holdfast._localserver.process import ServerProcess

__all__ = ["Faults", "LocalServer", "ServerProcess"]
