"""The picture of the tour shows what the record says, and nothing when the tour did not hold."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("picture", ROOT / "tools" / "picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _told(held: bool = True) -> dict[str, Any]:
    ends = [{"at": n / 50, "node": "ab"[n % 2] if n < 10 or n >= 60 else "a"} for n in range(-20, 100)]
    ends[3]["node"] = None
    events = [
        {"at": 0.05, "kind": "node_marked_failed", "node": "b"},
        {"at": 0.9, "kind": "heartbeat_missed", "node": "b", "misses": 3},
        {"at": 1.4, "kind": "recovery_completed", "node": "b"},
    ]
    return {
        "victim": "b",
        "restarted": 1.1,
        "calls": len(ends),
        "failed": 1,
        "failed_over": 2,
        "ends": ends,
        "events": events,
        "expectations": [{"held": held, "text": "it holds"}],
    }


def test_every_call_is_in_a_bar() -> None:
    """The heights of the bars of a node add up to its calls, failed ones included, and the title has the counts."""
    told, tool = _told(), _tool()
    root = ElementTree.fromstring(tool.draw(told))
    chart = tool.Chart(told)
    for style, node in (("n0", "a"), ("n1", "b"), ("failed", None)):
        bars = [r for r in root.iter(f"{SVG}rect") if r.get("class") == style and r.get("height") != "11.0"]
        heights = sum(float(bar.get("height", "0")) for bar in bars)
        calls = heights / (tool.FLOOR - tool.TOP) * chart.highest
        assert round(calls) == sum(end["node"] == node for end in told["ends"])
    words = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    assert "1 of 120 calls fail" in words
    assert "0.30 s later it is back" in words


def test_a_tour_that_did_not_hold_is_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The script says so, fails, and writes nothing."""
    record, picture = tmp_path / "tour.json", tmp_path / "tour.svg"
    record.write_text(json.dumps(_told(held=False)), "utf-8")
    assert _tool().main([str(record), str(picture)]) == 1
    assert not picture.exists()
    assert "it holds" in capsys.readouterr().err


def test_the_readme_s_picture_is_there() -> None:
    """The README shows a picture that exists, is whole, and follows light and dark."""
    shown = re.search(r"!\[.*?\]\((docs/pictures/[\w.]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert shown is not None
    text = (ROOT / shown[1]).read_text("utf-8")
    ElementTree.fromstring(text)
    assert "prefers-color-scheme: dark" in text
    assert "0 of" in text
