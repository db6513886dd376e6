"""Timeouts and deadlines: one attempt may take so long, and all of it together so long.

`attempt` ends an attempt that hangs, so that another may succeed. `hf.deadline` gives several guarded calls one
common end: each gets what the ones before it have left.

Runs offline: the services are coroutines that sleep.
"""

import asyncio
import time

import holdfast as hf

answers_after = [60.0, 0.05]


@hf.resilient(retry=hf.Retry(3, backoff=0.0), timeout=hf.Timeout(5.0, attempt=0.2))
async def sometimes_hangs() -> str:
    await asyncio.sleep(answers_after.pop(0))
    return "an answer from the second attempt"


@hf.resilient(timeout=30.0)
async def step(name: str, seconds: float) -> str:
    attempt = hf.current_attempt()
    assert attempt is not None
    assert attempt.time_left is not None
    print(f"{name} may take {attempt.time_left:.1f} s")
    await asyncio.sleep(seconds)
    return name


async def main() -> None:
    began = time.monotonic()
    print(await sometimes_hangs(), f"({time.monotonic() - began:.1f} s)")

    try:
        with hf.deadline(0.6):
            await step("the search", 0.3)
            await step("the summary", 60.0)
    except hf.CallTimeout as late:
        print(f"given up: {late}")


asyncio.run(main())
