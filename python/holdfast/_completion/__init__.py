"""Is the answer whole? What a model said is checked before anybody may act on it.

A stream that ends too early looks like one that ended well: no client raises anything, and LangChain mends
half-written tool arguments into a call that runs (``{"path": "/data/`` becomes ``{"path": "/data/"}``). So
every answer of a chat model or a client is held against four rules before it counts as one:

1. it is an answer: not a string or an object of nothing, and it says something;
2. it has an end marker (finish reason, stop reason, status);
3. the arguments of every tool call are whole: strict JSON, read from the raw text;
4. a tool call that met the length limit is no tool call.

::

    whole answers   validator ─┐
                               ├─ reader: what does it show? ─ rules: may it be believed? ─ Truncated
    streams         governor  ─┘
                    └ holds back: empty beginnings, and tool calls until the end has proved them

=================  ========================================================================================
`rules.py`         what is shown, and what follows from it
`governor.py`      what of a stream may be handed out, and when
`completion.py`    both for one guard, and what it remembers of its nodes
`langchain.py`     readers of messages and their chunks
`openai.py`        readers of chat completions and their chunks
`responses.py`     readers of the Responses API
`anthropic.py`     readers of messages and their events
`shape.py`         how objects of other people's libraries are looked at
=================  ========================================================================================

Everything is told by names and attributes; no client is imported. What it deliberately does not do: judge
what was said, or decide what follows. Refusing raises `Truncated`; the pipeline takes it from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast._completion.completion import Completion
from holdfast._completion.governor import Governor, withheld

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Completion", "Governor", "check_message", "governor_for", "validator_for", "withheld"]


def validator_for(kind: str) -> Callable[[Any], None]:
    """What looks at whole answers; it raises `Truncated` for one that must not be believed.

    Args:
        kind: ``"langchain"``, ``"openai"`` (chat completions and responses) or ``"anthropic"``.

    Raises:
        ConfigurationError: There is no such kind.
    """
    return Completion(kind).validate


def governor_for(kind: str) -> Callable[[], Governor]:
    """A factory of governors, one per attempt at a stream. They share what they learn of a provider.

    Args:
        kind: As for `validator_for`.

    Raises:
        ConfigurationError: There is no such kind.
    """
    return Completion(kind).governor


def check_message(message: Any) -> None:
    """Raises `Truncated` if a LangChain message, generation or result must not be believed."""
    Completion("langchain").validate(message)
