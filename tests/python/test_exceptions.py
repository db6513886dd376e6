"""Our own errors: the tree, the sentences, and that all of them travel."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest

import holdfast as hf

REJECTED = [hf.CircuitOpen, hf.NoNodeReady, hf.RateLimited, hf.BulkheadFull, hf.BudgetExhausted]

ONE_OF_EACH = [
    hf.HoldfastError("boom"),
    *(cls("no", retry_after=1.5, reason="open", source="gpt") for cls in REJECTED),
    *(cls(retry_after=1.5, reason="open", source="gpt") for cls in REJECTED),
    hf.CallTimeout("slow", limit=5.0, which="idle"),
    hf.CallTimeout(limit=5.0, which="first_item"),
    hf.StreamInterrupted("cut", received=["a"], cause=ConnectionResetError(104, "reset")),
    hf.StreamInterrupted(received="abc"),
    hf.Truncated("half", received={"text": "half"}),
    hf.ConfigurationError("bad", field="attempts", rule="be positive", value=-1),
    hf.ConfigurationError(field="attempts", rule="be positive", value=-1),
]
FIELDS = ("retry_after", "reason", "source", "limit", "which", "received", "field", "rule", "value")


def through_pickle(exc: Any) -> Any:
    return pickle.loads(pickle.dumps(exc))


TRAVELS = [through_pickle, copy.copy, copy.deepcopy]


def test_tree() -> None:
    """Parents are as the documentation draws them, the builtin ones included."""
    assert all(issubclass(cls, hf.Rejected) for cls in REJECTED)
    for cls in (
        hf.Rejected,
        hf.CallTimeout,
        hf.StreamInterrupted,
        hf.Truncated,
        hf.ConfigurationError,
    ):
        assert issubclass(cls, hf.HoldfastError)
    assert issubclass(hf.CallTimeout, TimeoutError)
    assert issubclass(hf.ConfigurationError, ValueError)
    assert not issubclass(hf.Rejected, (OSError, ValueError))


def test_public_name() -> None:
    """Tracebacks and pickles name the errors as users import them."""
    assert {type(exc).__module__ for exc in ONE_OF_EACH} == {"holdfast"}


@pytest.mark.parametrize("travel", TRAVELS)
@pytest.mark.parametrize("exc", ONE_OF_EACH, ids=repr)
def test_travels(exc: Any, travel: Callable[[Any], Any]) -> None:
    """Type, message, fields, notes and own attributes survive pickle, copy and deepcopy."""
    exc.add_note("node gpt, attempt 2")
    exc.extra = [1, 2]
    try:
        twin = travel(exc)
    finally:
        del exc.__notes__, exc.extra
    assert type(twin) is type(exc)
    assert twin is not exc
    assert (str(twin), twin.args) == (str(exc), exc.args)
    assert twin.__notes__ == ["node gpt, attempt 2"]
    assert twin.extra == [1, 2]
    for name in FIELDS:
        assert getattr(twin, name, "absent") == getattr(exc, name, "absent"), name


class OwnInit(hf.CircuitOpen):
    """A user's subclass whose constructor is not ours, with a slot of its own."""

    __slots__ = ("colour",)

    def __init__(self, colour: str) -> None:
        super().__init__(f"circuit is {colour}", retry_after=2.0)
        self.colour = colour


@pytest.mark.parametrize("travel", TRAVELS)
def test_subclass_with_another_constructor_travels(travel: Callable[[Any], Any]) -> None:
    """A subclass is rebuilt without its constructor being called with the wrong arguments."""
    twin = travel(OwnInit("red"))
    assert (type(twin), twin.colour, twin.retry_after, str(twin)) == (
        OwnInit,
        "red",
        2.0,
        "circuit is red",
    )


class Unpicklable(Exception):
    """Pickles, and then cannot be built again: like the errors of most clients."""

    def __init__(self, message: str, *, request: object) -> None:
        super().__init__(message)
        self.request = request


def test_cause_that_does_not_pickle_is_described() -> None:
    """An interruption by a client's unpicklable error pickles, and says what the cause was."""
    exc = hf.StreamInterrupted(received="abc", cause=Unpicklable("cut", request=object()))
    with pytest.raises((TypeError, pickle.PicklingError)):
        through_pickle(exc.cause)
    twin = through_pickle(exc)
    assert twin.received == "abc"
    assert isinstance(twin.cause, hf.HoldfastError)
    assert "Unpicklable: cut" in str(twin.cause)
    assert twin.__cause__ is twin.cause


