"""A provider that fails on purpose: real HTTP over loopback, one scenario per URL path.

    with FaultServer() as server:
        client = OpenAI(base_url=server.url("status-503", "/v1"), …)
        …
        assert server.hits("status-503") == 1

`scenarios.SCENARIOS` lists what it can do; `shapes` knows how OpenAI and Anthropic word things.
It can drip, stall, reset and cut because it writes to the socket itself.
"""

from .scenarios import SCENARIOS, Scenario
from .server import FaultServer, closed_port

__all__ = ["SCENARIOS", "FaultServer", "Scenario", "closed_port"]
