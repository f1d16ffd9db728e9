"""A user's own reward function, as TRL calls them: FILE.py:FUNCTION or MODULE:FUNCTION.

    def no_apologies(completions, **columns):
        return [0.0 if "sorry" in text.lower() else 1.0 for text in completions]

It gets lists with one entry for each answer to one question: prompts, completions, completion_ids, every
column of the problem's row, and gold and question under the names that data sets use. It gives a list of
numbers, None where it does not apply. With the chat template prompts and completions are lists of
messages, as TRL passes them for conversational data; a completion starts with the prefill. It may be
`async`. The function runs in our process and is trusted.
"""

import asyncio
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from aha.errors import ConfigError, RunError
from aha.rewards.named import Judged, Known, Reward

Style = Literal["text", "messages"]
_GOLD = ("gold", "answer", "solution", "ground_truth", "target")
_QUESTION = ("question", "problem")


def is_user_function(name: str) -> bool:
    """Whether a reward's name points at a function: it has a colon."""
    return ":" in name


def label(name: str) -> str:
    """What a reward is called in metrics: of a function, its name without its file."""
    return name.rpartition(":")[2]


def load(name: str, style: Style = "text") -> Reward:
    """The function as a reward of a group.

    Raises:
        ConfigError: no such file, module or function; names what there is.
    """
    where, _, attribute = name.rpartition(":")
    module = _module(where, name)
    function = getattr(module, attribute, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        listed = ", ".join(there[:8]) or "none"
        raise ConfigError(
            f"rewards: {where} has no function '{attribute}' (its functions: {listed})"
        )
    return Reward(lambda judged: _call(name, function, judged, style), group=True)


def _module(where: str, name: str) -> ModuleType:
    path = Path(where)
    try:
        if path.suffix != ".py":
            return importlib.import_module(where)
        if not path.is_file():
            raise ConfigError(f"rewards: '{name}': no file at {path.resolve()}")
        spec = importlib.util.spec_from_file_location(f"aha_user_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # whatever a user's file raises while it is imported
        raise ConfigError(
            f"rewards: '{name}' cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _call(
    name: str, function: Callable[..., Any], judged: Sequence[Judged], style: Style
) -> list[Known]:
    try:
        values = function(**_accepted(function, arguments(judged, style)))
        if inspect.isawaitable(values):
            values = asyncio.run(_whole(values))
        return [None if value is None else float(value) for value in values]
    except (Exception, SystemExit) as error:
        raise RunError(
            f"reward '{name}' failed on the answers to {judged[0].prompt.id}: "
            f"{type(error).__name__}: {error}. It must give one number (or None) for each completion"
        ) from error


async def _whole(awaitable: Any) -> Any:
    return await awaitable


def arguments(judged: Sequence[Judged], style: Style) -> dict[str, list[Any]]:
    """What a function is called with, by name."""
    prompt = judged[0].prompt
    given: dict[str, Any] = dict.fromkeys(_GOLD, prompt.gold)
    given |= dict.fromkeys(_QUESTION, prompt.question)
    given |= {"id": prompt.id, "kind": prompt.kind, "lang": prompt.lang, "domain": prompt.domain}
    given |= {"source": prompt.source}
    given |= prompt.columns
    columns = {key: [value] * len(judged) for key, value in given.items()}
    texts = [one.text for one in judged]
    columns["completion_ids"] = [list(one.rollout.token_ids) for one in judged]
    if style == "messages":
        columns["prompts"] = [[{"role": "user", "content": prompt.question}] for _ in judged]
        columns["completions"] = [[{"role": "assistant", "content": text}] for text in texts]
    else:
        columns["prompts"], columns["completions"] = [prompt.question] * len(judged), texts
    return columns


def _accepted(function: Callable[..., Any], given: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Without `**columns` a function gets the arguments that it names."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return given
    return {name: value for name, value in given.items() if name in parameters}
