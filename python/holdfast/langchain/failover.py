"""Several chat models behind a manager, seen as one.

The pool is one `BaseChatModel` with one run in the trace per call, however many nodes a call visits. What
it says of itself (type, profile, parameters, token counts) is what its first node says: the pool stands
where that model stood.
"""

# Annotations are not postponed here: pydantic reads them when the class is made.

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Self, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import PrivateAttr

from holdfast._chat import completion_of
from holdfast._completion import Completion
from holdfast.langchain._bindings import Recipe, bound_arguments, rebind
from holdfast.langchain._call import Call
from holdfast.langchain._instead import told_of
from holdfast.langchain._invoked import caching_hooks, run_of
from holdfast.langchain._messages import arelay, as_chunk, relay, sign_result
from holdfast.langchain._nodes import Targets, manager_for_llms, marks_its_ends, takes_run_manager

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

    _manager: Any = PrivateAttr()
    _completion: Completion = PrivateAttr()
    _targets: Targets = PrivateAttr()
    _models: tuple[BaseChatModel, ...] = PrivateAttr()
    _recipe: Recipe | None = PrivateAttr(default=None)

    def __init__(self, nodes: Sequence[Any], **fields: Any) -> None:
        own = {key: fields.pop(key) for key in list(fields) if key in _OWN_FIELDS}
        nodes = list(nodes)
        completion = completion_of(fields.get("validate"), demanding=True)
        manager = manager_for_llms(nodes, BaseChatModel, fields, completion)
        targets = Targets()
        models = tuple(targets.of(node.target) for node in nodes)
        own.setdefault("output_version", models[0].output_version)
        own.setdefault("profile", models[0].profile)
        super().__init__(name=fields.get("name"), **own)
        self._manager, self._targets, self._models = manager, targets, models
        self._completion = completion

    @property
    def manager(self) -> Any:
        """The `FailoverManager`: nodes, metrics, events, start and stop."""
        return self._manager

    @property
    def _primary(self) -> BaseChatModel:
        return self._models[0]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy over the same manager: what is known of the nodes is not a value to be copied."""
        return self.__copy__()

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
        try:
            return super().__getattr__(name)  # type: ignore[misc]
        except AttributeError:
            if name.startswith("_"):
                raise
            value = getattr(self._primary, name)
            if callable(value):
                raise
            return value

    # What it does

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = Call(self, (messages,), kwargs, run_manager, paid=0)

        def attempt(node: Any) -> ChatResult:
            model = self._model_of(node)
            number = call.begin(model.rate_limiter, node.name)
            try:
                result = self._generate_on(model, messages, stop, run_manager, kwargs)
            except Exception as error:
                call.error = error
                raise
            return sign_result(result, {"node": node.name, "attempts": number})

        return cast("ChatResult", self._manager.run(self._told_of(attempt, messages, stop, kwargs)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = Call(self, (messages,), kwargs, run_manager, paid=0)

        async def attempt(node: Any) -> ChatResult:
            model = self._model_of(node)
            number = await call.abegin(model.rate_limiter, node.name)
            try:
                result = await self._agenerate_on(model, messages, stop, run_manager, kwargs)
            except Exception as error:
                call.error = error
                raise
            return sign_result(result, {"node": node.name, "attempts": number})

        return cast("ChatResult", await self._manager.arun(self._told_of(attempt, messages, stop, kwargs)))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = Call(self, (messages,), kwargs, run_manager or run_of(self), paid=0)

        def attempt(node: Any, *other: Any, **others: Any) -> Iterator[ChatGenerationChunk]:
            model = self._model_of(node)
            number = call.begin(model.rate_limiter, node.name)
            (asked,), named = call.changed(other, others)
            if model._should_stream(async_api=False, **{**named, "stream": True}):
                run = {} if run_manager is None else {"run_manager": run_manager}
                chunks = model._stream(asked, stop=stop, **run, **self._arguments(model, named))
            else:
                chunks = iter([as_chunk(self._generate_on(model, asked, stop, run_manager, named))])
            facts = None if other or others else {"node": node.name, "attempts": number}
            return relay(chunks, facts, call)

        return cast(
            "Iterator[ChatGenerationChunk]",
            self._manager.run_stream(self._told_of(attempt, messages, stop, kwargs)),
        )

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = Call(self, (messages,), kwargs, run_manager or run_of(self), paid=0)

        async def attempt(node: Any, *other: Any, **others: Any) -> AsyncIterator[ChatGenerationChunk]:
            model = self._model_of(node)
            number = await call.abegin(model.rate_limiter, node.name)
            (asked,), named = call.changed(other, others)
            if model._should_stream(async_api=True, **{**named, "stream": True}):
                run = {} if run_manager is None else {"run_manager": run_manager}
                chunks = model._astream(asked, stop=stop, **run, **self._arguments(model, named))
            else:
                chunks = _once(as_chunk(await self._agenerate_on(model, asked, stop, run_manager, named)))
            facts = None if other or others else {"node": node.name, "attempts": number}
            async with aclosing(arelay(chunks, facts, call)) as relayed:
                async for chunk in relayed:
                    yield chunk

        return cast(
            "AsyncIterator[ChatGenerationChunk]",
            self._manager.run_astream(self._told_of(attempt, messages, stop, kwargs)),
        )

    def _told_of(self, attempt: Any, messages: Any, stop: Any, kwargs: dict[str, Any]) -> Any:
        return told_of(attempt, self._primary, (messages, stop), kwargs)

    def _generate_on(
        self,
        model: BaseChatModel,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: Any,
        kwargs: dict[str, Any],
    ) -> ChatResult:
        run = {"run_manager": run_manager} if takes_run_manager(type(model)._generate) else {}
        return model._generate(messages, stop=stop, **run, **self._arguments(model, kwargs))

    async def _agenerate_on(
        self,
        model: BaseChatModel,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: Any,
        kwargs: dict[str, Any],
    ) -> ChatResult:
        run = {"run_manager": run_manager} if takes_run_manager(type(model)._agenerate) else {}
        return await model._agenerate(messages, stop=stop, **run, **self._arguments(model, kwargs))

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        """The first node that can stream decides; a pool of models that cannot does not."""
        if self._streaming_disabled(**kwargs):
            return False
        streaming = self._first_streaming(async_api)
        return streaming is not None and streaming._should_stream(
            async_api=async_api, run_manager=run_manager, **kwargs
        )

    def _should_use_protocol_streaming(
        self, *, async_api: bool, run_manager: Any = None, **kwargs: Any
    ) -> bool:
        return self._first_streaming(async_api) is not None and super()._should_use_protocol_streaming(
            async_api=async_api, run_manager=run_manager, **kwargs
        )

    def _first_streaming(self, async_api: bool) -> BaseChatModel | None:
        models = (model for model in self._models if model._should_stream(async_api=async_api, stream=True))
        return next(models, None)

    def _model_of(self, node: Any) -> BaseChatModel:
        """The model to call at this node; what is known of its end markers is told first."""
        model: BaseChatModel = self._targets.of(node.target)
        marks = marks_its_ends(model)
        if marks is not None:
            self._completion.tell(node.name, marks)
        return model

    def _arguments(self, model: BaseChatModel, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments as this model wants them: tools in the format of its provider."""
        return dict(kwargs) if self._recipe is None else self._recipe.apply(model, kwargs)

    # What can be bound to it

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        """Binds tools to every node, each in the format of its own provider.

        Raises:
            NotImplementedError: The first node's model has no tools.
        """
        return cast("Runnable[Any, AIMessage]", self._bound(lambda model: model.bind_tools(tools, **kwargs)))

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        """Answers in the form of the schema, from whichever node.

        Nodes of one class use their own way of asking for it, whatever it is; in a pool of several classes,
        where ways differ, all of them are asked for a tool call, which every one of them understands.
        """
        if len({type(model) for model in self._models}) > 1:
            return super().with_structured_output(schema, **kwargs)
        return self._bound(lambda model: model.with_structured_output(schema, **kwargs))

    def _bound(self, bind: Callable[[BaseChatModel], Runnable[Any, Any]]) -> Runnable[Any, Any]:
        chain = bind(self._primary)
        pool = self.model_copy()
        pool._recipe = Recipe(lambda model: bound_arguments(bind(model)), bound_arguments(chain))
        return cast("Runnable[Any, Any]", rebind(chain, pool))


for _name, _hook in caching_hooks(BaseChatModel, lambda pool: pool._completion).items():
    setattr(FailoverChatModel, _name, _hook)
for _name in ("_generate", "_agenerate"):
    # Stored, because LangChain asks for it in every call and works it out anew.
    _hook = getattr(FailoverChatModel, _name)
    _hook.__signature__ = inspect.signature(_hook)


async def _once(chunk: ChatGenerationChunk) -> AsyncIterator[ChatGenerationChunk]:
    yield chunk
