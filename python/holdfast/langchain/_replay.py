"""The streamed input of a call, for more than one attempt (A8).

What an attempt has read of it is kept, so that the next one begins at its beginning; once output has been
handed out there is no next one, and nothing is kept any more. There is no bound on what is kept: LangChain
holds the whole of every streamed input anyway, to show it in traces.

If the input itself breaks, that is the failure of somebody upstream: the guarded runnable sees the error,
but it is neither tried again nor counted against anybody here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any


class InputFailed(BaseException):
    """Carries past the guard what was raised because the input broke. Not an `Exception`: nobody's failure.

    Args:
        error: What the guarded runnable raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _Kept:
    """What both colours of input share."""

    def __init__(self) -> None:
        self._read: list[Any] | None = []
        self._failure: BaseException | None = None

    def forget(self) -> None:
        """Output has been handed out: no further attempt will ask for the beginning."""
        self._read = None

    @contextmanager
    def told(self) -> Iterator[None]:
        """Around an attempt: tells the failures of the input from its own."""
        try:
            yield
        except Exception as error:
            if self._failure is None:
                raise
            raise InputFailed(error) from None

    def _keep(self, item: Any) -> None:
        if self._read is not None:
            self._read.append(item)


class Replay(_Kept):
    """An iterator that every attempt reads from its beginning.

    Args:
        inputs: It is read once.
    """

    def __init__(self, inputs: Iterator[Any]) -> None:
        super().__init__()
        self._inputs = inputs

    def source(self) -> Iterator[Any]:
        """The input of one attempt."""
        yield from list(self._read or ())
        while True:
            try:
                item = next(self._inputs)
            except StopIteration:
                return
            except Exception as error:
                self._failure = error
                raise
            self._keep(item)
            yield item


class AsyncReplay(_Kept):
    """`Replay` for asynchronous iterators."""

    def __init__(self, inputs: AsyncIterator[Any]) -> None:
        super().__init__()
        self._inputs = inputs

    async def source(self) -> AsyncIterator[Any]:
        """The input of one attempt."""
        for item in list(self._read or ()):
            yield item
        while True:
            try:
                item = await anext(self._inputs)
            except StopAsyncIteration:
                return
            except Exception as error:
                self._failure = error
                raise
            self._keep(item)
            yield item
