"""Which HTTP status each failure is. Not one of them is a 500: each tells the client what to do next.

=========================  ======================  ======================================================
`hf.Rejected`              503 with `Retry-After`  nothing was sent, and it says when to come back
`hf.CallTimeout`           504                     a model was asked and had no answer in time
`httpx.HTTPError`          502                     a model's own error, after all attempts
the same, status 4xx       400                     the model says that the question is wrong
=========================  ======================  ======================================================
"""

from __future__ import annotations

import math
from typing import Any

import httpx
from fastapi import Request
from fastapi.responses import JSONResponse

import holdfast as hf


async def refused(request: Request, error: hf.Rejected) -> JSONResponse:
    seconds = max(1, math.ceil(error.retry_after or 0.0))
    detail = {"detail": "not available now", "reason": error.reason}
    return JSONResponse(detail, 503, headers={"Retry-After": str(seconds)})


async def too_late(request: Request, error: hf.CallTimeout) -> JSONResponse:
    return JSONResponse({"detail": "no answer in time"}, 504)


async def bad_answer(request: Request, error: httpx.HTTPError) -> JSONResponse:
    if hf.classify(error).kind == "request":
        return JSONResponse({"detail": "the model cannot read this"}, 400)
    return JSONResponse({"detail": "the models failed", "attempts": len(hf.history(error))}, 502)


# Found by class: the one for `Rejected` serves all rejections.
HANDLERS: dict[int | type[Exception], Any] = {
    hf.Rejected: refused,
    hf.CallTimeout: too_late,
    httpx.HTTPError: bad_answer,
}
