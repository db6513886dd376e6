"""Installs a finished wheel and sdist as users would: into empty environments, each extra by itself.

    python tools/try_package.py WHEEL [SDIST]

In each environment the package is imported, a guarded function is called, and, where its extra is there, what the
extra brings. The README's blocks are written to files as they are printed and run, each by itself, in the first
environment that has what they import; a server of ours stands in for the provider. The wheel must carry its types,
its licences and the notices of what it links. Prints its size beside what it should stay under.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What a wheel should stay under, in bytes: it is downloaded in every cold start of every container.
MOST = 4 * 1024 * 1024

PLAIN = """
import holdfast as hf
assert hf.resilient(retry=3, breaker=hf.CircuitBreaker(), timeout=5.0)(lambda: "fine")() == "fine"
"""
LANGCHAIN = """
from langchain_core.runnables import RunnableLambda
from holdfast.langchain import with_resilience
assert with_resilience(RunnableLambda(lambda text: text + "!")).invoke("fine") == "fine!"
"""
OPENAI = """
import openai
import holdfast as hf
assert isinstance(hf.llm_defaults()(openai.OpenAI(api_key="none")), openai.OpenAI)
"""
ANTHROPIC = OPENAI.replace("openai.OpenAI", "anthropic.Anthropic").replace(
    "import openai", "import anthropic"
)
USES = {
    "": PLAIN,
    "langchain": PLAIN + LANGCHAIN,
    "openai": PLAIN + OPENAI,
    "anthropic": PLAIN + ANTHROPIC,
    "all": PLAIN + LANGCHAIN + OPENAI + ANTHROPIC,
}


# What every wheel must contain, by how the names end.
PARTS = (
    "holdfast/__init__.py",
    "holdfast/py.typed",
    "holdfast/_native.pyi",
    "licenses/LICENSE-MIT",
    "licenses/LICENSE-APACHE",
    "licenses/THIRD-PARTY-NOTICES.txt",
    "entry_points.txt",
)
# Runs a file with a server of ours in the provider's place.
WITH_SERVER = """
import os, runpy, sys
from holdfast._localserver import LocalServer
with LocalServer("alpha") as server:
    os.environ |= {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "none"}
    runpy.run_path(sys.argv[1], run_name="__main__")
"""


def blocks() -> list[str]:
    """The README's Python blocks, as they are printed."""
    found = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    if not found:
        raise SystemExit("the README shows no Python")
    return found


def missing(wheel: Path) -> list[str]:
    """What the wheel should contain and does not."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    return [part for part in PARTS if not any(name.endswith(part) for name in names)]


def run_readme(python: Path, extra: str, folder: Path) -> int:
    """Runs the blocks that this environment is the first to have everything for; answers how many."""
    ran = 0
    for number, block in enumerate(blocks()):
        if ("langchain" in block) != (extra == "openai") or extra not in ("", "openai"):
            continue
        script = folder / f"block_{number}.py"
        script.write_text(block, "utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
        subprocess.run(
            [python, "-I", "-W", "error", "-c", WITH_SERVER, script], cwd=folder, check=True, env=environment
        )
        ran += 1
    return ran


def extras(wheel: Path) -> list[str]:
    """What the wheel's metadata offers, and nothing at all."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        found = re.findall(r"^Provides-Extra: (\S+)$", archive.read(name).decode(), flags=re.MULTILINE)
    return ["", *found]


def install_and_use(what: Path, extra: str, folder: Path) -> Path:
    """One empty environment; answers its interpreter, and raises `CalledProcessError` if anything in it fails."""
    place = folder / (extra or "bare")
    venv.create(place, with_pip=True, clear=True)
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wanted = f"{what}[{extra}]" if extra else str(what)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", wanted]
    subprocess.run(pip, check=True)
    subprocess.run([python, "-I", "-W", "error", "-c", USES.get(extra, PLAIN)], cwd=folder, check=True)
    subprocess.run([python, "-m", "holdfast", "--version"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return python


def main(arguments: list[str]) -> int:
    wheel, *sdists = [Path(argument).resolve() for argument in arguments]
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size / 1024**2:.2f} MiB (should stay under {MOST / 1024**2:.0f} MiB)")
    if lacks := missing(wheel):
        print(f"it lacks {', '.join(lacks)}")
        return 1
    print("it carries its types, its licences and the notices of what it links")
    ran = 0
    with tempfile.TemporaryDirectory() as name:
        for extra in extras(wheel):
            python = install_and_use(wheel, extra, Path(name))
            here = run_readme(python, extra, Path(name))
            ran += here
            also = f"; {here} of the README's blocks run in it as printed" if here else ""
            print(
                f"holdfast{f'[{extra}]' if extra else ''}: installs into an empty environment and works{also}"
            )
        for sdist in sdists:
            install_and_use(sdist, "", Path(name) / "sdist")
            print(f"{sdist.name}: builds, installs and works")
    if ran != len(blocks()):
        print(f"{len(blocks()) - ran} of the README's blocks ran nowhere")
        return 1
    return 0 if size <= MOST else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
