"""Testing guarded code: half a minute passes when the test says so.

`ManualClock` holds the time of every guard in the process; `scripted` fails on schedule; `record_events` tells what
happened. With pytest they are fixtures: `manual_clock`, `recorded_events`.

Runs offline, and in a moment.
"""

import time

import holdfast as hf
from holdfast.testing import ManualClock, record_events, scripted, set_active

# The code under test, as it is in production.
search = hf.CircuitBreaker("search", failure_threshold=1, success_threshold=1, open_timeout=30.0)


def test_the_search_recovers_after_half_a_minute() -> None:
    flaky = scripted(ConnectionError("down"), "fine")
    with ManualClock() as clock, record_events(search) as events:
        try:
            search.call(flaky)
        except ConnectionError:
            print(f"the search has failed: {search.state}")
        clock.advance(29.0)
        print(f"after 29 s: {search.state}, worth asking in {search.retry_after:.0f} s")
        clock.advance(1.0)
        assert search.call(flaky) == "fine"
        print(f"after 30 s: {search.state}")
        assert events.kinds == ["circuit_opened", "circuit_half_opened", "circuit_closed"]
        print("events:", ", ".join(events.kinds))


def test_without_policies() -> None:
    calls = scripted(ConnectionError("down"))
    with set_active(False):
        try:
            hf.Retry(3)(calls)()
        except ConnectionError:
            print(f"policies switched off: {calls.calls} attempt")


began = time.monotonic()
test_the_search_recovers_after_half_a_minute()
test_without_policies()
print(f"30 s of waiting took less than a second: {time.monotonic() - began < 1.0}")
