"""What an answer shows, and whether it may be believed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

MARKERS: Final = ("finish_reason", "stop_reason", "stopReason", "done_reason", "finishReason", "status")
"""The names under which providers put the end marker."""

CUT: Final = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "max_length", "token_limit",
     "model_context_window_exceeded", "incomplete"}
)  # fmt: skip
"""End markers of an answer that met its length limit: true as far as it goes, but its tool calls are not."""

MUTE: Final = CUT | frozenset(
    {"content_filter", "content_filtered", "refusal", "safety", "recitation", "blocklist", "spii",
     "prohibited_content", "image_safety", "guardrail_intervened", "pause_turn"}
)  # fmt: skip
"""End markers that explain an empty answer. A refusal is an answer: to ask again would be to shop around."""

BROKEN: Final = frozenset({"error", "failed", "cancelled", "malformed_function_call"})
"""End markers by which the provider itself says that the answer is none."""

MARKED: Final = frozenset({"openai", "azure", "azure_openai", "anthropic"})
"""Providers that mark the end of every answer: one without a marker has been cut off."""


@dataclass(slots=True)
class Answer:
    """What an answer shows.

    Attributes:
        speaks: Is there text, reasoning, a refusal or structured output in it?
        ends: The end marker of each choice; None where there is none.
        calls: The arguments of each tool call: the raw text, or the object where the provider sends one.
        provider: Who says to have answered.
        node: The node that was asked, in a pool.
    """

    speaks: bool = False
    ends: list[str | None] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    provider: str | None = None
    node: str | None = None

    @property
    def ended(self) -> bool:
        """Has every choice an end marker?"""
        return bool(self.ends) and all(self.ends)


def fault(answer: Answer, marker_required: bool) -> str | None:
    """Why the answer must not be believed, as the end of "The answer …"; None if it may be."""
    ends = {end.lower() for end in answer.ends if end}
    if answer.speaks and not answer.calls and answer.ended and ends.isdisjoint(BROKEN):
        return None
    if ends & BROKEN:
        return "was given up by the provider itself"
    if not answer.speaks and not answer.calls and not ends & MUTE:
        return "is empty"
    if not answer.ended and marker_required:
        return "ended without an end marker: it has been cut off"
    if answer.calls and ends & CUT:
        return "met its length limit in a tool call"
    if not all(_is_whole(arguments, answer.ended) for arguments in answer.calls):
        return "has a tool call whose arguments are not whole"
    return None


def _is_whole(arguments: Any, ended: bool) -> bool:
    """Is it one JSON object, to the letter of RFC 8259?

    No arguments at all are those of a tool that takes none, once an end marker has shown that no more of
    them was to come.
    """
    if isinstance(arguments, dict):
        return True
    if not isinstance(arguments, str):
        return False
    if arguments == "":
        return ended
    try:
        return isinstance(json.loads(arguments, parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
