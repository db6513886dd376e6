"""Several clients of one SDK behind a manager, seen as one client.

The request that a method has made of its arguments is sent with the client of whichever node is picked: its
address, its key, its headers, and the name that the model has there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast import _classify
from holdfast._exceptions import refuse
from holdfast._llm import llm_fields
from holdfast._pool import FailoverManager
from holdfast.clients._call import Call
from holdfast.clients._guarded import aask, aopen, ask, dressed, fresh, inner_request, kind_of, opened
from holdfast.clients._streams import ClientCompletion

if TYPE_CHECKING:
    from holdfast._node import Node

Client = TypeVar("Client")
Models = Mapping[str, str | Mapping[str, str]]

_EVERYWHERE = frozenset(
    {"default_headers", "default_query", "max_retries", "set_default_headers", "set_default_query", "timeout"}
)
"""What `with_options` may change at every node. Everything else (a key, an address) belongs to one of them."""


def failover_client(
    kind: type[Client], nodes: Sequence[Node], *, models: Models | None = None, **fields: Any
) -> Client:
    """One client over several: a call that fails on one node goes on at the next.

    ::

        client = failover_client(
            openai.OpenAI,
            [hf.Node("openai", openai.OpenAI()), hf.Node("azure", openai.AzureOpenAI(...), tier=1)],
            models={"azure": {"gpt-5": "our-gpt-5"}},
        )

    Args:
        kind: The class of the clients, which is what the result is too. Subclasses are welcome as targets.
        nodes: Their targets are clients, which are not changed; the retries of their SDKs are off on copies.
        models: What a node calls the model, by the node's name: one name, whatever is asked for, or names by
            the name that is asked for; what is not in there is asked for as it is.
        fields: The fields of `holdfast.FailoverManager`; the defaults are those of `holdfast.llm_defaults`.

    The result's `manager` is the manager. `with_options` changes what may be changed at every node: `timeout`,
    headers and query; `max_retries=0` makes a single attempt.

    Raises:
        ConfigurationError: A target is of another class, `models` names no node, or the manager refuses a field.
    """
    nodes = list(nodes)
    names = {node.name for node in nodes}
    models = dict(models or {})
    for node in nodes:
        if not isinstance(node.target, kind):
            raise refuse("target", f"be of the class {kind.__name__} (node {node.name!r})", type(node.target))
    if not names.issuperset(models):
        raise refuse("models", "name nodes", sorted(set(models) - names))
    validate = fields.pop("validate", None)
    own = validate if callable(validate) else None
    completion = ClientCompletion(kind_of(nodes[0].target), check=validate is not False, own=own)
    # Whole answers are looked at in the attempt, which knows what was asked for.
    manager = FailoverManager(
        nodes, **llm_fields(fields), validate=False, _rules=_classify.classify, _completion=completion
    )
    first: Client = fresh(nodes[0].target)
    return dressed(first, PoolDriver(manager, completion, models))


class PoolDriver:
    """Clients behind a manager.

    Args:
        manager: Its nodes' targets are attended copies of the clients.
        completion: Looks at the answers.
        models: The names of models, by node.
        changes: What `with_options` has changed, for all of them.
    """

    def __init__(
        self,
        manager: FailoverManager,
        completion: ClientCompletion,
        models: Models,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        self.owner: Any = manager
        self.manager = manager
        self.completion = completion
        # A manager's own limits count over all nodes, of which no provider knows; a node's own are told anyway.
        self.rates: tuple[Any, ...] = ()
        self._models = models
        self._changes = dict(changes or {})
        # Keyed by identity, and the client is kept: a node replaced under its name gets a copy of its own.
        self._changed: dict[int, tuple[Any, Any]] = {}
        self._call: Any = manager._guard(self._ask, "function")
        self._acall: Any = manager._guard(self._aask, "coroutine")
        self._stream: Any = manager._guard(self._open, "generator")
        self._astream: Any = manager._guard(self._aopen, "async_generator")

    def changed(self, changes: Mapping[str, Any]) -> PoolDriver:
        """The same with these changes at every node.

        Raises:
            ConfigurationError: A change is one that belongs to a single node.
        """
        if not _EVERYWHERE.issuperset(changes):
            theirs = sorted(set(changes) - _EVERYWHERE)
            raise refuse("with_options", "change what all nodes have in common", theirs)
        return PoolDriver(self.manager, self.completion, self._models, {**self._changes, **changes})

    def door(self, inner: Any, through: Any) -> Any:
        """What an attempt calls: whatever guards the client of the node has of its own, or the SDK."""
        return partial(inner_request, through)

    def call(self, client: Any, call: Call) -> Any:
        """One call of a synchronous client."""
        return self._call(call, call.once)

    async def acall(self, client: Any, call: Call) -> Any:
        """One call of an asynchronous client."""
        return await self._acall(call, call.once)

    def stream(self, client: Any, call: Call) -> Any:
        """One stream of a synchronous client."""
        return self._stream(call, call.once)

    def astream(self, client: Any, call: Call) -> Any:
        """One stream of an asynchronous client."""
        return self._astream(call, call.once)

    def _at(self, node: Node) -> Any:
        if not self._changes:
            return node.target
        known = self._changed.get(id(node.target))
        if known is None:
            known = self._changed[id(node.target)] = (node.target, node.target.copy(**self._changes))
        return known[1]

    def _ask(self, node: Node, call: Call, once: object) -> Any:
        return ask(self._at(node), call, once, self._models.get(node.name))

    async def _aask(self, node: Node, call: Call, once: object) -> Any:
        return await aask(self._at(node), call, once, self._models.get(node.name))

    def _open(self, node: Node, call: Call, once: object) -> Iterator[Any]:
        return opened(self._at(node), call, once, self._models.get(node.name))

    def _aopen(self, node: Node, call: Call, once: object) -> AsyncIterator[Any]:
        return aopen(self._at(node), call, once, self._models.get(node.name))
