"""What `import holdfast` costs: time and memory over the bare interpreter, each in interpreters of their own.

Time is the children's own on the processor: an import does not wait, and a busy machine should not count.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

MOST_MILLISECONDS = 30.0
MOST_MEGABYTES = 6.0

PEAK = """
with open("/proc/self/status") as status:
    print(next(line for line in status if line.startswith("VmHWM:")).split()[1])
"""


def report(rounds: int) -> tuple[str, bool, dict[str, object]]:
    """The line, whether the budget is kept, and the figures as data."""
    took = {"pass": [], "import holdfast": []}
    for number in range(rounds):
        for code in list(took)[:: 1 if number % 2 else -1]:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            took[code].append(spent * 1e3)
    bare, ours = (statistics.median(samples) for samples in took.values())
    adds = statistics.median(o - b for b, o in zip(*took.values(), strict=True))
    text = (
        f"import holdfast: {adds:+.1f} ms (at most {MOST_MILLISECONDS:g}; bare {bare:.1f}, ours {ours:.1f})"
    )
    met = adds <= MOST_MILLISECONDS
    figures = {"name": "import holdfast", "says": "ms", "figure": adds, "limit": MOST_MILLISECONDS}
    if Path("/proc/self/status").exists():
        bare_mb, ours_mb = peak("pass"), peak("import holdfast")
        text += f", {ours_mb - bare_mb:+.1f} MB (at most {MOST_MEGABYTES:g}; bare {bare_mb:.1f}, ours {ours_mb:.1f})"
        met = met and ours_mb - bare_mb <= MOST_MEGABYTES
        figures |= {"megabytes": ours_mb - bare_mb, "most_megabytes": MOST_MEGABYTES}
    return f"{'met' if met else 'MISSED':6}  {text}", met, {**figures, "met": met}


def peak(code: str) -> float:
    """The most memory that an interpreter has held that runs this, in megabytes; the median of five."""
    command = [sys.executable, "-P", "-c", code + PEAK]
    told = [subprocess.run(command, capture_output=True, text=True, check=True, timeout=60) for _ in range(5)]
    return statistics.median(int(run.stdout) for run in told) / 1024
