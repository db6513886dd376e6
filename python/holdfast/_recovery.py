"""How a node that is out is brought back."""

from __future__ import annotations

from holdfast import _native, _retry
from holdfast._exceptions import refuse
from holdfast._values import Value

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holdfast._home import Home
    from holdfast._node import Node
    from holdfast._values import Seconds


_WAITS = _retry.exponential(0.5, factor=2.0, cap=30.0, jitter="equal")


class Restart(Value):
    """Restarts a node that is out, brings its state up to date, and asks it until it has recovered. A value.

    Each step is an event: ``recovery_started``, ``restart_attempted``, ``restart_completed``, ``state_synced``,
    and, once the heartbeat's ``recovery_threshold`` is met, ``recovery_completed``; ``restart_failed`` and
    ``restarts_exhausted`` where it goes wrong. Nodes that are drained or disabled by hand are left alone.

    Args:
        restart: A function or async function of the :class:`Node`. It has failed if it raises or answers
            ``False``. ``None``: the node's own way (a :class:`ProcessNode` starts its process again); nodes
            without one are left alone.
        max_restarts: Restarts of one node in any window of ``within`` seconds, over all its outages. When they
            are used up, ``restarts_exhausted`` says until when. 3.
        within: The window, in seconds. 60.
        backoff: The wait after an attempt that failed: seconds, or ``hf.exponential(…)`` and the like. From
            half a second to 30 s, with jitter.
        sync_state: A function or async function of the node, called after a restart that went well: to load
            what it has missed, say. A failure of it is a failure of the restart.
        timeout: Seconds each of the two may take. A coroutine is cancelled then; a function goes on, and the
            node is not restarted again before it has come back. 60.

    Raises:
        ConfigurationError: A field is not what it must be.
    """

    __slots__ = ("restart", "max_restarts", "within", "backoff", "sync_state", "timeout")

    restart: Any  # Callable[[Node], object] | None: a function in a slot would be taken for a method
    max_restarts: int
    within: Seconds
    backoff: _retry.Backoff
    sync_state: Any
    timeout: Seconds

    def __init__(
        self,
        restart: Callable[[Node], object] | None = None,
        *,
        max_restarts: int = 3,
        within: Seconds = 60.0,
        backoff: _retry.Backoff | Seconds = _WAITS,
        sync_state: Callable[[Node], object] | None = None,
        timeout: Seconds = 60.0,
    ) -> None:
        for field, function in (("restart", restart), ("sync_state", sync_state)):
            if function is not None and not callable(function):
                raise refuse(field, "be a function or async function of a node, or None", function)
        law = backoff if isinstance(backoff, _retry.Backoff) else _retry.constant(backoff)
        _native.check_recovery(max_restarts, within, law._core, timeout)
        self._set(
            restart=restart,
            max_restarts=max_restarts,
            within=within,
            backoff=law,
            sync_state=sync_state,
            timeout=timeout,
        )

    def _row(self) -> tuple[Any, ...]:
        """What the native manager is told of it."""
        return self.max_restarts, self.within, self.backoff._core, self.timeout


def as_restart(recovery: object) -> Restart:
    """Reads ``recovery=``; ``None`` leaves it to the nodes that have a way of their own.

    Raises:
        ConfigurationError: It is no :class:`Restart`, function or ``None``.
    """
    if isinstance(recovery, Restart):
        return recovery
    if recovery is None:
        return Restart()
    if not callable(recovery):
        raise refuse("recovery", "be a Restart, a function of a node, or None", recovery)
    return Restart(recovery)


def care_of(node: Node, recovery: Restart, home: Home) -> tuple[Any, Any] | None:
    """What is done for a node that is out: the tasks that restart it and bring its state up to date."""
    own = getattr(node, "_revive", None)
    if recovery.restart is None and own is None:
        return None
    from holdfast import _background

    def revive(_node: Node) -> object:
        assert own is not None
        return own()

    restart = _background.Task(revive if recovery.restart is None else recovery.restart, node, home)
    if recovery.sync_state is None:
        return restart, None
    return restart, _background.Task(recovery.sync_state, node, home)
