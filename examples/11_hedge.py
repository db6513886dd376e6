"""A hedge: when a node is slow, another one is asked as well, and the first answer wins.

Only for calls that may be made twice, which is why `safe` has no default. Each hedge takes a token of a budget, so
that hedges stay few, and the loser is cancelled.

Runs offline: one node is fast but for every fifth call; the other is steady.
"""

import asyncio
import time

import holdfast as hf
from holdfast.testing import record_events

asked = {"moody": 0, "steady": 0}
cancelled = 0


async def moody(question: str) -> str:
    global cancelled
    asked["moody"] += 1
    try:
        await asyncio.sleep(2.0 if asked["moody"] % 5 == 0 else 0.005)
    except asyncio.CancelledError:
        cancelled += 1
        raise
    return f"moody on {question}"


async def steady(question: str) -> str:
    asked["steady"] += 1
    await asyncio.sleep(0.01)
    return f"steady on {question}"


manager = hf.FailoverManager(
    [hf.Node("moody", moody), hf.Node("steady", steady, tier=1)],
    hedge=hf.Hedge(0.3, safe=lambda args, kwargs: True),
)


async def main() -> None:
    worst = 0.0
    with record_events(manager, kinds=["hedge_started"]) as hedges:
        for n in range(20):
            began = time.monotonic()
            answer = await manager.acall(f"question {n}")
            worst = max(worst, time.monotonic() - began)
            if not answer.startswith("moody"):
                print(answer)
    print(
        f"20 answers, {len(hedges)} hedges; without them the slowest takes 2 s, with them less: {worst < 1.5}"
    )


asyncio.run(main())
print(f"{asked['steady']} extra requests, {cancelled} losers cancelled")
