"""One call's runs in LangChain's traces: its own, and a child of it for each attempt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables.config import RunnableConfig, patch_config

ATTEMPT_TAG = "retry:attempt:{}"
"""How LangChain's own retries tag the second attempt and those after it."""

NODE_TAG = "holdfast:node:{}"


class Runs:
    """The runs of one call.

    Args:
        run_manager: The manager of the call's own run.
        config: The config of the call.

    Attributes:
        failed: What the attempts have raised so far.
    """

    __slots__ = ("_config", "_count", "_run_manager", "failed")

    def __init__(self, run_manager: Any, config: RunnableConfig) -> None:
        self._run_manager = run_manager
        self._config = config
        self._count = 0
        self.failed: list[Exception] = []

    def begin(self, node: str | None) -> RunnableConfig:
        """Begins an attempt; returns the config of its run, a child of the call's."""
        self._count += 1
        callbacks = self._run_manager.get_child(ATTEMPT_TAG.format(self._count) if self._count > 1 else None)
        if node is not None:
            callbacks.add_tags([NODE_TAG.format(node)], inherit=False)
        return patch_config(self._config, callbacks=callbacks)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Remembers what is raised inside."""
        try:
            yield
        except Exception as error:
            self.failed.append(error)
            raise
