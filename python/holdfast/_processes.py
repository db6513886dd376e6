"""The processes of a manager's nodes: started and stopped with it, and their ends told."""

from __future__ import annotations

import weakref

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from holdfast._node import Node
    from holdfast._process import ProcessNode


class Processes:
    """Those of the nodes that have one. Holds its manager weakly."""

    __slots__ = ("_manager", "_nodes")

    def __init__(self, manager: Any, nodes: Iterable[Node]) -> None:
        self._manager = weakref.ref(manager)
        self._nodes: list[ProcessNode] = []
        for node in nodes:
            self.add(node)

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def add(self, node: Any) -> None:
        """Attends to the process of a node, if it has one."""
        if not hasattr(node, "_when_it_ends"):
            return
        manager, name = self._manager, node.name

        def ended(how: str) -> None:
            if (owner := manager()) is not None:
                owner._process_ended(name, how)

        node._when_it_ends(ended)
        self._nodes.append(node)

    def start(self) -> None:
        """Starts them side by side, and waits until each can be reached or has failed."""
        if not self._nodes:
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(self._nodes), "holdfast-start") as pool:
            list(pool.map(self._start, self._nodes))

    def _start(self, node: ProcessNode) -> None:
        manager = self._manager()
        if manager is None or node.name not in manager.nodes:  # it has left
            return
        try:
            node.start()
        except (OSError, RuntimeError) as error:  # a TimeoutError is an OSError
            import logging

            logging.getLogger("holdfast").warning("%s", error)
            manager._process_ended(node.name, "could not be started")
        else:
            manager._process_started(node.name)

    def stop(self) -> None:
        """Stops them side by side."""
        if not self._nodes:
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(self._nodes), "holdfast-stop") as pool:
            list(pool.map(lambda node: node.stop(), self._nodes))
