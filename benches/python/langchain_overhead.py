"""What a guard adds to one call of a LangChain chat model, beside what LangChain's own wrappers add.

The model answers at once, from memory, so that what is left is the cost of calling it. Bare model, guarded
model, a pool of two, `with_retry` and `with_fallbacks` take turns within each round, so that a busy machine
slows all of them alike; the figure is the quickest round of each, less the bare
model's quickest: what disturbs a round only ever makes it slower. `with_resilience` and `FailoverChatModel` have
their defaults: retries, breaker, clocks, and the check of the answer. `with_fallbacks` and `with_retry` are
LangChain's own.

Run with ``make bench``; fails if a limit is missed. ``--json FILE`` writes the figures as data.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

import holdfast as hf
from holdfast.langchain import FailoverChatModel, ResilientFallbacks, ResilientRetry, with_resilience

ROUNDS = 31
CALLS = 50
MOST_MICROSECONDS = 15.0
LIMITED = ("with_resilience", "FailoverChatModel")

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
    quickest = dict.fromkeys(models, float("inf"))
    for _ in range(ROUNDS):
        for name, model in models.items():
            quickest[name] = min(quickest[name], measure(model))
    bare = quickest["bare"]
    return {name: figure if name == "bare" else figure - bare for name, figure in quickest.items()}


def main() -> int:
    logging.getLogger("holdfast").setLevel(logging.ERROR)  # it does not know the client of our model
    models = contenders()
    gc.disable()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    fine, told = True, {"python": platform.python_version(), "unit": "µs"}
    for measure in (invoke, ainvoke):
        figures = told[measure.__name__] = added(measure, models)
        bare = figures["bare"]
        print(f"{measure.__name__}: the bare model takes {bare:.1f} µs; each adds, in µs:")
        for name, figure in figures.items():
            if name == "bare":
                continue
            limit = f"  (at most {MOST_MICROSECONDS:g})" if name in LIMITED else ""
            print(f"  {name:20}{figure:8.1f}{limit}")
            fine = fine and not (limit and figure > MOST_MICROSECONDS)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