def test_copy_shares_the_cause() -> None:
    """A copy, shallow or deep, keeps the very cause, even one that cannot be copied."""
    exc = hf.StreamInterrupted(received=["a"], cause=Unpicklable("cut", request=object()))
    shallow, deep = copy.copy(exc), copy.deepcopy(exc)
    assert shallow.cause is deep.cause is exc.cause
    assert shallow.received is exc.received
    assert deep.received == exc.received
    assert deep.received is not exc.received


def test_value_that_does_not_pickle_is_described() -> None:
    """A value that cannot travel goes as its representation; its siblings go as they are."""
    twin = through_pickle(hf.ConfigurationError(field="key", rule="be a name", value=lambda: None))
    assert "<lambda>" in twin.value
    twin = through_pickle(hf.Truncated(received=["a", lambda: None]))
    assert twin.received[0] == "a"
    assert "<lambda>" in twin.received[1]


class Unshowable:
    """Neither pickles nor shows itself."""

    def __reduce__(self) -> Any:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_value_that_cannot_even_be_shown_travels() -> None:
    """A hostile value does not keep the error from travelling."""
    assert "Unshowable" in through_pickle(hf.Truncated(received=Unshowable())).received


def test_cycle_travels() -> None:
    """An error that is its own cause is pickled once, not for ever."""
    exc = hf.StreamInterrupted(received="abc")
    exc.cause = exc
    twin = through_pickle(exc)
    assert twin.cause is twin


def test_cause_is_chained() -> None:
    """The cause is shown in the traceback too, without `raise … from`."""
    cause = ConnectionResetError()
    assert hf.StreamInterrupted(received="", cause=cause).__cause__ is cause


@pytest.mark.parametrize(
    ("exc", "sentence"),
    [
        (
            hf.CircuitOpen(retry_after=12.34, source="gpt"),
            "The circuit 'gpt' is open; ask again in 12.3 s.",
        ),
        (hf.CircuitOpen(), "The circuit is open."),
        (
            hf.CircuitOpen(reason="half_open", source="gpt"),
            "The circuit 'gpt' is half-open and all its probes are out.",
        ),
        (
            hf.NoNodeReady(source="pool", retry_after=0.5),
            "No node of 'pool' is ready; ask again in 0.5 s.",
        ),
        (hf.CallTimeout(limit=30, which="total"), "The call did not end within 30 s."),
        (
            hf.CallTimeout(limit=2.5, which="first_item"),
            "The stream gave no first item within 2.5 s.",
        ),
        (
            hf.StreamInterrupted(received="", cause=ConnectionResetError()),
            (
                "The stream was interrupted by ConnectionResetError after its first content had "
                "been handed out."
            ),
        ),
        (hf.Truncated(received=""), "The answer ended too early to be complete."),
        (
            hf.ConfigurationError(field="attempts", rule="be 1 or more", value=0),
            "attempts must be 1 or more, got 0",
        ),
    ],
)
def test_sentence(exc: hf.HoldfastError, sentence: str) -> None:
    """Without a message an error says in one sentence what its fields say."""
    assert str(exc) == sentence


def test_message_wins() -> None:
    """A message that is given is what `str()` says."""
    assert str(hf.CircuitOpen("circuit gpt is open", retry_after=1.0, source="gpt")) == "circuit gpt is open"
    assert str(hf.CallTimeout("too slow", limit=1.0)) == "too slow"


def test_no_prompt_in_a_sentence() -> None:
    """What was received or raised is in the fields, never in the text: it may quote a prompt."""
    secret = "the user's secret"
    exc = hf.StreamInterrupted(received=secret, cause=ValueError(secret))
    assert secret not in str(exc)
    assert secret not in str(hf.Truncated(received=secret))


def test_rejection_is_small_and_fresh() -> None:
    """A rejection holds its fields in slots and no reference to anything else."""
    exc = hf.CircuitOpen("open", retry_after=1.0, reason="open", source="gpt")
    assert sys.getsizeof(exc) <= 128
    assert exc.__traceback__ is None
    assert exc.__dict__ == {}
