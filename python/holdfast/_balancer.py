"""Who is asked next: the names of the balancers, and balancers of the user's own."""

from __future__ import annotations

from holdfast._exceptions import refuse

TYPE_CHECKING = False  # not from `typing`, which would load `re` and more at import
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Literal, Protocol, TypeAlias

    from holdfast import _native
    from holdfast._values import Seconds

    Named: TypeAlias = Literal[
        "round_robin", "weighted", "random", "weighted_random", "least_connections", "p2c", "sticky"
    ]
    StickyKey: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], str | None]

    class Balancer(Protocol):
        """A balancer of the user's own."""

        def pick(self, candidates: Sequence[_native.NodeView], /) -> Any:
            """One of the candidates, or its name."""


def checked(balancer: object, sticky_key: object) -> Any:
    """What the native side is told of it: its name, or its method.

    Raises:
        ConfigurationError: It is no balancer, or has no key where it needs one, or one where it needs none.
    """
    if sticky_key is not None and not callable(sticky_key):
        raise refuse("sticky_key", "be callable: sticky_key(args, kwargs) -> str", sticky_key)
    if (balancer == "sticky") is not (sticky_key is not None):
        rule = "be given with balancer='sticky', and with no other: what ties a call to a node"
        raise refuse("sticky_key", rule, sticky_key)
    if isinstance(balancer, str):
        return balancer
    pick = getattr(balancer, "pick", None)
    if not callable(pick) or isinstance(balancer, type):
        raise refuse("balancer", "be a name such as 'p2c', or an object with pick(candidates)", balancer)
    return pick


def interval(auto_rebalance: object, seconds: Seconds) -> Seconds | None:
    """How often shares are computed anew; ``None``: never."""
    if not isinstance(auto_rebalance, bool):
        raise refuse("auto_rebalance", "be True or False", auto_rebalance)
    return seconds if auto_rebalance else None
