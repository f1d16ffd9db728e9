"""A conversation as the tokens that a model reads: for judges and reward models.

With the model's own chat template, or as a plain transcript where there is none. What a message
holds never becomes a control token: a control string in it (`<|im_end|>`) gets a space after its
first sign. A response is put in as it is, past the template, which might drop its thinking.

Holds not:       the templates of training prompts: data/templates.py, which refuses such text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aha.config import DataConfig
from aha.data.templates import load_template
from aha.errors import ModelError

_RESPONSE = "Zz4qZ"
"""Stands in for a response, to see what a chat template writes around it."""


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """A tokenizer's way to write conversations. Made by `of_tokenizer`."""

    tokenizer: Any
    chat: bool
    """Whether the tokenizer has a chat template."""
    bos: tuple[int, ...]
    """In front of a plain transcript."""
    control: tuple[str, ...]
    """Strings that are broken up in a message."""

    def asking(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Tokens of the messages, up to where the model's answer begins.

        A template that takes no system message gets it in front of the first user message.

        Raises:
            ModelError: the chat template refuses the messages.
        """
        harmless = [{"role": m["role"], "content": self._harmless(m["content"])} for m in messages]
        if not self.chat:
            turns = [_turn(message) for message in harmless]
            return [*self.bos, *self._encode("\n\n".join([*turns, "Assistant:"]))]
        try:
            return self._encode(self._render(harmless, opened=True))
        except ModelError:
            if len(harmless) < 2 or harmless[0]["role"] != "system":
                raise
            first = f"{harmless[0]['content']}\n\n{harmless[1]['content']}"
            merged = [{"role": harmless[1]["role"], "content": first}, *harmless[2:]]
            return self._encode(self._render(merged, opened=True))

    def answered(self, question: str, response: str) -> list[int]:
        """Tokens of a question and a whole response, with what ends a turn.

        Raises:
            ModelError: the chat template refuses them, or does not write the response.
        """
        question, response = self._harmless(question), self._harmless(response)
        if not self.chat:
            text = f"User: {question}\n\nAssistant: {response}"
            end = self.tokenizer.eos_token_id
            return [*self.bos, *self._encode(text), *([] if end is None else [int(end)])]
        turns = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": _RESPONSE},
        ]
        before, found, after = self._render(turns, opened=False).rpartition(_RESPONSE)
        if not found:
            raise ModelError("the chat template does not write an assistant's turn")
        return self._encode(before + response + after)

    def _harmless(self, text: str) -> str:
        for string in self.control:
            if string in text:
                text = text.replace(string, f"{string[0]} {string[1:]}")
        return text.encode("utf-8", "replace").decode("utf-8")  # no lone surrogates

    def _render(self, messages: Sequence[Mapping[str, str]], *, opened: bool) -> str:
        import jinja2

        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=opened
                )
            )
        except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
            raise ModelError(f"the model's chat template fails: {error}") from error

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)


def of_tokenizer(tokenizer: Any) -> Conversation:
    """How conversations are written for a tokenizer.

    Raises:
        ConfigError: its chat template cannot render a question.
    """
    chat = bool(tokenizer.chat_template)
    template = load_template(DataConfig(template="chat" if chat else "r1-zero"), tokenizer)
    return Conversation(tokenizer, chat, template.bos, template.control)


def _turn(message: Mapping[str, str]) -> str:
    name = {"user": "User: ", "assistant": "Assistant: "}.get(message["role"], "")
    return name + message["content"]
