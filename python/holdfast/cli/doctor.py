"""`holdfast doctor`: prints what `holdfast.doctor` finds."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from holdfast.demo.paint import Painter
from holdfast.doctor import Finding, look_at_environment, look_at_libraries, look_at_target

__all__ = ["doctor"]

# Characters a line of prose may have: what a terminal shows without wrapping.
WIDTH = 96

CLEAN, FOUND, COULD_NOT_LOOK = 0, 1, 2


def doctor(targets: Sequence[str], as_json: bool) -> int:
    """Looks, and prints what it found.

    Args:
        targets: Objects to look at, each as ``module:attribute``; if there are none, the environment.
        as_json: Whether to print one JSON document in place of text.

    Returns:
        0 if nothing was found that multiplies calls or waits without a useful end, 1 if something was, 2 if a target
        could not be looked at.
    """
    try:
        findings = list(_look(targets))
    except ValueError as error:
        return _could_not_look(str(error))
    except ModuleNotFoundError as error:
        return _could_not_look(
            f"there is no module {error.name!r} here. "
            "Run doctor in the project's folder, with its environment's Python."
        )
    except (ImportError, AttributeError) as error:
        return _could_not_look(str(error))
    except Exception as error:  # noqa: BLE001 whatever the user's module does when it is imported
        return _could_not_look(f"importing {', '.join(targets)} raised {type(error).__name__}: {error}")
    if as_json:
        print(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        _print(findings)
    return FOUND if any(finding.level == "warning" for finding in findings) else CLEAN


def _could_not_look(why: str) -> int:
    sentence = why if why.endswith((".", "!", "?")) else f"{why}."
    print(f"holdfast doctor: {sentence}", file=sys.stderr)
    return COULD_NOT_LOOK


def _look(targets: Sequence[str]) -> Iterator[Finding]:
    if not targets:
        yield from look_at_environment()
        yield from look_at_libraries()
    for target in targets:
        yield from look_at_target(target)


def _print(findings: Iterable[Finding]) -> None:
    painter = Painter()
    marks = {"ok": ("ok  ", "green"), "note": ("note", "cyan"), "warning": ("WARN", "yellow")}
    warnings = 0
    for finding in findings:
        mark, colour = marks[finding.level]
        warnings += finding.level == "warning"
        painter.line(f"{painter.paint(mark, colour)}  {painter.paint(finding.subject, 'bold')}")
        for text, style in ((finding.text, ()), (finding.advice, ("dim",))):
            for line in textwrap.wrap(text, WIDTH - 6):
                painter.line(f"      {painter.paint(line, *style)}")
    painter.line()
    end = "Nothing here multiplies calls or waits without end."
    if warnings:
        things = "things" if warnings > 1 else "thing"
        end = f"{warnings} {things} here will hurt in an outage; each line above says what to change."
    painter.line(end, "bold")
