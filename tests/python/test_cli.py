"""The command line as a newcomer meets it: help, errors that are sentences, exit codes that are documented."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast as hf
from holdfast.cli import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text("utf-8")


def _ends(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        return ended.code


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` says it and ends well."""
    assert _ends(["--version"]) == 0
    assert capsys.readouterr().out == f"holdfast {hf.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Help, which is also what no command gives, names what there is, shows examples and the exit codes."""
    assert _ends(arguments) == 0
    said = capsys.readouterr().out
    for word in ("demo", "doctor", "examples:", "exit codes:", "--version"):
        assert word in said
    assert max(map(len, said.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tour"], "holdfast: there is no command 'tour'."),
        (["demo", "--scene", "9"], "holdfast demo: there is no scene 9: they are numbered from 1 to 5."),
        (["demo", "--scene", "x"], "holdfast demo: there is no scene x: they are numbered from 1 to 5."),
        (["demo", "--scene"], "holdfast demo: argument --scene: expected one argument."),
        (["demo", "--fast"], "holdfast: it does not know what to do with '--fast'."),
        (
            ["doctor", "nope"],
            "holdfast doctor: 'nope' must be written module:attribute, app.models:chat for example.",
        ),
        (["doctor", "json:nope"], "holdfast doctor: module 'json' has no attribute 'nope'."),
        (
            ["doctor", "no_such_module:thing"],
            "holdfast doctor: there is no module 'no_such_module' here. "
            "Run doctor in the project's folder, with its environment's Python.",
        ),
    ],
)
def test_errors_are_sentences(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong is said in one sentence on standard error, nothing on standard output; the code is 2."""
    assert _ends(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", sentence)


def test_a_module_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """Whatever a module raises when it is imported is told, without a traceback."""
    (tmp_path / "broken_on_purpose.py").write_text('raise LookupError("no key is set")\n', "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _ends(["doctor", "broken_on_purpose:chat"]) == 2
    said = capsys.readouterr().err
    assert said == "holdfast doctor: importing broken_on_purpose:chat raised LookupError: no key is set.\n"


def test_ctrl_c_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is 130, as shells have it, for both commands."""

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("holdfast.demo.run", interrupted)
    monkeypatch.setattr("holdfast.cli.doctor.doctor", interrupted)
    assert (_ends(["demo"]), _ends(["doctor"])) == (130, 130)


def test_the_module_is_the_command() -> None:
    """`python -m holdfast` is `holdfast`."""
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "--version"],
        capture_output=True,
        text=True,
        timeout=45,
        check=True,
    )
    assert done.stdout == f"holdfast {hf.__version__}\n"


def test_the_exit_codes_are_documented() -> None:
    """Each code that the commands give has a row on the page."""
    rows = re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)
    assert set(rows) >= {"0", "1", "2", "130"}
