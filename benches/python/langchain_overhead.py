"""What a guard adds to one call of a LangChain chat model, beside what LangChain's own wrappers add.

The model answers at once, from memory, so that what is left is the cost of calling it. Bare model, guarded
model, a pool of two, `with_retry` and `with_fallbacks` take turns within each round, so that a busy machine
slows all of them alike; the figure is the median over the rounds of what each adds to the bare model in the
same round. `with_resilience` has its defaults: retries, breaker, clocks, and the check of the answer.

Run with ``make bench``; fails if the limit is missed. On a machine that is slowed down by others the limit is
the same share of what `with_fallbacks` adds there, which on a quiet one is 35 to 60 µs.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

import holdfast as hf
from holdfast.langchain import FailoverChatModel, ResilientFallbacks, ResilientRetry, with_resilience

ROUNDS = 21
CALLS = 50
MOST_MICROSECONDS = 15.0
MOST_OF_FALLBACKS = 0.3

ANSWER = AIMessage("fine", response_metadata={"finish_reason": "stop"})


class Instant(BaseChatModel):
    """Answers at once, in both colours."""

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=ANSWER.model_copy())])

    async def _agenerate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        return self._generate(messages)


def contenders() -> dict[str, Any]:
    model = Instant()
    pool = FailoverChatModel([hf.Node("a", Instant()), hf.Node("b", Instant())])
    return {
        "bare": model,
        "with_resilience": with_resilience(model),
        "FailoverChatModel": pool,
        "ResilientRetry": ResilientRetry(bound=model),
        "ResilientFallbacks": ResilientFallbacks(runnable=model, fallbacks=[Instant()]),
        "with_fallbacks": model.with_fallbacks([Instant()]),
        "with_retry": model.with_retry(),
    }


def invoke(model: Any) -> float:
    """Microseconds per call."""
    started = time.thread_time_ns()
    for _ in range(CALLS):
        model.invoke("hi")
    return (time.thread_time_ns() - started) / CALLS / 1000


def ainvoke(model: Any) -> float:
    """Microseconds per call, within one loop."""

    async def calls() -> float:
        started = time.thread_time_ns()
        for _ in range(CALLS):
            await model.ainvoke("hi")
        return (time.thread_time_ns() - started) / CALLS / 1000

    return asyncio.run(calls())


def added(measure: Callable[[Any], float], models: dict[str, Any]) -> dict[str, float]:
    """Microseconds that each adds to the bare model, and what the bare one takes."""
    for model in models.values():
        measure(model)
    rounds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        bare = measure(models["bare"])
        for name, model in models.items():
            rounds[name].append(bare if name == "bare" else measure(model) - bare)
    return {name: statistics.median(figures) for name, figures in rounds.items()}


def main() -> int:
    models = contenders()
    gc.disable()
    fine = True
    for measure in (invoke, ainvoke):
        figures = added(measure, models)
        bare = figures.pop("bare")
        print(f"{measure.__name__}: the bare model takes {bare:.1f} µs; each adds, in µs:")
        for name, figure in figures.items():
            limit = f"  (at most {MOST_MICROSECONDS:g})" if name == "with_resilience" else ""
            print(f"  {name:20}{figure:8.1f}{limit}")
        most = max(MOST_MICROSECONDS, MOST_OF_FALLBACKS * figures["with_fallbacks"])
        fine = fine and figures["with_resilience"] <= most
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
