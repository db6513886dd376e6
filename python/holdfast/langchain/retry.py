"""What stands where LangChain's `RunnableRetry` stands.

A subclass of it, so that `isinstance`, fields, names in traces and serialised ids are the same; every call
goes through a pipeline instead. What differs from LangChain's, and why, is told in docs/guides/langchain.md.
"""

# Annotations are not postponed here: pydantic reads them when the class is made.

import functools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.retry import RunnableRetry
from pydantic import BaseModel, PrivateAttr

import holdfast as hf
from holdfast._chat import is_chat_model
from holdfast._classify import Verdict
from holdfast.langchain._copies import without_sdk_retries
from holdfast.langchain._drop_in import Made, is_own, rebuilding
from holdfast.langchain._paths import Bare, GuardedPaths, Input, Output

_UNLIMITED = 2**31 - 1
"""Attempts, for what LangChain calls 0."""

# The defaults of `tenacity.wait_exponential_jitter`, which LangChain's retries wait by; in seconds.
_WAIT = {"initial": 1.0, "max": 60.0, "exp_base": 2.0, "jitter": 1.0}


class ResilientRetry(GuardedPaths[Input, Output], RunnableRetry[Input, Output]):
    """Tries a runnable again when it fails; stands where LangChain's `RunnableRetry` stands.

    Every call path is guarded, batches element by element, streams until their first item. A time that the
    server asks for is waited; a 400 or 401 is not sent again; an SDK's own retries are off on a copy.

    Args:
        bound: The runnable.
        retry_exception_types: The exceptions that are tried again, or a predicate. The default, every
            `Exception`, leaves out what no attempt can cure (docs/classification.md); what you name yourself
            is tried again whatever it is, except cancellation and what is no `Exception`.
        max_attempt_number: Attempts, the first included. 3.
        wait_exponential_jitter: Wait between attempts? ``False``: not at all, as in LangChain.
        exponential_jitter_params: ``initial``, ``max``, ``exp_base`` and ``jitter`` of the waits, in seconds:
            ``initial · exp_base ⁿ⁻¹``, at most ``max``, with up to ``jitter`` on top but within ``max``.
        kwargs, config, config_factories, custom_input_type, custom_output_type: As of any binding.
    """

    _made: Made = PrivateAttr(default_factory=Made)
    _quiet: Made = PrivateAttr(default_factory=Made)

    @classmethod
    def lc_id(cls) -> list[str]:
        """LangChain's own: a dump of it is a dump of a `RunnableRetry`."""
        return [*cls.get_lc_namespace(), RunnableRetry.__name__]

    @property
    def _pipeline(self) -> hf.Pipeline:
        parameters = self.exponential_jitter_params or {}
        key = (
            self.retry_exception_types,
            self.max_attempt_number,
            self.wait_exponential_jitter,
            tuple(parameters.items()),
        )
        return cast("hf.Pipeline", self._made.get(key, self._make))

    def _make(self) -> hf.Pipeline:
        wait: Any = 0.0
        if self.wait_exponential_jitter:
            numbers: dict[str, Any] = {**_WAIT, **(self.exponential_jitter_params or {})}
            wait = functools.partial(_wait, **numbers)
        retry = hf.Retry(self.max_attempt_number or _UNLIMITED, backoff=wait, budget=None)
        return hf.Pipeline(retry=retry, classify=_named(self.retry_exception_types))

    @property
    def _silent(self) -> Runnable[Any, Any]:
        return cast("Bare", self._quiet.get(id(self.bound), lambda: without_sdk_retries(self.bound)))

    def _run(self, attempt: Callable[[Bare, str | None], Any]) -> Any:
        return self._pipeline.call(attempt, self._silent, None)

    async def _arun(self, attempt: Callable[[Bare, str | None], Awaitable[Any]]) -> Any:
        return await self._pipeline.acall(attempt, self._silent, None)

    def _run_stream(self, attempt: Callable[[Bare, str | None], Iterator[Any]]) -> Iterator[Any]:
        return self._pipeline.stream(attempt, self._silent, None)

    def _run_astream(self, attempt: Callable[[Bare, str | None], AsyncIterator[Any]]) -> AsyncIterator[Any]:
        return self._pipeline.astream(attempt, self._silent, None)

    def _configured(self, config: RunnableConfig) -> RunnableConfig:
        return self._merge_configs(config)

    def _arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**self.kwargs, **kwargs}

    def _speaks(self) -> bool:
        return is_chat_model(self.bound)

    def __getattr__(self, name: str) -> Any:
        """What the runnable has and this has not: `bind_tools`, `profile`, …; what it binds is retried too."""
        try:
            return BaseModel.__getattr__(self, name)  # type: ignore[attr-defined]
        except AttributeError:
            if is_own(name):
                raise
        found = getattr(self.bound, name)
        return rebuilding(found, self._around) if callable(found) else found

    def _around(self, runnable: Runnable[Any, Any]) -> "ResilientRetry":
        fields = {field: getattr(self, field) for field in type(self).model_fields}
        return type(self)(**{**fields, "bound": runnable})


def _wait(number: int, *, initial: float, max: float, exp_base: float, jitter: float) -> float:  # noqa: A002
    """Seconds before the retry with this number, from 1; jittered below the cap too (A4)."""
    try:
        grown = min(initial * exp_base ** (number - 1), max)
    except OverflowError:
        grown = max
    spread = min(jitter, max)
    return min(grown, max - spread) + random.uniform(0.0, spread)


def _named(types: Any) -> Callable[[BaseException, Verdict], Verdict]:
    """What is retried: of the default what may help, of what a user has named all of it."""

    def judge(exc: BaseException, verdict: Verdict) -> Verdict:
        if verdict.outcome == "ignore" or types in ((Exception,), ()):
            return verdict
        wanted = isinstance(exc, types) if isinstance(types, tuple) else types(exc)
        return verdict.but(retry=bool(wanted), fail_over=False)

    return judge
