"""The report says what the figures say: its tables, and those of the README; its plots need what we do not install."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

DATA: dict[str, Any] = {
    "budget": {
        "python": "3.13.2",
        "machine": "a machine",
        "rows": [
            {
                "name": "breaker on f(), success",
                "says": "of partial(f)()",
                "figure": 1.1,
                "limit": 1.15,
                "met": True,
                "ns": {"empty": 0.0, "bare": 20.0, "reference": 50.0, "ours": 55.0, "slowpoke": 1020.0},
            }
        ],
    },
    "heartbeat": {
        "cadence": {"period_ms": 10.0, "ours": [10.0, 11.0, 9.0] * 50, "asyncio": [10.0, 310.0] * 50},
        "many": None,
    },
    "scoreboard": {
        "versions": {"slowpoke": "1.0", "holdfast": "0.1.0"},
        "behaviours": {"one_probe": "half-open admits one", "late_success": "late results change nothing"},
        "results": {
            "slowpoke": {
                "one_probe": {"result": "fails", "why": "30 of 30 <got> through"},
                "late_success": {"result": "n/a", "why": "it has none"},
            },
            "holdfast": {key: {"result": "holds", "why": ""} for key in ("one_probe", "late_success")},
        },
    },
    "faults": [
        {"client": "a", "fault": "ok", "alone": "answered", "pool": "answered", "wrong": []},
        {"client": "b", "fault": "cut", "alone": "raised", "pool": "", "wrong": ["hangs"]},
    ],
}
for cell in DATA["faults"]:
    cell.update(requests=1, pool_requests=1)


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The report's modules that need nothing but Python."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "report"))
    names = ("figures", "tables", "readme")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name in names:
        sys.modules.pop(name, None)


def test_what_was_not_measured_is_named(tool: Any, tmp_path: Path) -> None:
    """A folder with some of the files gives those figures, and the names of the others."""
    (tmp_path / "budget.json").write_text(json.dumps(DATA["budget"]), "utf-8")
    figures = tool.figures.Figures.read(tmp_path)
    assert figures.known == ["budget"]
    assert "scoreboard" in figures.absent
    assert (
        tool.tables.scoreboard(figures) == tool.tables.faults(figures) == tool.tables.heartbeat(figures) == ""
    )


def test_the_quoted_figures_are_the_measured_ones(tool: Any) -> None:
    """What is added is taken from the bare call; jitter is the distance from the period; wrong cells are counted."""
    figures = tool.figures.Figures(DATA)
    assert figures.added(figures.row("breaker on f()")) == {"holdfast": 35.0, "slowpoke": 1000.0}
    assert figures.totals() == {"holdfast": 2, "slowpoke": 0}
    assert max(figures.off("ours")) == 1.0
    assert ("1 of 2", "faults that a client met went wrong") in figures.tiles()


def test_the_tables_show_reasons_and_escape_them(tool: Any) -> None:
    """Why a library fails is in the cell; what others wrote is not HTML of ours; what is wrong is listed."""
    figures = tool.figures.Figures(DATA)
    assert "title='30 of 30 &lt;got&gt; through'" in tool.tables.scoreboard(figures)
    assert "hangs" in tool.tables.faults(figures)
    assert "1 wrong" in tool.tables.faults(figures)
    assert "met" in tool.tables.budget(figures)


def test_the_readme_s_tables_are_replaced_and_nothing_else(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the marks stands what was measured; filling twice changes nothing; without figures it stays."""
    monkeypatch.setattr(tool.readme, "COLUMNS", {"one_probe": "one probe", "late_success": "late results"})
    page = tmp_path / "README.md"
    marks = tool.readme.MARK.format("scoreboard") + "old\n" + tool.readme.END
    page.write_text(f"before\n{marks}after\n", "utf-8")
    assert tool.readme.fill(page, tool.figures.Figures({})) == []
    assert "old" in page.read_text("utf-8")
    assert tool.readme.fill(page, tool.figures.Figures(DATA)) == ["scoreboard"]
    once = page.read_text("utf-8")
    assert tool.readme.fill(page, tool.figures.Figures(DATA)) == ["scoreboard"]
    assert page.read_text("utf-8") == once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "| **holdfast** 0.1.0 | 2 | ✓ | ✓ |" in once
    assert "| slowpoke 1.0 | 0 | ✗ | – |" in once  # noqa: RUF001 a dash, as in the table
    assert "| a breaker on a function | 35 ns | slowpoke 1,000 |" in tool.readme.overhead(
        tool.figures.Figures(DATA)
    )


def test_the_readme_has_both_tables() -> None:
    """They are filled, and hold no figure that nobody measured."""
    text = (ROOT / "README.md").read_text("utf-8")
    for name in ("scoreboard", "overhead"):
        found = re.search(rf"<!-- figures: {name} -->\n(.*?)<!-- end of figures -->", text, flags=re.DOTALL)
        assert found is not None
        assert found[1].count("\n| ") >= 4
        assert "nan" not in found[1]
