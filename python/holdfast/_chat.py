"""Pipelines and managers as chat models and clients use them: their answers must be whole.

A pipeline does not know what it will be put around. Around a plain function every exception is one failure
and every answer good; around a chat model or a client, errors are judged by the classifier for LLM calls,
whole answers are validated, and streams are governed (`holdfast._completion`). The adapters of this package
ask here for that form of a pipeline.
"""

from __future__ import annotations

import sys

from holdfast import _classify
from holdfast._policies import Pipeline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from holdfast._completion import Completion
    from holdfast._policies import Validate


def for_chat(pipeline: Pipeline, kind: str) -> Pipeline:
    """The pipeline for answers of this kind: the same parts and events, with the completion check.

    Its `_completion` holds the validator and the governors; an adapter that knows more of its model than an
    answer shows can tell it. ``validate=False`` turns the check off, not the governors: what is raised for a
    broken stream, and that an empty beginning is held back, stay as they are.

    Args:
        pipeline: It is not changed, and neither is its breaker, budget or anything that it shares.
        kind: One of those of `holdfast._completion`.
    """
    completion = completion_of(pipeline._given["validate"], kind, demanding=True)
    return Pipeline(**pipeline._given, _rules=_classify.classify, _completion=completion, _like=pipeline)


def completion_of(
    validate: Validate | None, kind: str = "langchain", *, demanding: bool = False
) -> Completion:
    """What ``validate`` means to chat models: ``None`` is the default check, ``False`` none, else both.

    Args:
        validate: As in `Pipeline`.
        kind: One of those of `holdfast._completion`.
        demanding: Is something that is no answer of this kind refused? Not in a pool whose nodes a plain
            function may use as well.
    """
    from holdfast._completion import Completion

    own = validate if callable(validate) else None
    return Completion(kind, check=validate is not False, own=own, demanding=demanding)


def is_chat_model(target: object) -> bool:
    """Is it a LangChain chat model, or a binding of one? Without LangChain in the process nothing is."""
    chat = sys.modules.get("langchain_core.language_models.chat_models")
    base = sys.modules.get("langchain_core.runnables.base")
    while base is not None and isinstance(target, base.RunnableBindingBase):
        target = target.bound
    return chat is not None and isinstance(target, chat.BaseChatModel)
