"""`holdfast doctor`: hidden retries and missing timeouts, found in the real libraries and told in sentences."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from importlib import util
from pathlib import Path

import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import holdfast as hf
from holdfast.cli import main
from holdfast.doctor import Finding, look_at_environment, look_at_libraries
from holdfast.doctor.finding import seconds, times
from holdfast.doctor.libraries import client_finding
from holdfast.doctor.target import paths
from holdfast.langchain import with_resilience

KEY = SecretStr("sk-not-shown-anywhere")


def _model(**fields: object) -> ChatOpenAI:
    return ChatOpenAI(model="any", api_key=KEY, base_url="http://127.0.0.1:9", **fields)  # type: ignore[arg-type]


def _attempts(value: object) -> list[list[int]]:
    return [[layer.attempts for layer in path] for path in paths(value)]


def test_the_hidden_retries_and_the_long_wait_of_a_client_are_named() -> None:
    """The defaults come from the installed library: openai tries three times and waits ten minutes."""
    found = {finding.subject.partition(" ")[0]: finding for finding in look_at_libraries()}
    assert openai.DEFAULT_MAX_RETRIES == 2
    assert found["openai"].level == "warning"
    assert "tried 3 times" in found["openai"].text
    assert "600 s" in found["openai"].text or "10 min" in found["openai"].text
    assert found["langchain_openai"].level == "warning"
    assert "leaves retries to its SDK, which tries each request 3 times" in found["langchain_openai"].text
    assert "sets no timeout" in found["langchain_openai"].text
    assert "3 attempts" in found["langchain_core"].text
    assert "looks like an answer" in found["langchain"].text
    assert all(finding.advice for finding in found.values() if finding.level == "warning")


# What is installed differs from place to place; what doctor says of each is in one form.
SDKS = [name for name in ("openai", "anthropic", "groq", "litellm") if util.find_spec(name)]
MODELS = [
    name for name in ("langchain_openai", "langchain_anthropic", "langchain_groq") if util.find_spec(name)
]


@pytest.mark.parametrize("package", [*SDKS, *MODELS])
def test_every_client_that_is_installed_is_warned_of(package: str) -> None:
    """How often it tries, how long it waits or that it waits for ever, and what to change."""
    (found,) = (one for one in look_at_libraries() if one.subject.partition(" ")[0] == package)
    assert found.level == "warning"
    assert re.search(r"tri(es|ed)( each request)? (\d+ times|twice)", found.text)
    assert re.search(r"no timeout|never ends|wait \d+|timeout of \d", found.text)
    assert re.search(r"llm_defaults|max_retries=0", found.advice)


def test_what_a_model_passes_on_is_what_doctor_says() -> None:
    """The claim, seen in the client that a model builds: three attempts, no timeout, though the SDK has one."""
    client = _model().root_client
    assert client.max_retries == 2
    assert client.timeout is None
    assert openai.DEFAULT_TIMEOUT.read == 600


def test_variables_of_ours_are_told() -> None:
    """A switch that was left on in the environment is seen."""
    found = list(look_at_environment({"HOLDFAST_CHAOS": "0.1", "OPENAI_API_KEY": "sk-secret"}))
    assert [finding.subject for finding in found if finding.level == "note"] == ["HOLDFAST_CHAOS"]
    assert not any("sk-secret" in finding.text for finding in found)


def test_layers_multiply() -> None:
    """`with_retry` around a model with the SDK's default is nine requests; a guarded one is what the guard makes."""
    assert _attempts(openai.OpenAI(api_key="k")) == [[3]]
    assert _attempts(_model()) == [[3]]
    assert _attempts(_model(max_retries=0)) == [[1]]
    assert _attempts(_model().with_retry()) == [[3, 3]]
    assert _attempts(_model().with_fallbacks([_model(max_retries=1)])) == [[3], [2]]
    assert _attempts(with_resilience(_model(), retry=4)) == [[4, 1]]
    assert _attempts(hf.Retry(5)(lambda: None)) == [[5]]


def test_what_is_unknown_has_no_layers() -> None:
    """Anything at all may be given."""
    assert paths(object()) == [[]]
    assert paths(None) == [[]]


APP = """
    import openai
    from langchain_openai import ChatOpenAI
    import holdfast as hf
    from holdfast.langchain import with_resilience

    bare = ChatOpenAI(model="any", api_key="sk-not-shown-anywhere", base_url="http://127.0.0.1:9")
    ninefold = bare.with_retry()
    guarded = with_resilience(bare, retry=3, timeout=60)
    client = openai.OpenAI(api_key="sk-not-shown-anywhere")
    quick = openai.OpenAI(api_key="sk-not-shown-anywhere", max_retries=0, timeout=20)
    nothing = 7
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_models.py").write_text(textwrap.dedent(APP), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("attribute", "code", "said"),
    [
        ("ninefold", 1, "at most 9 requests (3 x 3)"),
        ("bare", 1, "at most 3 requests; a wait in it never ends"),
        ("client", 1, "at most 3 requests"),
        ("quick", 0, "at most 1 request; a single wait in it may take 20 s"),
        ("guarded", 0, "at most 3 requests; it is over after 60 s"),
        ("nothing", 0, "Nothing in it is known"),
    ],
)
def test_an_object_is_judged(
    attribute: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one call of it can become, in a sentence, without its key."""
    assert main(["doctor", f"shop_models:{attribute}"]) == code
    printed = capsys.readouterr().out
    assert said in " ".join(printed.split())
    assert "sk-not-shown" not in printed


@pytest.mark.usefixtures("app")
def test_the_document_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one document, a list of findings."""
    assert main(["doctor", "--json", "shop_models:ninefold", "shop_models:quick"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [finding["level"] for finding in document] == ["warning", "ok"]


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("shop_models", "must be written module:attribute"),
        ("no_such_module_here:x", "there is no module 'no_such_module_here' here"),
        ("shop_models:missing", "has no attribute 'missing'"),
    ],
)
def test_what_cannot_be_looked_at_is_a_sentence(
    spec: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback: one line on stderr, and the code 2."""
    assert main(["doctor", spec]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_it_runs_as_a_command(tmp_path: Path) -> None:
    """`python -m holdfast doctor` looks at this environment, and says that something will hurt."""
    command = [sys.executable, "-P", "-m", "holdfast", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(f"ok    holdfast {hf.__version__}")
    assert "will hurt in an outage" in done.stdout


@pytest.mark.parametrize(
    ("attempts", "wait", "level"),
    [(1, 20.0, "ok"), (1, 600.0, "warning"), (3, 20.0, "warning"), (1, None, "warning")],
)
def test_when_a_client_is_well_set(attempts: int, wait: float | None, level: str) -> None:
    """One attempt and a wait that somebody would wait are well; everything else is told."""
    finding = client_finding("client", attempts, wait)
    assert isinstance(finding, Finding)
    assert finding.level == level


def test_numbers_are_said_as_people_say_them() -> None:
    """Seconds, minutes and hours; once, twice, three times."""
    assert [seconds(value) for value in (0.5, 30, 600, 6000)] == ["0.5 s", "30 s", "10 min", "1.67 h"]
    assert [times(count) for count in (1, 2, 3)] == ["once", "twice", "3 times"]
