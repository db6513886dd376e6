"""Several chat models behind a manager, seen as one.

The pool is one `BaseChatModel` with one run in the trace per call, however many nodes a call visits. What
it says of itself (type, profile, parameters, token counts) is what its first node says: the pool stands
where that model stood.
"""

# Annotations are not postponed here: pydantic reads them when the class is made.

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable

import holdfast as hf
from holdfast._chat import completion_of
from holdfast.langchain._bindings import Recipe, bound_arguments, rebind
from holdfast.langchain._engine import Engine, PoolCall
from holdfast.langchain._instead import told_of
from holdfast.langchain._invoked import caching_hooks, run_of
from holdfast.langchain._nodes import manager_for_llms
from holdfast.langchain._settings import bind_translated, provider_of

Pool = TypeVar("Pool", bound=BaseChatModel)

_ABSENT = object()

# The fields of every chat model; everything else is the manager's. `name` names both.
_OWN_FIELDS = frozenset(BaseChatModel.model_fields) - {"name"}


class FailoverChatModel(BaseChatModel):
    """One chat model over several: a call that fails on one node goes on at the next.

    Args:
        nodes: `holdfast.Node`s whose targets are chat models. They are not changed; the retries of their
            SDKs are off on the copies that are used.
        fields: The fields of `holdfast.FailoverManager` (`heartbeat`, `breaker`, `balancer`, `timeout`, …),
            and those that every chat model has (`callbacks`, `tags`, `metadata`, `cache`, `rate_limiter`,
            …). The defaults are those of `holdfast.llm_defaults`.

    Raises:
        ConfigurationError: A target is not a chat model, or the manager refuses a field.

    Heartbeats start with the first call, or at once with `with model.manager:`.
    A stream can move to another node until its first content has been handed out.
    An answer names its node in `response_metadata["holdfast"]`.
    """

    # Outside the fields, where pydantic's own private attributes cost a call more than the whole rest of it.
    __slots__ = ("_engine",)

    if TYPE_CHECKING:
        _engine: Engine

    def __init__(self, nodes: Sequence[Any], **fields: Any) -> None:
        own = {key: fields.pop(key) for key in list(fields) if key in _OWN_FIELDS}
        nodes = list(nodes)
        completion = completion_of(fields.get("validate"), demanding=True)
        manager = manager_for_llms(nodes, BaseChatModel, fields, completion)
        engine = Engine(manager, completion, [node.target for node in nodes])
        own.setdefault("output_version", engine.primary.output_version)
        own.setdefault("profile", engine.primary.profile)
        super().__init__(name=fields.get("name"), **own)
        object.__setattr__(self, "_engine", engine)

    @property
    def manager(self) -> hf.FailoverManager:
        """The `FailoverManager`: nodes, metrics, events, start and stop."""
        return cast("hf.FailoverManager", self._engine.manager)

    @property
    def _primary(self) -> BaseChatModel:
        return self._engine.primary

    # Copies are over the same manager: what is known of the nodes is not a value to be copied.

    def __copy__(self) -> Self:
        return _over(super().__copy__(), self._engine)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.__copy__()

    def __getstate__(self) -> dict[Any, Any]:
        return {**super().__getstate__(), "_engine": self._engine.manager}

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, FailoverChatModel) and other._engine is self._engine
        return same and bool(super().__eq__(other))

    __hash__ = None  # type: ignore[assignment]  # as of every model of pydantic

    # What it says of itself

    @property
    def _llm_type(self) -> str:
        return self._primary._llm_type

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return dict(self._primary._identifying_params)

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        return self._primary._get_invocation_params(stop=stop, **kwargs)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return self._primary._get_ls_params(stop=stop, **kwargs)

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return self._primary._combine_llm_outputs(llm_outputs)

    def get_token_ids(self, text: str) -> list[int]:
        """The first node's token ids of the text."""
        return self._primary.get_token_ids(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """The first node's count of the tokens in the messages."""
        return self._primary.get_num_tokens_from_messages(messages, tools)

    def __getattr__(self, name: str) -> Any:
        """Facts about the first node, as `model_name`; not its methods, which would go around the pool."""
        if name.startswith("_"):
            return super().__getattr__(name)  # type: ignore[misc]
        value = getattr(self._engine.primary, name, _ABSENT)
        if value is _ABSENT or callable(value):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return value

    # What it does

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        engine = self._engine
        call = PoolCall(engine, messages, stop, kwargs, run_manager, run_manager)
        return cast("ChatResult", engine.call(call))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        engine = self._engine
        call = PoolCall(engine, messages, stop, kwargs, run_manager, run_manager)
        return cast("ChatResult", await engine.acall(call))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = PoolCall(self._engine, messages, stop, kwargs, run_manager, run_manager or run_of(self))
        attempt = told_of(functools.partial(call.stream), self._primary, call.args, kwargs)
        return cast("Iterator[ChatGenerationChunk]", self.manager.run_stream(attempt))

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = PoolCall(self._engine, messages, stop, kwargs, run_manager, run_manager or run_of(self))
        attempt = told_of(functools.partial(call.astream), self._primary, call.args, kwargs)
        return cast("AsyncIterator[ChatGenerationChunk]", self.manager.run_astream(attempt))

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        """The first node that can stream decides; a pool of models that cannot does not."""
        streaming = self._engine.streaming(async_api=async_api)
        if streaming is None or self._streaming_disabled(**kwargs):
            return False
        return streaming._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)

    def _should_use_protocol_streaming(
        self, *, async_api: bool, run_manager: Any = None, **kwargs: Any
    ) -> bool:
        return self._engine.streaming(
            async_api=async_api
        ) is not None and super()._should_use_protocol_streaming(
            async_api=async_api, run_manager=run_manager, **kwargs
        )

    # What can be bound to it

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Binds tools to every node, each in the format of its own provider.

        What only the first node's provider knows (a tool that it runs itself, a setting) is bound to its nodes.

        Raises:
            NotImplementedError: The first node's model has no tools.
        """

        def bind(model: BaseChatModel) -> Runnable[Any, Any]:
            if provider_of(model) == provider_of(self._primary):
                return model.bind_tools(tools, **kwargs)
            return cast("Runnable[Any, Any]", bind_translated(model, tools, kwargs))

        return cast("Runnable[LanguageModelInput, AIMessage]", self._bound(bind))

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """Answers in the form of the schema, from whichever node.

        Nodes of one class use their own way of asking for it, whatever it is; in a pool of several classes,
        where ways differ, all of them are asked for a tool call, which every one of them understands.
        """
        if len({type(model) for model in self._engine.models}) > 1:
            return super().with_structured_output(schema, **kwargs)
        return self._bound(lambda model: model.with_structured_output(schema, **kwargs))

    def _bound(self, bind: Callable[[BaseChatModel], Runnable[Any, Any]]) -> Runnable[Any, Any]:
        chain = bind(self._primary)
        recipe = Recipe(lambda model: bound_arguments(bind(model)), bound_arguments(chain))
        pool = _over(self.model_copy(), self._engine.with_recipe(recipe))
        return cast("Runnable[Any, Any]", rebind(chain, pool))


def _over(pool: Pool, engine: Engine) -> Pool:
    object.__setattr__(pool, "_engine", engine)
    return pool


for _name, _hook in caching_hooks(BaseChatModel, lambda pool: pool._engine.completion).items():
    setattr(FailoverChatModel, _name, _hook)
for _name in ("_generate", "_agenerate"):
    # Stored, because LangChain asks for it in every call and works it out anew.
    _hook = getattr(FailoverChatModel, _name)
    _hook.__signature__ = inspect.signature(_hook)
