"""A guarded callable looks and behaves as `functools.wraps` promises."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import copy
import functools
import gc
import inspect
import pickle
import typing
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import holdfast as hf
from colours import COLOURS, Colour

if TYPE_CHECKING:
    from collections.abc import Callable

guard = hf.CircuitBreaker("introspection")


@guard
def documented(a: int, /, b: str = "x", *rest: float, key: bool = False, **more: object) -> list[str]:
    """What it says."""
    return [str(a), b, *map(str, rest), str(key), *map(str, more)]


@hf.Pipeline(retry=3)
async def fetched(url: str) -> str:
    return url


def with_wraps(function: Callable[..., Any]) -> Callable[..., Any]:
    """The pure-Python wrapper that every guard is measured by."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


ATTRIBUTES = ["__name__", "__qualname__", "__doc__", "__module__", "__annotations__", "__wrapped__"]


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_it_has_the_attributes_that_wraps_gives(attribute: str) -> None:
    """Name, qualified name, doc, module, annotations and `__wrapped__` are the function's."""
    function = documented.__wrapped__  # type: ignore[attr-defined]
    assert getattr(documented, attribute) == getattr(with_wraps(function), attribute)


def test_a_functions_own_attributes_come_along() -> None:
    """Attributes set on the function are there on the guard, and new ones can be set."""

    def function() -> None:
        """Nothing."""

    function.route = "/x"  # type: ignore[attr-defined]
    guarded: Any = guard(function)
    assert guarded.route == "/x"
    guarded.cached = 1
    assert guarded.cached == 1
    assert not hasattr(function, "cached")
    with pytest.raises(AttributeError, match="missing"):
        guarded.missing  # noqa: B018


def test_the_signature_is_the_functions() -> None:
    """`inspect.signature`, `typing.get_type_hints` and `inspect.getsource` see the function."""
    function = documented.__wrapped__  # type: ignore[attr-defined]
    assert inspect.signature(documented) == inspect.signature(function)
    assert str(inspect.signature(documented)).startswith("(a: 'int', /, b: 'str' = 'x', *rest")
    assert typing.get_type_hints(documented)["return"] == list[str]
    assert inspect.unwrap(documented) is function
    assert "What it says." in inspect.getsource(documented)
    assert documented(1, "y", 2.0, key=True, z=0) == ["1", "y", "2.0", "True", "z"]


PREDICATES = (
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
)


def shapes(function: Callable[..., Any]) -> dict[str, Any]:
    """Every form in which a callable can come."""

    class Holder:
        method = function

        def __call__(self, *args: Any) -> Any:
            raise AssertionError("replaced below")

    Holder.__call__ = function  # type: ignore[method-assign, assignment]
    return {
        "function": function,
        "partial": functools.partial(function, 1),
        "partial of partial": functools.partial(functools.partial(function), 1),
        "bound method": Holder().method,
        "callable object": Holder(),
    }


@pytest.mark.parametrize("shape", shapes(lambda: None))
def test_inspect_tells_its_colour(shape: str, colour: Colour) -> None:
    """`iscoroutinefunction` and its kin say of a guard what they say of its target, whatever its form."""
    target = shapes(colour.make(lambda *args: args))[shape]
    guarded = guard(target)
    told = [predicate(guarded) for predicate in PREDICATES]
    expected = [colour.name == name for name in ("coroutine", "generator", "async_generator")]
    assert told == expected
    assert guarded.colour == colour.name
    # And so a guard of a guard has the colour of what is inside.
    assert guard(guarded).colour == colour.name
    assert colour.run(guard(guarded)) is not None


def test_what_streams_give_is_what_abcs_call_generators() -> None:
    """Guarded streams and coroutines are instances of the abstract base classes."""
    from collections.abc import AsyncGenerator, Coroutine, Generator

    made = [guard(colour.make(lambda: 1))() for colour in COLOURS[1:]]
    assert [
        isinstance(thing, kind)
        for thing, kind in zip(made, (Coroutine, Generator, AsyncGenerator), strict=True)
    ]
    assert all(
        isinstance(thing, kind)
        for thing, kind in zip(made, (Coroutine, Generator, AsyncGenerator), strict=True)
    )
    made[0].close()


# ---- methods ----


class Client:
    """A class with a guard in every place where one can stand."""

    breaker = hf.CircuitBreaker("client")

    def __init__(self, name: str = "c") -> None:
        self.name = name

    @breaker
    def method(self, x: int) -> tuple[str, int]:
        """A method."""
        return self.name, x

    @breaker
    async def amethod(self, x: int) -> tuple[str, int]:
        return self.name, x

    @breaker
    def stream(self, n: int) -> Any:
        yield from (self.name for _ in range(n))

    @classmethod
    @breaker
    def inner_class(cls, x: int) -> tuple[str, int]:
        return cls.__name__, x

    @breaker
    @classmethod
    def outer_class(cls, x: int) -> tuple[str, int]:
        return cls.__name__, x

    @staticmethod
    @breaker
    def inner_static(x: int) -> int:
        return x

    @breaker
    @staticmethod
    def outer_static(x: int) -> int:
        return x

    @property
    @breaker
    def shown(self) -> str:
        return self.name

    @functools.cached_property
    @breaker
    def once(self) -> object:
        return object()


