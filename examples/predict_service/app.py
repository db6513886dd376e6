"""The service: one route, and one decorator on the call that it makes.

Everything around the call is decided in one place, the manager below: which models there are, how long an attempt
may take, when a model is left alone, how much may be under way. The route knows nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, StringConstraints

import holdfast as hf
from predict_service import errors, metrics
from predict_service.limits import Deadlines, Door

# "name=origin" of each model server, the preferred one first.
MODELS = os.environ.get("PREDICT_MODELS", "main=http://127.0.0.1:9001 spare=http://127.0.0.1:9002")

# No request takes longer, whatever its client would wait for.
LONGEST_SECONDS = 10.0


class Question(BaseModel):
    text: Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class Prediction(BaseModel):
    label: str
    score: float
    model: str


def nodes() -> list[hf.Node]:
    """A node for each model server, each in a tier of its own: the next is asked when those before it fail."""
    named = [entry.partition("=") for entry in MODELS.split()]
    return [hf.Node(name, address=origin, tier=tier) for tier, (name, _, origin) in enumerate(named)]


# Thirty-two predictions at once and as many in line, for a second each. Whoever comes then is refused at once.
limit = hf.Bulkhead(32, max_queue=32, queue_timeout=1.0)

models = hf.FailoverManager(
    nodes(),
    name="models",
    heartbeat=hf.Heartbeat(0.5, timeout=1.0, probe=hf.HttpProbe("/health")),
    breaker=hf.CircuitBreaker(failure_threshold=3, success_threshold=1, open_timeout=2.0),
    retry=3,
    timeout=hf.Timeout(LONGEST_SECONDS, attempt=2.0),
    bulkhead=limit,
    exhausted="fail_fast",
)

# No clocks of its own: the attempt's ends it, connecting and waiting for a connection included.
http = httpx.AsyncClient(timeout=None)


@models
async def ask_a_model(node: hf.Node, text: str) -> Prediction:
    """Asks one model; the decorator says which, how often, and for how long."""
    url = f"{node.address}/v1/predict"
    answer = await http.post(url, json={"text": text}, headers=time_left())
    answer.raise_for_status()
    return Prediction(**answer.json(), model=node.name)


def time_left() -> dict[str, str]:
    """What the attempt may still take, for the model to know: after it nobody waits for its answer."""
    attempt = hf.current_attempt()
    left = attempt and attempt.attempt_time_left
    return {} if left is None else {"X-Timeout": f"{left:.3f}"}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with models, http:  # heartbeats begin here, and end after the last request
        yield


door = Door(outside={"/health/live", "/health/ready", "/metrics"})
app = FastAPI(title="predict", lifespan=lifespan, exception_handlers=errors.HANDLERS)
app.add_middleware(Deadlines, most=LONGEST_SECONDS)
app.add_middleware(door.middleware)  # added last, so it is met first: who is refused needs no deadline


@app.post("/predict")
async def predict(question: Question) -> Prediction:
    return await ask_a_model(question.text)


@app.get("/health/live")
async def live() -> dict[str, str]:
    """Should this process be killed? Never because a model is down: a new process would find it down too."""
    return {"status": "alive"}


@app.get("/health/ready")
async def ready() -> JSONResponse:
    """Should this process get requests? While it does not drain and a model may be asked."""
    fine = not door.draining and any(node.ready for node in models.nodes.values())
    state = {"ready": fine, "draining": door.draining, "models": models.explain()}
    return JSONResponse(state, 200 if fine else 503)


@app.get("/metrics")
async def figures() -> Response:
    return Response(metrics.text(models, limit, door), media_type=metrics.MEDIA_TYPE)
