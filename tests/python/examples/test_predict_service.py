"""The `/predict` service among the examples: as real processes on loopback, and its parts."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

import holdfast as hf
from predict_service import errors, limits, metrics
from predict_service.drive import EXAMPLES, PATIENCE_SECONDS, Stage, until

HERE = EXAMPLES / "predict_service"
GUIDE = EXAMPLES.parent / "docs" / "guides" / "web-services.md"

# Three processes are started and waited for; on a busy machine that takes its time.
pytestmark = pytest.mark.timeout(240)


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    """The service over two models, all three of them processes, and ready."""
    stage = Stage()
    async with stage.client:
        with stage.main, stage.spare, stage.service:
            await until(stage.ready)
            yield stage


def scenes(printed: str) -> list[str]:
    """What stands in the first column."""
    return [scene for line in printed.splitlines() if (scene := line[:44].strip())]


def test_every_promise_is_kept() -> None:
    """The whole script: killed, hanging, failing and crowded models, a stop under load; and the README shows it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "predict_service.drive", "--log"],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO" not in done.stdout
    assert "promised" not in done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    shown = re.search(r"```text\n(all is well.*?)```", (HERE / "README.md").read_text("utf-8"), re.DOTALL)
    assert shown is not None
    assert scenes(done.stdout) == scenes(shown[1])


async def test_the_metrics_are_what_prometheus_reads(stage: Stage) -> None:
    """Every line is a sample of a family that has been introduced, and the outcomes are those of the calls."""
    await stage.faults(stage.main, status=500)
    await stage.load(clients=1, each=6)
    answer = await stage.client.get("/metrics")
    assert answer.headers["content-type"] == metrics.MEDIA_TYPE
    introduced = set(re.findall(r"^# TYPE (\w+) (?:counter|gauge)$", answer.text, re.MULTILINE))
    assert introduced == set(re.findall(r"^# HELP (\w+) .", answer.text, re.MULTILINE))
    samples: dict[str, float] = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            sample = re.fullmatch(r'((\w+)(?:\{\w+="\w+"(?:,\w+="\w+")*\})?) (\d+(?:\.\d+)?(?:e-\d+)?)', line)
            assert sample is not None, line
            assert sample[2] in introduced
            samples[sample[1]] = float(sample[3])
    failed = samples['predict_attempts_total{model="main",outcome="failures"}']
    assert failed >= 3  # more, if a probe was let through meanwhile
    assert samples["predict_calls_total"] == 6
    assert samples["predict_failovers_total"] == failed
    assert samples["predict_outages_total"] == 1
    assert samples['predict_attempts_total{model="spare",outcome="successes"}'] == 6
    states = [f'predict_circuit_state{{model="main",state="{state}"}}' for state in hf.BreakerState]
    assert sum(samples[state] for state in states) == 1
    assert samples[states[0]] == 0, "it is not closed"
    assert samples["predict_requests_under_way"] == 0


async def test_what_is_no_question_reaches_no_model(stage: Stage) -> None:
    """Texts that are missing, empty or too long are the client's fault: 422, and nothing is counted."""
    for body in ({}, {"text": ""}, {"text": "x" * 2001}, {"text": 7}):
        assert (await stage.client.post("/predict", json=body)).status_code == 422
    assert await stage.metric("predict_calls_total") == 0


async def test_clients_in_a_hurry_are_let_go(stage: Stage) -> None:
    """At their deadline, 504; one that has time gets its answer from the other model."""
    await stage.faults(stage.main, delay=60.0)
    hurried = await asyncio.gather(*(stage.ask(seconds=0.2) for _ in range(3)))
    assert [seen.status for seen in hurried] == [504] * 3
    assert (await stage.ask(seconds=20.0)).model == "spare"


async def test_a_model_is_told_how_long_its_caller_waits(stage: Stage) -> None:
    """The service hands the time left on, and a model that hears of it does not work for nobody."""
    await stage.faults(stage.main, delay=60.0)
    async with httpx.AsyncClient(base_url=stage.main.address or "", trust_env=False) as client:
        answer = await client.post("/v1/predict", json={"text": "hi"}, headers={"X-Timeout": "0.1"})
        assert answer.status_code == 504
        assert (await client.get("/faults")).json()["given_up"] == 1
        await stage.load(clients=1, each=1)

        async def both() -> bool:
            return bool((await client.get("/faults")).json()["given_up"] == 2)

        await until(both)


async def test_told_twice_it_does_not_wait() -> None:
    """A second signal ends the draining, which else takes longer than this test may."""
    stage = Stage(notice=2 * PATIENCE_SECONDS)

    async def draining() -> bool:
        return bool((await stage.client.get("/health/ready")).json()["draining"])

    async def gone() -> bool:
        return not stage.service.running

    async with stage.client:
        with stage.main, stage.service:
            await until(stage.ready)
            pid = stage.service.pid
            assert pid is not None
            os.kill(pid, signal.SIGTERM)
            await until(draining)
            os.kill(pid, signal.SIGTERM)
            await until(gone)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2.5", 2.5), ("99", 10), ("", 10), ("soon", 10), ("-1", 10), ("0", 10), ("nan", 10), ("inf", 10)],
)
def test_a_deadline_is_the_client_s_or_ours(header: str, seconds: float) -> None:
    """What a client asks for counts up to our own cap, and nonsense does not."""

    async def app(*_: object) -> None: ...

    assert limits.Deadlines(app, most=10.0).seconds(header.encode()) == seconds


@pytest.mark.parametrize(("after", "header"), [(None, "1"), (0.0, "1"), (0.2, "1"), (1.2, "2"), (30.0, "30")])
async def test_a_refusal_says_when_to_come_back(after: float | None, header: str) -> None:
    """Every rejection is a 503 with whole seconds, rounded up, and at least one."""
    error = hf.CircuitOpen("open", retry_after=after, reason="open", source="a")
    answer = await errors.refused(httpx.Request("GET", "http://a"), error)  # type: ignore[arg-type]
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, header)


def bare(node: ast.AST) -> str:
    """The code without its annotations."""
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            part.returns = None
        if isinstance(part, ast.arg):
            part.annotation = None
    return ast.unparse(node)


def definitions(source: str) -> dict[str, str]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name: bare(node) for node in ast.parse(source).body if isinstance(node, kinds)}


def test_the_guide_shows_the_same_code() -> None:
    """What the page about web services defines under the same names is what runs here."""
    blocks: Callable[[str], list[Any]] = re.compile(
        r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE
    ).findall
    shown = definitions("\n".join(blocks(GUIDE.read_text("utf-8"))))
    for name in ("refused", "too_late", "Deadlines"):
        path = HERE / ("limits.py" if name == "Deadlines" else "errors.py")
        assert definitions(path.read_text("utf-8"))[name] == shown[name], name


def test_its_files_are_short() -> None:
    """It is there to be read."""
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in Path(HERE).glob("*.py")}
    assert {
        name: length for name, length in lengths.items() if length > (250 if name == "drive.py" else 120)
    } == {}