class Sub(Client):
    @hf.Retry(2)
    def method(self, x: int) -> tuple[str, int]:
        name, n = super().method(x)
        return "sub " + name, n + 1

    @classmethod
    def outer_class(cls, x: int) -> tuple[str, int]:
        return super().outer_class(x)


def test_methods_bind() -> None:
    """Instance, class and static methods work in both orders of decoration, from class and instance."""
    client = Client()
    assert client.method(1) == ("c", 1)
    assert Client.method(client, 1) == ("c", 1)
    assert asyncio.run(client.amethod(2)) == ("c", 2)
    assert list(client.stream(2)) == ["c", "c"]
    for name in ("inner_class", "outer_class"):
        assert getattr(client, name)(3) == ("Client", 3)
        assert getattr(Client, name)(3) == ("Client", 3)
        assert getattr(Sub, name)(3) == ("Sub", 3)
    for name in ("inner_static", "outer_static"):
        assert getattr(client, name)(4) == 4
        assert getattr(Client, name)(4) == 4
    assert client.shown == "c"
    assert client.once is client.once


def test_a_bound_method_looks_like_one() -> None:
    """`inspect` sees a method, its `__self__`, its `__func__`, its signature without `self`, and its colour."""
    client = Client()
    assert inspect.ismethod(client.method)
    assert client.method.__self__ is client
    assert client.method.__func__ is Client.method  # type: ignore[attr-defined]
    assert list(inspect.signature(client.method).parameters) == ["x"]
    assert list(inspect.signature(Client.method).parameters) == ["self", "x"]
    assert client.method.__name__ == "method"
    assert client.method.__doc__ == "A method."
    assert inspect.iscoroutinefunction(client.amethod)
    assert client.method == client.method
    assert client.method != Client().method


def test_a_subclass_calls_its_super() -> None:
    """`super().method()` reaches the guarded method of the base class."""
    assert Sub("s").method(1) == ("sub s", 2)


def test_an_abstract_method_stays_abstract() -> None:
    """A guard around an abstract method keeps the class from being instantiated, in both orders."""

    class Base(abc.ABC):
        @guard
        @abc.abstractmethod
        def outer(self) -> int: ...

        @abc.abstractmethod
        @guard
        def inner(self) -> int: ...

    assert Base.__abstractmethods__ == {"outer", "inner"}
    with pytest.raises(TypeError, match="abstract"):
        Base()  # type: ignore[abstract]

    class Real(Base):
        @guard
        def outer(self) -> int:
            return 1

        @guard
        def inner(self) -> int:
            return 2

    assert (Real().outer(), Real().inner()) == (1, 2)


def test_other_decorators_work_around_and_inside() -> None:
    """`contextmanager`, `lru_cache`, `partial`, `partialmethod` and `singledispatch` take guards."""
    closed: list[bool] = []

    @contextlib.contextmanager
    @guard
    def managed() -> Any:
        try:
            yield "inside"
        finally:
            closed.append(True)

    with managed() as value:
        assert value == "inside"
    with pytest.raises(KeyError), managed():
        raise KeyError
    assert closed == [True, True]

    @contextlib.asynccontextmanager
    @guard
    async def amanaged() -> Any:
        try:
            yield "inside"
        finally:
            closed.append(True)

    async def use() -> None:
        async with amanaged() as value:
            assert value == "inside"
        with pytest.raises(KeyError):
            async with amanaged():
                raise KeyError

    asyncio.run(use())
    assert closed == [True] * 4

    calls: list[int] = []

    @functools.lru_cache
    @guard
    def cached(x: int) -> int:
        calls.append(x)
        return x

    assert [cached(1), cached(1)] == [1, 1]
    assert calls == [1]
    assert functools.partial(documented, 1)() == ["1", "x", "False"]

    class Dispatching:
        @functools.singledispatchmethod
        @guard
        def kind(self, value: object) -> str:
            return "object"

        @kind.register
        @guard
        def _(self, value: int) -> str:
            return "int"

        half = functools.partialmethod(guard(lambda self, a, b: (a, b)), 1)

    assert (Dispatching().kind("x"), Dispatching().kind(1)) == ("object", "int")
    assert Dispatching().half(2) == (1, 2)


# ---- life ----


def test_it_pickles_and_copies_by_name() -> None:
    """A module-level guard unpickles as itself; copies are itself; methods of it pickle with their object."""
    for thing in (documented, fetched):
        assert pickle.loads(pickle.dumps(thing)) is thing
        assert copy.copy(thing) is thing
        assert copy.deepcopy([thing])[0] is thing
    assert pickle.loads(pickle.dumps(Client("p").method))(1) == ("p", 1)
    assert pickle.loads(pickle.dumps(Client.inner_class))(1) == ("Client", 1)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(guard(lambda: None))


def test_policies_are_their_state_and_are_not_copied() -> None:
    """Breakers, managers and budgets refuse copies and pickles, naming their class (R11)."""
    manager = hf.FailoverManager([hf.Node("a", documented)])
    for thing in (hf.CircuitBreaker(), manager, hf.RetryBudget()):
        for act in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match=type(thing).__name__):
                act(thing)


