"""The fixtures that pytest finds by itself wherever Holdfast is installed. Help for *users'* tests."""

from __future__ import annotations

import pytest

TYPE_CHECKING = False  # not from `typing`, which would load more at the start of every test run
if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.testing import ManualClock, record_events


@pytest.fixture
def manual_clock() -> Iterator[ManualClock]:
    """Time for all guards stands still until ``manual_clock.advance(seconds)`` (or ``await ….aadvance``)."""
    from holdfast.testing import ManualClock

    with ManualClock() as clock:
        yield clock


@pytest.fixture
def recorded_events() -> Iterator[record_events]:
    """Every event of the test so far: ``recorded_events.kinds``, ``recorded_events.events``."""
    from holdfast.testing import record_events

    with record_events() as events:
        yield events


@pytest.fixture
def holdfast_inactive() -> Iterator[None]:
    """All guards pass calls on and do nothing else."""
    from holdfast.testing import set_active

    with set_active(False):
        yield


@pytest.fixture
def holdfast_testing() -> Iterator[None]:
    """Calls make one attempt and never wait between attempts."""
    from holdfast.testing import set_testing

    with set_testing(attempts=1):
        yield
