"""What drives a pool of chat models: the manager, its nodes' models, and the attempts on them.

The pool itself (`failover.py`) is a chat model to LangChain; everything about nodes is here. Copies of a pool
share all of it but what was bound to one of them.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from holdfast._completion import Completion
from holdfast.langchain._bindings import Recipe
from holdfast.langchain._call import Call
from holdfast.langchain._copies import quiet_model
from holdfast.langchain._messages import arelay, as_chunk, relay, sign_result
from holdfast.langchain._nodes import marks_its_ends, takes_run_manager
from holdfast.langchain._settings import provider_of, reads_cache_marks, settings_for, without_cache_marks


class Engine:
    """The nodes of a pool.

    Args:
        manager: Their manager.
        completion: What looks at their answers.
        targets: The models of the first nodes; the first of them speaks for the pool.

    Attributes:
        call: The guard of whole answers: ``call(PoolCall)``.
        acall: The same, awaited.
        providers: Those of the first nodes' models.
    """

    def __init__(self, manager: Any, completion: Completion, targets: Sequence[BaseChatModel]) -> None:
        self.manager = manager
        self.completion = completion
        # Keyed by identity; the target is kept, so that its id is not given to another.
        self._members: dict[int, Member] = {}
        self._speaks = provider_of(targets[0])
        self.models = tuple(self._member(target).model for target in targets)
        self.primary = self.models[0]
        self.providers = frozenset(map(provider_of, self.models))
        self.recipe: Recipe | None = None
        self.call: Any = manager._guard(_ask, "function")
        self.acall: Any = manager._guard(_aask, "coroutine")
        # Whether a model can stream is asked of it once: every call wants to know.
        self._streaming = {is_async: self._first_streaming(is_async) for is_async in (False, True)}

    def with_recipe(self, recipe: Recipe) -> Engine:
        """The same nodes, with something bound to them."""
        other = copy.copy(self)
        other.recipe = recipe
        return other

    def streaming(self, *, async_api: bool) -> BaseChatModel | None:
        """The first model that can stream."""
        return self._streaming[async_api]

    def _first_streaming(self, is_async: bool) -> BaseChatModel | None:
        return next((m for m in self.models if m._should_stream(async_api=is_async, stream=True)), None)

    def at(self, node: Any) -> Member:
        """The model to call at this node; what is known of its end markers is told first.

        Copies are made when a node is first used, so that a node added later is treated like the first ones.
        """
        member = self._member(node.target)
        if member.marks is not None:
            self.completion.tell(node.name, member.marks)
        return member

    def _member(self, target: BaseChatModel) -> Member:
        known = self._members.get(id(target))
        if known is None:
            known = self._members[id(target)] = Member(target, self._speaks)
        return known

    def translated(
        self, member: Member, messages: Any, kwargs: Mapping[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """The messages and the keyword arguments of a call, as this node's provider understands them."""
        model, recipe = member.model, self.recipe
        if not member.is_foreign:
            named = dict(kwargs) if recipe is None else recipe.apply(model, kwargs)
        elif recipe is None:
            named = settings_for(model, kwargs)
        else:
            named = {**recipe.own(model, kwargs), **settings_for(model, recipe.changed(kwargs))}
        mixed = member.is_foreign or len(self.providers) > 1
        return (without_cache_marks(messages) if mixed and not member.reads_marks else messages), named


class Member:
    """One node's model, and what every call of it asks.

    Args:
        target: As the user gave it; it is not changed.
        speaks: The provider in whose words the pool is called.
    """

    __slots__ = ("_run", "is_foreign", "marks", "model", "provider", "reads_marks", "target")

    def __init__(self, target: BaseChatModel, speaks: str) -> None:
        self.target = target
        self.model = model = quiet_model(target)
        self.provider = provider_of(model)
        self.is_foreign = speaks != self.provider
        self.reads_marks = reads_cache_marks(model)
        self.marks = marks_its_ends(model)
        self._run = {
            name: takes_run_manager(getattr(type(model), name)) for name in ("_generate", "_agenerate")
        }

    def told(self, hook: str, run_manager: Any) -> dict[str, Any]:
        """The argument that tells this hook of its run, if it wants to know."""
        return {"run_manager": run_manager} if self._run[hook] else {}


