"""Chaos: faults on purpose, to see what a guard is worth before the real ones come.

`Chaos` sits next to the call, inside of every other policy, so that each policy meets the faults as it would meet
real ones. With a seed the same calls fail in every run.

Runs offline: the service is a function that never fails by itself.
"""

import holdfast as hf

CALLS = 200


def search(query: str) -> str:
    return f"a page about {query}"


def answered(guard: hf.Pipeline) -> int:
    """How many of so many calls get an answer."""
    guarded, answers = guard(search), 0
    for number in range(CALLS):
        try:
            guarded(f"question {number}")
        except ConnectionError:
            continue
        answers += 1
    return answers


def chaos() -> hf.Chaos:
    return hf.Chaos(error_rate=0.3, seed=7)


# No budget here: with one, retries end early in a storm that does not, as example 03 shows.
twice, thrice = (hf.Retry(attempts, backoff=0.0, budget=None) for attempts in (2, 3))
another = hf.Fallback(value="no page is known")

print(f"out of {CALLS} calls are answered")
print(f"unguarded:             {answered(hf.Pipeline(chaos=chaos()))}")
print(f"two attempts:          {answered(hf.Pipeline(chaos=chaos(), retry=twice))}")
print(f"three attempts:        {answered(hf.Pipeline(chaos=chaos(), retry=thrice))}")
print(f"three and a fallback:  {answered(hf.Pipeline(chaos=chaos(), retry=thrice, fallback=another))}")

faults = chaos()
with faults.off():
    print(f"chaos switched off:    {answered(hf.Pipeline(chaos=faults))}")
