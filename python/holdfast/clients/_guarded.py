"""A client behind a pipeline, or over several nodes: a subclass of the client's own class, made on the fly.

Why a subclass and not a wrapper around each method: these clients have hundreds of methods, and helpers (streams
that accumulate, parsed answers, raw responses, pages, polling) that are built on them. All of it ends in one door,
`client.request`; whoever guards that door has guarded everything, and `isinstance` holds as before.

    client.chat.completions.stream(…) ─┐
    client.with_raw_response.…        ─┼── request ── driver ── pipeline or manager ── request of the SDK's class
    client.embeddings.create(…)       ─┘

The user's own client is never touched: the guarded one is a copy with the retries of the SDK off (`_copies.py`).
"""

from __future__ import annotations

import functools
import inspect
import types
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from holdfast import _classify
from holdfast._headers import heeding, rates_of
from holdfast._policies import Pipeline
from holdfast.clients._bounded import bounded, is_http_client
from holdfast.clients._call import Call
from holdfast.clients._copies import prepared, quiet
from holdfast.clients._streams import (
    ClientCompletion,
    afirst_of,
    first_of,
    guarded_stream,
    items_of,
    subclass,
    tie,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from holdfast._chaos import Chaos
    from holdfast._limits import RateLimit

Client = TypeVar("Client")

_DRIVERS, _SINGLE = "_holdfast_drivers", "_holdfast_single"


class Driver(Protocol):
    """What a guarded client's calls go through."""

    owner: Any
    """The pipeline or the manager."""
    completion: ClientCompletion
    rates: tuple[RateLimit, ...]
    """The limits that hear what the headers of good answers say."""

    def changed(self, changes: dict[str, Any]) -> Driver: ...

    def door(self, inner: Any, through: Any) -> Any: ...

    def call(self, client: Any, call: Call) -> Any: ...

    async def acall(self, client: Any, call: Call) -> Any: ...

    def stream(self, client: Any, call: Call) -> Any: ...

    def astream(self, client: Any, call: Call) -> Any: ...


def guard_client(pipeline: Pipeline, client: Client) -> Client:
    """The client behind the pipeline: a copy, of (a subclass of) its own class.

    Args:
        pipeline: What every request of the client goes through.
        client: A client of `openai` or `anthropic`, or of another SDK of the same make. It is not changed.
    """
    return dressed(fresh(client), PipelineDriver(pipeline, kind_of(client)))


def attended(client: Client, *, check: bool = True) -> Client:
    """The client without retries of its own, its answers and streams looked at, and no policy around them.

    What the functions of a manager get: whether and where to ask again is the manager's business.

    Args:
        client: As for `guard_client`.
        check: Are answers looked at?
    """
    return guard_client(Pipeline(validate=None if check else False), client)


def kind_of(client: Any) -> str:
    """How the answers of this client are read."""
    packages = {cls.__module__.partition(".")[0] for cls in type(client).__mro__}
    return "anthropic" if "anthropic" in packages else "openai"


def fresh(client: Client) -> Client:
    """A copy with its own retries off; of a guarded client, a guarded copy."""
    own: Any = client
    copied = own if _DRIVERS in own.__dict__ else quiet(own)
    # Even if nothing was to be switched off: what follows must not be done to the user's own object.
    return cast("Client", prepared(own.copy()) if copied is own else copied)


def dressed(copied: Client, driver: Driver) -> Client:
    """The copy, its door guarded; around the guards that it has already."""
    cls = type(copied)
    copied.__class__ = _guarded_class(cls.__dict__.get("_holdfast_base", cls))
    copied.__dict__[_DRIVERS] = (driver, *copied.__dict__.get(_DRIVERS, ()))
    return copied


@functools.lru_cache(maxsize=64)
def _guarded_class(base: type[Any]) -> type[Any]:
    """The subclass of `base` whose door is guarded."""
    door = _arequest if inspect.iscoroutinefunction(base.request) else _request
    copy = functools.wraps(base.copy)(_fresh_function(_copy))
    return subclass(
        base,
        _holdfast_base=base,
        request=functools.wraps(base.request)(_fresh_function(door)),
        copy=copy,
        with_options=copy,
        pipeline=property(_owner),
        manager=property(lambda self: self.__dict__[_DRIVERS][0].manager),
        breaker=property(lambda self: _owner(self).breaker),
        metrics=property(lambda self: _owner(self).metrics),
    )


def _fresh_function(function: Any) -> Any:
    """A copy, which may be given another name and signature."""
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _owner(self: Any) -> Any:
    """The pipeline or the manager behind this client: the outermost, if there are several."""
    return self.__dict__[_DRIVERS][0].owner


def _request(self: Any, cast_to: Any, options: Any, *, stream: Any = False, stream_cls: Any = None) -> Any:
    return _through(self.__dict__[_DRIVERS], self, cast_to, options, stream=stream, stream_cls=stream_cls)


async def _arequest(
    self: Any, cast_to: Any, options: Any, *, stream: Any = False, stream_cls: Any = None
) -> Any:
    return await _athrough(
        self.__dict__[_DRIVERS], self, cast_to, options, stream=stream, stream_cls=stream_cls
    )


def _through(drivers: Any, client: Any, *asked: Any, **how: Any) -> Any:
    """One call through the drivers, outermost first."""
    driver, *inner = drivers
    call = _call(driver, driver.door(inner, _through), client, *asked, **how)
    if not call.events:
        return driver.call(client, call)
    items = driver.stream(client, call)
    # Taken here and not when the caller asks for it: what is wrong with a request is raised where it is made.
    first = first_of(items)
    return guarded_stream(call, first, items) if call.raw is None else _with_stream(first, call, items)


async def _athrough(drivers: Any, client: Any, *asked: Any, **how: Any) -> Any:
    """`_through` for asynchronous clients."""
    driver, *inner = drivers
    call = _call(driver, driver.door(inner, _athrough), client, *asked, **how)
    if not call.events:
        return await driver.acall(client, call)
    items = driver.astream(client, call)
    first = await afirst_of(items)
    return guarded_stream(call, first, items) if call.raw is None else _with_stream(first, call, items)


def _with_stream(response: Any, call: Call, items: Any) -> Any:
    """The response as it was asked for; its `parse` gives the guarded stream."""
    if call.opened is None:
        return response  # a fallback's own answer: there is no response that it could stand for
    response._parsed_by_type[response._cast_to] = guarded_stream(call, None, items)
    return response


def _call(
    driver: Driver,
    request: Any,
    client: Any,
    cast_to: Any,
    options: Any,
    *,
    stream: Any = False,
    stream_cls: Any = None,
) -> Call:
    single = client.__dict__.get(_SINGLE, False) or options.max_retries == 0
    made = Call(client, request, cast_to, options, stream, stream_cls, driver.completion, single=single)
    rates = driver.rates
    if rates:
        made.change(lambda request: heeding(request, rates))
    return made


def _copy(self: Any, **changes: Any) -> Any:
    """A guarded copy with these changes, behind the same pipeline or manager.

    `max_retries=0` means one attempt per call; any other number of it means nothing, because the guard counts.
    """
    drivers = tuple(driver.changed(changes) for driver in self.__dict__[_DRIVERS])
    retries = changes.pop("max_retries", None)
    made = type(self)._holdfast_base.copy(self, **changes)
    http = made.__dict__.get("_client")
    if is_http_client(http):
        made._client = bounded(http)
    made.__dict__[_DRIVERS] = drivers
    made.__dict__[_SINGLE] = retries == 0 if isinstance(retries, int) else self.__dict__.get(_SINGLE, False)
    return prepared(made)


def bare_request(client: Any, *asked: Any, **how: Any) -> Any:
    """The door of the SDK's own class."""
    return type(client)._holdfast_base.request(client, *asked, **how)


def inner_request(through: Any, client: Any, *asked: Any, **how: Any) -> Any:
    """The door behind the outermost guard of this client."""
    inner = client.__dict__[_DRIVERS][1:]
    return through(inner, client, *asked, **how) if inner else bare_request(client, *asked, **how)


# The attempts: plain functions, so that one guard serves all calls


def ask(client: Any, call: Call, once: object, model: Any = None) -> Any:
    """One attempt at a whole answer."""
    answer = call.send(client, model)
    call.check(call.parsed(answer))
    return call.watched(answer)


async def aask(client: Any, call: Call, once: object, model: Any = None) -> Any:
    """`ask` for asynchronous clients."""
    answer = await call.send(client, model)
    parsed = call.parsed(answer)
    call.check(await parsed if inspect.isawaitable(parsed) else parsed)
    return call.watched(answer)


def opened(client: Any, call: Call, once: object, model: Any = None) -> Iterator[Any]:
    """One attempt at a stream; its items."""
    answer = call.send(client, model)
    call.opened = answer if call.raw is None else answer.parse()
    tie(call)
    items = items_of(call.opened)
    return cast("Iterator[Any]", items if call.raw is None else _headed(answer, items))


def _headed(answer: Any, items: Any) -> Iterator[Any]:
    yield answer
    yield from items


async def aopen(client: Any, call: Call, once: object, model: Any = None) -> AsyncIterator[Any]:
    """`opened` for asynchronous clients."""
    answer = await call.send(client, model)
    parsed = answer if call.raw is None else answer.parse()
    call.opened = await parsed if inspect.isawaitable(parsed) else parsed
    tie(call)
    async with aclosing(items_of(call.opened)) as items:
        if call.raw is not None:
            yield answer
        async for item in items:
            yield item


class PipelineDriver:
    """A client behind a pipeline."""

    def __init__(self, pipeline: Pipeline, kind: str) -> None:
        self.owner: Any = pipeline
        self.completion = completion_for(pipeline, kind)
        self.rates = rates_of(pipeline.rate_limit)
        # Whole answers are looked at in the attempt, which knows what was asked for; what chaos makes of them too.
        given = {**pipeline._given, "validate": False, "chaos": None}
        self._chaos = pipeline.chaos
        opens = (opened, aopen) if self._chaos is None else self._chaotic(self._chaos)
        form = Pipeline(**given, _rules=_classify.classify, _completion=self.completion, _like=pipeline)
        self._call: Any = form._guard(ask, "function")
        self._acall: Any = form._guard(aask, "coroutine")
        self._stream: Any = form._guard(opens[0], "generator")
        self._astream: Any = form._guard(opens[1], "async_generator")

    @staticmethod
    def _chaotic(chaos: Chaos) -> tuple[Any, Any]:
        return chaos._around(opened, "generator"), chaos._around(aopen, "async_generator")

    def changed(self, changes: dict[str, Any]) -> PipelineDriver:
        """The same: what `with_options` changes, it changes on the client."""
        return self

    def door(self, inner: Any, through: Any) -> Any:
        """What an attempt calls: the guards inside this one, or the SDK."""
        return partial(through, inner) if inner else bare_request

    def call(self, client: Any, call: Call) -> Any:
        if (chaos := self._chaos) is not None:
            call.change(lambda request: chaos._around(request, "function"))
        return self._call(client, call, call.once)

    async def acall(self, client: Any, call: Call) -> Any:
        if (chaos := self._chaos) is not None:
            call.change(lambda request: chaos._around(request, "coroutine"))
        return await self._acall(client, call, call.once)

    def stream(self, client: Any, call: Call) -> Any:
        return self._stream(client, call, call.once)

    def astream(self, client: Any, call: Call) -> Any:
        return self._astream(client, call, call.once)


def completion_for(pipeline: Pipeline, kind: str) -> ClientCompletion:
    """What looks at the answers: as `validate` says, `False` for not at all."""
    validate = pipeline._given["validate"]
    own = validate if callable(validate) else None
    return ClientCompletion(kind, check=validate is not False, own=own)
