"""Priorities: when not everything can be served, what matters most is.

A full bulkhead refuses somebody. `hf.priority` says who may be refused first: a fifth of the places is kept from
calls of low priority, and in the line the more important stand in front and push the last of the others out.

Runs offline: the model is a coroutine that takes a moment.
"""

import asyncio
from collections import Counter
from typing import Literal, TypeAlias

import holdfast as hf

limit = hf.Bulkhead(5, max_queue=15)
Level: TypeAlias = Literal["low", "normal", "high"]

served: Counter[str] = Counter()
shed: Counter[str] = Counter()


@limit
async def answer(question: str) -> str:
    await asyncio.sleep(0.02)
    return f"an answer to {question!r}"


async def ask(level: Level) -> None:
    with hf.priority(level):
        try:
            await answer("What is a bulkhead?")
        except hf.BulkheadFull:
            shed[level] += 1
        else:
            served[level] += 1


async def main() -> None:
    # Forty at once, the unimportant ones first, for five places and a line of fifteen.
    counts: dict[Level, int] = {"low": 20, "normal": 10, "high": 10}
    arrivals = [level for level, count in counts.items() for _ in range(count)]
    await asyncio.gather(*(ask(level) for level in arrivals))


asyncio.run(main())
for level in ("low", "normal", "high"):
    print(f"{level:<7} {served[level]:>2} served, {shed[level]:>2} refused at once")
