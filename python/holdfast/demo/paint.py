"""Colours on a terminal, plain text elsewhere."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Painter:
    """Writes lines, in colour if the stream is a terminal and `NO_COLOR` (no-color.org) is not set."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        dumb = os.environ.get("TERM") == "dumb"
        self._colour = self._out.isatty() and not os.environ.get("NO_COLOR") and not dumb

    def paint(self, text: str, *styles: str) -> str:
        """The text in these styles, or as it is."""
        if not self._colour or not styles:
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"

    def line(self, text: str = "", *styles: str) -> None:
        """One line, out at once: the tour is watched while it runs."""
        self._out.write(self.paint(text, *styles) + "\n")
        self._out.flush()

    def title(self, text: str) -> None:
        """The heading of an act."""
        self.line()
        self.line(text, "bold", "cyan")

    def verdict(self, held: bool, text: str) -> None:
        """One expectation and whether it held."""
        mark = self.paint("ok  ", "green") if held else self.paint("FAIL", "red", "bold")
        self.line(f"  {mark} {text}")
