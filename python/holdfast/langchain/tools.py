"""Tools behind a pipeline: an instance of (a subclass of) their own class.

The hooks that do the work are guarded, inside the tool's one run in the trace: arguments are validated before,
and what the tool makes of its errors (`handle_tool_error`) is made after all attempts.

A `ToolException` is what a tool says to the model ("there is no such city"). It is an answer: it is neither
tried again nor counted against the tool. Interrupts of a graph and cancellations pass through likewise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from langchain_core.tools import BaseTool, ToolException

from holdfast.langchain._twins import twin

Tool = TypeVar("Tool", bound=BaseTool)


def guard_tool(pipeline: Any, tool: Tool) -> Tool:
    """The tool behind the pipeline.

    Args:
        pipeline: The `Pipeline` that every call goes through.
        tool: It is not changed.
    """
    # LangChain asks whether a tool has an `_arun` of its own.
    methods = _METHODS if type(tool)._arun is not BaseTool._arun else {"_run": _run}
    return twin(pipeline, tool, methods)


class Told:
    """What a tool has said to the model, as the value of a call that went well."""

    def __init__(self, said: ToolException) -> None:
        self.said = said


def call_tool(pipeline: Any, work: Callable[[], Any]) -> Any:
    """One guarded call of a tool's work.

    Raises:
        ToolException: What the tool says to the model.
    """

    def attempt() -> Any:
        try:
            return work()
        except ToolException as said:
            return Told(said)

    return _heard(pipeline.call(attempt))


async def acall_tool(pipeline: Any, work: Callable[[], Awaitable[Any]]) -> Any:
    """`call_tool` for asynchronous work."""

    async def attempt() -> Any:
        try:
            return await work()
        except ToolException as said:
            return Told(said)

    return _heard(await pipeline.acall(attempt))


def _heard(answer: Any) -> Any:
    if isinstance(answer, Told):
        raise answer.said
    return answer


def _run(self: Any, *args: Any, **kwargs: Any) -> Any:
    inner = self._holdfast_inner
    return call_tool(self._holdfast_pipeline, lambda: inner._run(*args, **kwargs))


async def _arun(self: Any, *args: Any, **kwargs: Any) -> Any:
    inner = self._holdfast_inner
    return await acall_tool(self._holdfast_pipeline, lambda: inner._arun(*args, **kwargs))


_METHODS = {"_run": _run, "_arun": _arun}