class PoolCall(Call):
    """One call of a pool."""

    __slots__ = ("engine", "run_manager")

    def __init__(
        self, engine: Engine, messages: Any, stop: Any, kwargs: dict[str, Any], run_manager: Any, run: Any
    ) -> None:
        super().__init__(engine.primary, (messages, stop), kwargs, run, paid=0)
        self.engine = engine
        self.run_manager = run_manager

    def asked(self, other: tuple[Any, ...], others: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
        """Messages, stop words and keyword arguments of an attempt, given what `resume` said."""
        if not (other or others):
            return (*self.args, self.kwargs)
        (messages, stop), named = self.changed(other, others)
        return messages, stop, named

    def stream(self, node: Any, *other: Any, **others: Any) -> Iterator[ChatGenerationChunk]:
        """One attempt at a stream."""
        member = self.engine.at(node)
        model = member.model
        number = self.begin(model.rate_limiter, node.name)
        messages, stop, named = self.asked(other, others)
        asked, own = self.engine.translated(member, messages, named)
        if model._should_stream(async_api=False, **{**named, "stream": True}):
            run = {} if self.run_manager is None else {"run_manager": self.run_manager}
            chunks = model._stream(asked, stop=stop, **run, **own)
        else:
            run = member.told("_generate", self.run_manager)
            chunks = iter([as_chunk(model._generate(asked, stop=stop, **run, **own))])
        return relay(chunks, None if other or others else {"node": node.name, "attempts": number}, self)

    async def astream(self, node: Any, *other: Any, **others: Any) -> AsyncIterator[ChatGenerationChunk]:
        """`stream`, asynchronously."""
        member = self.engine.at(node)
        model = member.model
        number = await self.abegin(model.rate_limiter, node.name)
        messages, stop, named = self.asked(other, others)
        asked, own = self.engine.translated(member, messages, named)
        if model._should_stream(async_api=True, **{**named, "stream": True}):
            run = {} if self.run_manager is None else {"run_manager": self.run_manager}
            chunks = model._astream(asked, stop=stop, **run, **own)
        else:
            run = member.told("_agenerate", self.run_manager)
            chunks = _once(as_chunk(await model._agenerate(asked, stop=stop, **run, **own)))
        facts = None if other or others else {"node": node.name, "attempts": number}
        async with aclosing(arelay(chunks, facts, self)) as relayed:
            async for chunk in relayed:
                yield chunk


def _ask(node: Any, call: PoolCall) -> ChatResult:
    """One attempt at a whole answer: a plain function, so that one guard serves all calls."""
    member = call.engine.at(node)
    model = member.model
    number = call.begin(model.rate_limiter, node.name)
    messages, stop = call.args
    asked, named = call.engine.translated(member, messages, call.kwargs)
    try:
        result = model._generate(asked, stop=stop, **member.told("_generate", call.run_manager), **named)
    except Exception as error:
        call.error = error
        raise
    return sign_result(result, {"node": node.name, "attempts": number})


async def _aask(node: Any, call: PoolCall) -> ChatResult:
    member = call.engine.at(node)
    model = member.model
    number = await call.abegin(model.rate_limiter, node.name)
    messages, stop = call.args
    asked, named = call.engine.translated(member, messages, call.kwargs)
    run = member.told("_agenerate", call.run_manager)
    try:
        result = await model._agenerate(asked, stop=stop, **run, **named)
    except Exception as error:
        call.error = error
        raise
    return sign_result(result, {"node": node.name, "attempts": number})


async def _once(chunk: ChatGenerationChunk) -> AsyncIterator[ChatGenerationChunk]:
    yield chunk
