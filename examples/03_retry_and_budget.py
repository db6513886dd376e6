"""Retry with a budget: a blip is survived, an outage is not fed.

A retry takes a token from the budget, and a call that succeeds at once puts a tenth of one back. In an outage the
budget runs empty, and from then on a failing service gets one request per call instead of three.

Runs offline: the service is a function that fails on schedule.
"""

import holdfast as hf
from holdfast.testing import scripted

BACKOFF = hf.exponential(0.01, factor=2.0, cap=0.1, jitter="full")

# A blip: the first two attempts fail, the third succeeds.
blip = scripted(ConnectionError("reset"), ConnectionError("reset"), "the answer")
print(hf.Retry(3, backoff=BACKOFF).call(blip), f"after {blip.calls} attempts")

# What was tried stands in the exception, as notes for people and as data for programs.
broken = scripted(ConnectionError("reset"))
try:
    hf.Retry(2, backoff=BACKOFF).call(broken)
except ConnectionError as error:
    print(f"{error!r} after {len(hf.history(error))} attempts")
    print(*error.__notes__)

# An outage: a hundred calls, none of which can succeed.
budget = hf.RetryBudget(tokens=10)
down = scripted(ConnectionError("down"))
outage = hf.Retry(3, backoff=BACKOFF, budget=budget)(down)
for _ in range(100):
    try:
        outage()
    except ConnectionError:
        continue
print(f"100 calls made {down.calls} requests, not 300; budget left: {budget.available:.0f}")
