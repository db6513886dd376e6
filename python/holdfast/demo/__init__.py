"""The tour behind `holdfast demo`: a chain of real chat models that survives a killed provider.

==============  =============================================================================================
`scenes.py`     five short scenes, each one thing
`tour.py`       the acts, and what each of them must show
`stage.py`      the three servers, the chain over them
`traffic.py`    callers in threads and in an event loop, and what became of their calls
`chronicle.py`  the events, as they come, and waiting for one
`record.py`     what happened, as data
`paint.py`      colours on a terminal, plain text elsewhere
==============  =============================================================================================

Nothing is staged in the other sense of the word: the servers are processes, the client is the real one, the
kill is a SIGKILL, and every number printed was measured.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

__all__ = ["run"]

MISSING = 2


def run(scene: int | None = None, record: Path | None = None) -> int:
    """Runs the tour on standard output.

    Args:
        scene: Only this one of the five short scenes, and the one it goes on from or leads to.
        record: Where to write what happened in the long tour, as JSON.

    Returns:
        0 if everything held, 1 if something did not, 2 if `langchain-openai` is not installed.
    """
    if importlib.util.find_spec("langchain_openai") is None:
        sys.stderr.write(
            "The tour drives the real ChatOpenAI, which is not installed: pip install 'holdfast[openai]'\n"
        )
        return MISSING
    from holdfast.demo.tour import tour

    return tour(scene, record)
