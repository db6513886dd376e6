"""A circuit breaker on a function: what keeps failing is left alone for a while.

Three failures in a row open it. While it is open, calls are refused and nothing is sent. After `open_timeout` one
call at a time may try again, and two good ones close it.

Runs offline: the weather service is a function that can be told to fail.
"""

import time

import holdfast as hf

breaker = hf.CircuitBreaker("weather", failure_threshold=3, success_threshold=2, open_timeout=0.5)
service_is_up = True
asked = 0


@breaker
def weather(city: str) -> str:
    global asked
    asked += 1
    if not service_is_up:
        raise ConnectionError("the weather service is down")
    return f"sun in {city}"


def ask() -> None:
    try:
        said = weather("Bern")
    except hf.CircuitOpen as refused:
        said = f"refused, worth asking again in {refused.retry_after:.1f} s"
    except ConnectionError as error:
        said = f"failed: {error}"
    print(f"{said:<45} circuit {breaker.state}")


ask()

service_is_up = False
for _ in range(5):
    ask()

service_is_up = True
time.sleep(breaker.retry_after or 0.0)
for _ in range(2):
    ask()

metrics = breaker.metrics
print(f"{metrics.calls} calls: {asked} asked the service, {metrics.rejected} were refused")
