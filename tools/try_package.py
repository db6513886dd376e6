"""Installs a finished wheel and sdist as users would: into empty environments, each extra by itself.

    python tools/try_package.py WHEEL [SDIST]

In each environment the package is imported, a guarded function is called, and, where its extra is there, what the
extra brings. Prints the size of the wheel beside what it should stay under.
"""

from __future__ import annotations

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


def extras(wheel: Path) -> list[str]:
    """What the wheel's metadata offers, and nothing at all."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        found = re.findall(r"^Provides-Extra: (\S+)$", archive.read(name).decode(), flags=re.MULTILINE)
    return ["", *found]


def install_and_use(what: Path, extra: str, folder: Path) -> None:
    """One empty environment; raises `CalledProcessError` if anything in it fails."""
    place = folder / (extra or "bare")
    venv.create(place, with_pip=True, clear=True)
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wanted = f"{what}[{extra}]" if extra else str(what)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", wanted]
    subprocess.run(pip, check=True)
    subprocess.run([python, "-I", "-W", "error", "-c", USES.get(extra, PLAIN)], cwd=folder, check=True)


def main(arguments: list[str]) -> int:
    wheel, *sdists = [Path(argument).resolve() for argument in arguments]
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size / 1024**2:.2f} MiB (should stay under {MOST / 1024**2:.0f} MiB)")
    with tempfile.TemporaryDirectory() as name:
        for extra in extras(wheel):
            install_and_use(wheel, extra, Path(name))
            print(f"holdfast{f'[{extra}]' if extra else ''}: installs into an empty environment and works")
        for sdist in sdists:
            install_and_use(sdist, "", Path(name) / "sdist")
            print(f"{sdist.name}: builds, installs and works")
    return 0 if size <= MOST else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
