"""The workflow file says what the project says elsewhere: it runs nowhere but at its host, so it is read here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
JOBS: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _commands() -> list[str]:
    return [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]


def test_the_matrix_is_what_we_claim_to_support() -> None:
    """The interpreters of the jobs, of `make test-all` and of the classifiers are the same, on three systems."""
    listed = re.search(r"^PYTHONS \?= (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert listed is not None
    versions = {name.removeprefix("python") for name in listed[1].split()}
    claimed = re.findall(r"Python :: (3\.\d+)\b", "\n".join(PROJECT["project"]["classifiers"]))
    assert {version.removesuffix("t") for version in versions} == set(claimed)
    for job in ("test", "windows"):
        assert set(JOBS[job]["strategy"]["matrix"]["python"]) == versions
    systems = {*JOBS["test"]["strategy"]["matrix"]["os"], JOBS["windows"]["runs-on"]}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    wheels = next(step for step in JOBS["wheels"]["steps"] if "maturin" in step.get("uses", ""))
    assert set(wheels["with"]["args"].partition("--interpreter ")[2].split()) == versions


def test_jobs_call_verbs_that_exist() -> None:
    """Every `make` names a verb of the Makefile, every script is there, and every job ends."""
    verbs = set(re.findall(r"^## ([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
    called = [found[1] for command in _commands() if (found := re.match(r"make ([a-z-]+)", command))]
    assert called
    assert set(called) <= verbs
    for path in re.findall(r"(?:tools|\.ci)/[\w.]+", "\n".join(_commands())):
        assert (ROOT / path).exists(), path
    assert all("timeout-minutes" in job for job in JOBS.values())


def test_groups_that_jobs_install_exist() -> None:
    """What `pip install --group` names is in pyproject.toml."""
    named = set(re.findall(r"--group (\w+)", "\n".join(_commands())))
    assert named
    assert named <= set(PROJECT["dependency-groups"])
