"""What a fallback and a hedge are told of a chat model's call: the adapters' attempts take no arguments."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from holdfast.langchain._messages import METADATA_KEY


class ModelCall:
    """One call of a chat model: whose, with what, and the form that its answers have.

    Args:
        model: The model, or the one that speaks for a pool.
        args: Those given by position: the messages first.
        kwargs: Those given by name.
    """

    def __init__(self, model: BaseChatModel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._model = model
        self.args = args
        self.kwargs = {name: value for name, value in kwargs.items() if name != "run_manager"}

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells its answers from those of another model."""
        return ("chat model", self._model._llm_type, dict(self._model._identifying_params))

    def answer(self, value: Any, told: dict[str, Any]) -> Any:
        """The substitute as a whole answer: a string and a message become one, which says that it stands in."""
        if isinstance(value, ChatResult):
            kept = [generation.message for generation in value.generations]
        elif isinstance(value, str | BaseMessage):
            kept = [AIMessage(content=value) if isinstance(value, str) else value]
        else:
            return value
        messages = [_signed(message, told) for message in kept]
        return ChatResult(generations=[ChatGeneration(message=message) for message in messages])

    def items(self, value: Any, told: dict[str, Any]) -> tuple[Any, ...]:
        """The same as chunks of a stream. ``told`` is empty but for the first."""
        return (self._item(value, told),)

    def _item(self, value: Any, told: dict[str, Any]) -> Any:
        if isinstance(value, ChatGenerationChunk):
            message: BaseMessage = value.message
        elif isinstance(value, str):
            message = AIMessageChunk(content=value)
        elif isinstance(value, BaseMessage):
            message = value
        else:
            return value
        if not isinstance(message, AIMessageChunk):
            message = AIMessageChunk(**message.model_dump(exclude={"type"}))
        return ChatGenerationChunk(message=_signed(message, told) if told else message)


def told_of(attempt: Any, model: BaseChatModel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The attempt, with what a fallback and a hedge ask of its call."""
    attempt.__holdfast_call__ = ModelCall(model, args, kwargs)
    return attempt


def _signed(message: Any, told: dict[str, Any]) -> Any:
    return message.model_copy(update={"response_metadata": {**message.response_metadata, METADATA_KEY: told}})
