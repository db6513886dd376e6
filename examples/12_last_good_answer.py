"""Graceful degradation: the last good answer to the same question, or else a plain word.

The answer is kept for an hour; when the service fails it stands in, and an event says so each time.

Runs offline: the exchange is a function that can be told to fail.
"""

import holdfast as hf
from holdfast.testing import record_events

exchange_is_up = True


@hf.resilient(
    retry=hf.Retry(2, backoff=0.01),
    fallback=hf.Fallback(last_good=3600.0, value="no rate is known"),
)
def rate(currency: str) -> str:
    if not exchange_is_up:
        raise ConnectionError("the exchange is down")
    return f"1.05 {currency}"


print("up:  ", rate("EUR"))

exchange_is_up = False
with record_events(kinds=["fallback_used"]) as events:
    print("down:", rate("EUR"))
    print("down:", rate("YEN"))
for event in events:
    print(f"event {event.kind}: {event.how}")
