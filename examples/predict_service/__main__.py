"""Runs the service: `python -m predict_service --port 8000`, with `PREDICT_MODELS` in the environment.

Told to stop (SIGTERM, or Ctrl-C), it drains: readiness says no and new requests are turned away, while those under
way end. Then the socket is closed. Told twice, it does not wait.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from types import FrameType

import uvicorn

from predict_service.app import LONGEST_SECONDS, app, door

log = logging.getLogger("predict")


class DrainingServer(uvicorn.Server):
    """Uvicorn, which drains before it closes its socket.

    Args:
        config: As uvicorn's.
        notice: Seconds for which it drains at least, so that load balancers notice that it is not ready.
        grace: Seconds after which it waits for nobody any more; above the longest deadline of a request.
    """

    def __init__(self, config: uvicorn.Config, notice: float, grace: float) -> None:
        super().__init__(config)
        self.notice, self.grace = notice, grace
        self.began = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if door.draining:
            super().handle_exit(sig, frame)
            return
        self.began = time.monotonic()
        door.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Uvicorn asks ten times a second whether it is time to stop."""
        return await super().on_tick(counter) or (door.draining and self.drained())

    def drained(self) -> bool:
        passed = time.monotonic() - self.began
        if passed < self.notice or (door.under_way and passed < self.grace):
            return False
        log.info("drained in %.1f s, %d requests left", passed, door.under_way)
        return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="predict_service", description="A /predict service that holds.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--notice", type=float, default=5.0, help="seconds to drain at least (default: 5)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per request says what the metrics say
    config = uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    asyncio.run(DrainingServer(config, options.notice, LONGEST_SECONDS + 1.0).serve())


if __name__ == "__main__":
    main()
