"""A batch job within limits: so many calls at once, and so many in a stretch of time.

All of the work is started; the limits let as much of it run as may run. A web service would rather refuse than
queue: without `max_queue` a full bulkhead says `BulkheadFull` before anything is sent.

Runs offline: the model is a coroutine that takes a moment.
"""

import asyncio
import time

import holdfast as hf

running = most_at_once = 0


async def label(text: str) -> str:
    global running, most_at_once
    running += 1
    most_at_once = max(most_at_once, running)
    await asyncio.sleep(0.02)
    running -= 1
    return text.upper()


async def main() -> None:
    texts = [f"text {n}" for n in range(40)]

    at_once = hf.Bulkhead(8, max_queue=len(texts))
    guarded = hf.resilient(bulkhead=at_once)(label)
    labels = await asyncio.gather(*(guarded(text) for text in texts))
    print(f"{len(labels)} labels, at most {most_at_once} calls at once")

    # Twenty calls at once after a rest, and then one each hundredth of a second.
    in_time = hf.RateLimit(100, per=1.0, burst=20)
    guarded = hf.resilient(rate_limit=in_time, timeout=30.0)(label)
    began = time.monotonic()
    await asyncio.gather(*(guarded(text) for text in texts))
    print(f"40 calls at 100 a second, 20 of them at once: {time.monotonic() - began:.1f} s")

    no_line = hf.Bulkhead(8)
    answers = await asyncio.gather(*(no_line(label)(text) for text in texts), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, hf.BulkheadFull)]
    print(f"without a line: {len(answers) - len(refused)} served, {len(refused)} refused at once")


asyncio.run(main())
