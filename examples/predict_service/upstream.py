"""A model server that fails when it is told to: `python -m predict_service.upstream --port 9001`.

Its model is a list of words, so that the same text always gets the same answer. `PUT /faults` says what goes wrong:
`{"status": 503}`, `{"delay": 30}`, both, or `{}` for nothing. It hears how long its caller waits (`X-Timeout`), and
does not go on for one that has left.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

GOOD = frozenset({"good", "great", "like", "love", "nice"})
BAD = frozenset({"awful", "bad", "dull", "hate", "slow"})


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    label: str
    score: float


class Faults(BaseModel):
    status: int | None = None
    delay: float = 0.0


app = FastAPI(title="a model")
app.state.faults = Faults()
app.state.given_up = 0


@app.post("/v1/predict")
async def predict(question: Question, x_timeout: Annotated[float | None, Header()] = None) -> Answer:
    faults: Faults = app.state.faults
    try:
        async with asyncio.timeout(x_timeout):
            await asyncio.sleep(faults.delay)
    except TimeoutError:
        app.state.given_up += 1
        raise HTTPException(504, "the caller has left") from None
    if faults.status is not None:
        raise HTTPException(faults.status, "told to fail")
    return judge(question.text)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/faults")
async def what_happened() -> dict[str, object]:
    return {"faults": app.state.faults, "given_up": app.state.given_up}


@app.put("/faults")
async def set_faults(faults: Faults) -> Faults:
    app.state.faults = faults
    return faults


def judge(text: str) -> Answer:
    """The share of kind words among those that judge; 0.5 where none does."""
    words = {word.strip(".,!?").lower() for word in text.split()}
    good, bad = len(words & GOOD), len(words & BAD)
    score = (1 + good) / (2 + good + bad)
    return Answer(label="positive" if score >= 0.5 else "negative", score=round(score, 3))


def main() -> None:
    parser = argparse.ArgumentParser(prog="predict_service.upstream", description="A model that can fail.")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