def test_plain_values_are_copied() -> None:
    """Nodes, heartbeats and probes hold no state: copies and pickles equal them."""
    probe = hf.HttpProbe("/health", headers={"x-key": "1"})
    beat = hf.Heartbeat(2.0, probe=probe)
    node = hf.Node("a", documented, address="http://127.0.0.1:1", tier=1, domains=("region:eu",))
    for thing in (probe, beat, node, hf.CountWindow(3)):
        assert copy.copy(thing) == thing
        assert pickle.loads(pickle.dumps(thing)) == thing
    assert copy.deepcopy(node).target is documented


def test_it_takes_weak_references_and_hashes() -> None:
    """A guard can be referred to weakly, kept in sets, and compared by identity."""

    def function() -> None:
        """Nothing."""

    guarded = guard(function)
    seen: list[bool] = []
    reference = weakref.ref(guarded, lambda _: seen.append(True))
    assert reference() is guarded
    assert {guarded, guarded} == {guarded}
    assert guarded != guard(function)
    del guarded
    gc.collect()
    assert (reference(), seen) == (None, [True])


class Tracked:
    """Something whose end can be seen."""


def cycle_by_attribute() -> Tracked:
    def function() -> None:
        """Nothing."""

    function.tracked = tracked = Tracked()  # type: ignore[attr-defined]
    function.guarded = hf.Pipeline(retry=2)(function)  # type: ignore[attr-defined]
    return tracked


def cycle_by_own_attribute() -> Tracked:
    tracked = Tracked()
    guarded: Any = hf.CircuitBreaker()(lambda: tracked)
    guarded.me = guarded
    return tracked


def cycle_by_classifier() -> Tracked:
    tracked = Tracked()
    pipelines: list[Any] = [tracked]

    def classify(exc: BaseException) -> None:
        pipelines.clear()

    pipelines.append(hf.Pipeline(retry=hf.Retry(2, retry_on=lambda exc: bool(pipelines)), classify=classify))
    return tracked


def cycle_by_node() -> Tracked:
    tracked = Tracked()
    managers: list[Any] = [tracked]
    managers.append(hf.FailoverManager([hf.Node("a", lambda: managers)]))
    return tracked


def cycle_by_half_read_stream() -> Tracked:
    tracked = Tracked()
    streams: list[Any] = [tracked]

    def items() -> Any:
        yield streams
        yield streams

    streams.append(hf.CircuitBreaker()(items)())
    next(streams[1])
    return tracked


def cycle_by_half_run_coroutine() -> Tracked:
    tracked = Tracked()
    calls: list[Any] = [tracked]

    class Wait:
        def __await__(self) -> Any:
            yield calls

    async def call() -> None:
        await Wait()

    calls.append(hf.CircuitBreaker()(call)())
    calls[1].send(None)
    return tracked


@pytest.mark.parametrize(
    "build",
    [
        cycle_by_attribute,
        cycle_by_own_attribute,
        cycle_by_classifier,
        cycle_by_node,
        cycle_by_half_read_stream,
        cycle_by_half_run_coroutine,
    ],
)
def test_r9_cycles_through_guards_are_collected(build: Callable[[], Tracked]) -> None:
    """Whatever refers to itself through a guard, policy, node, stream or call is found by the collector."""
    reference = weakref.ref(build())
    gc.collect()
    assert reference() is None


def test_a_guard_shows_its_policies() -> None:
    """`.pipeline`, `.breaker` and `.metrics` of a guard are those it was made from; its repr names the function."""
    breaker = hf.CircuitBreaker("shown")
    pipeline = hf.Pipeline(breaker=breaker, retry=3)
    guarded: Any = pipeline(documented.__wrapped__)  # type: ignore[attr-defined]
    assert guarded.pipeline is pipeline
    assert guarded.breaker is breaker
    guarded(1)
    assert guarded.metrics.calls == breaker.metrics.calls == 1
    assert repr(guarded) == "<holdfast guard of documented>"
    assert hf.breakers()["shown"] is breaker


@pytest.mark.parametrize("nothing", [None, 3, "text", object(), [print]])
def test_what_is_not_callable_is_refused(nothing: Any) -> None:
    """Decorating something that cannot be called names the field, the rule and the value."""
    for door in (guard, hf.Pipeline(), guard.call, guard.acall, hf.Pipeline().stream, hf.Pipeline().astream):
        with pytest.raises(hf.ConfigurationError) as caught:
            door(nothing)
        assert caught.value.field == "target"
        assert caught.value.value is nothing


def test_a_door_of_the_wrong_colour_is_refused() -> None:
    """`call` of an async function, `stream` of a coroutine function and the like say which door to use."""
    pipeline = hf.Pipeline()
    for colour in COLOURS:
        for other in COLOURS:
            if colour is other or colour.name == "function":
                continue
            with pytest.raises(hf.ConfigurationError, match=rf"used by {colour.door}\b"):
                getattr(pipeline, other.door)(colour.make(lambda: 1))
