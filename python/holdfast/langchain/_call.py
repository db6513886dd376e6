"""One call of a chat model: its arguments, its attempts, and the run that tells of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.rate_limiters import BaseRateLimiter

from holdfast._headers import aheeding_items, heeding, heeding_items
from holdfast.langchain._runs import ATTEMPT_TAG, NODE_TAG

if TYPE_CHECKING:
    from holdfast._chaos import Chaos
    from holdfast._limits import RateLimit
    from holdfast._wrap import Colour


class Call:
    """One call's arguments and attempts.

    Args:
        model: The model that the arguments are for.
        args: Those given by position: the messages first.
        kwargs: Those given by name.
        run_manager: Of the one run that the call has in traces, where LangChain says which it is: retries
            become events of that run, and tags of what it tells from then on.
        paid: How many attempts LangChain has asked the rate limiter for already: it asks once per call, for
            the model that it sees, which would let retries and other nodes pass unseen.

    Attributes:
        error: What the last attempt raised.
        chaos: What makes attempts fail on purpose, or `None`.
        rates: The limits that hear what the headers of good answers say.
    """

    __slots__ = ("_count", "_paid", "_run_manager", "_tags", "args", "chaos", "error", "kwargs", "model",
                 "rates")  # fmt: skip

    def __init__(
        self,
        model: BaseChatModel,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        run_manager: Any = None,
        paid: int = 1,
    ) -> None:
        self.model = model
        self.args = args
        self.kwargs = kwargs
        self.error: Exception | None = None
        self.chaos: Chaos | None = None
        self.rates: tuple[RateLimit, ...] = ()
        # Where nobody listens there is nothing to tell.
        self._run_manager = run_manager if run_manager is not None and run_manager.handlers else None
        self._tags: list[str] | None = None
        self._count = 0
        self._paid = paid

    @property
    def __holdfast_call__(self) -> Any:
        """What a fallback asks of the call."""
        from holdfast.langchain._instead import ModelCall

        return ModelCall(self.model, self.args, self.kwargs)

    def asks(self, hook: Callable[..., Any], colour: Colour) -> Callable[..., Any]:
        """What an attempt calls: the model's hook, heard by the limits, and haunted if there is chaos."""
        if self.rates:
            listen = {"generator": heeding_items, "async_generator": aheeding_items}.get(colour, heeding)
            hook = listen(hook, self.rates)
        return hook if self.chaos is None else self.chaos._around(hook, colour)

    def begin(self, limiter: BaseRateLimiter | None, node: str | None = None) -> int:
        """Begins an attempt once the model's rate limiter lets it pass; returns its number, from 1."""
        number = self._begin(node)
        if number > 1 and self._run_manager is not None:
            manager = self._run_manager
            manager = manager.get_sync() if hasattr(manager, "get_sync") else manager
            manager.on_retry(_retry_state(number, self.error))
        if limiter is not None and number > self._paid:
            limiter.acquire(blocking=True)
        return number

    async def abegin(self, limiter: BaseRateLimiter | None, node: str | None = None) -> int:
        """`begin` without blocking the event loop."""
        number = self._begin(node)
        if number > 1 and self._run_manager is not None:
            await self._run_manager.on_retry(_retry_state(number, self.error))
        if limiter is not None and number > self._paid:
            await limiter.aacquire(blocking=True)
        return number

    def _begin(self, node: str | None) -> int:
        self._count += 1
        if self._run_manager is not None and (self._count > 1 or node is not None):
            if self._tags is None:
                self._tags = list(self._run_manager.tags)
            tags = list(self._tags)
            if self._count > 1:
                tags.append(ATTEMPT_TAG.format(self._count))
            if node is not None:
                tags.append(NODE_TAG.format(node))
            self._run_manager.tags = tags
        return self._count

    def changed(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of an attempt, given what `resume` said: nothing, before a stream has broken.

        New messages stand in the place of the first ones, in any form that `invoke` takes; names that it
        does not mention stay as they were.
        """
        if args:
            messages = self.model._convert_input(args[0]).to_messages()
            args = (messages, *args[1:], *self.args[len(args) :])
        return args or self.args, {**self.kwargs, **kwargs}


def _retry_state(number: int, error: Exception | None) -> Any:
    """What LangChain's `on_retry` is given, which it has from tenacity: this attempt is to be the next."""
    from tenacity import RetryCallState, Retrying

    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = number - 1
    if error is not None:
        state.set_exception((type(error), error, error.__traceback__))
    return state
