"""Chat templates for tokenizers that bring none: a base model's often has no turns.

    plain      System text, then `User: ...` and `Assistant: ...`, a blank line between turns. Its only
               control tokens are the tokenizer's own: the beginning-of-sequence token, and the
               end-of-sequence token behind every answer.
    a path     a .jinja file

`plain` keeps the thinking of the answer that ends a conversation, so that it is trained, and drops what
stands before `</think>` of earlier answers, as DeepSeek-R1's own template does. It begins no thinking: a
model that was trained with it writes `<think>` itself.

Holds not:       how a template is applied, and what it must be able to do (templates.py).
"""

import difflib
from pathlib import Path

from aha.errors import ConfigError

PLAIN = """\
{%- if bos_token is defined and bos_token -%}
{{ bos_token }}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{{ message['content'] + '\\n\\n' }}
{%- elif message['role'] == 'user' -%}
{{ 'User: ' + message['content'] + '\\n\\n' }}
{%- elif message['role'] == 'assistant' -%}
{%- set said = message['content'] -%}
{%- if not loop.last and '</think>' in said -%}
{%- set said = said.split('</think>')[-1].strip() -%}
{%- endif -%}
{{ 'Assistant: ' + said + eos_token }}
{%- if not loop.last -%}
{{ '\\n\\n' }}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ 'Assistant:' }}
{%- endif -%}
"""
NAMED = {"plain": PLAIN}
"""Templates that come with the package."""


def named(name: str) -> str:
    """The Jinja source that `data.chat_template` names.

    Raises:
        ConfigError: no such name and no such file, a file that cannot be read or holds nothing.
    """
    if name in NAMED:
        return NAMED[name]
    path = Path(name).expanduser()
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(name, NAMED, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(
            f"data.chat_template={name!r} is no template and no file; {hint}"
            f"write {', '.join(NAMED)}, or the path of a .jinja file"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the chat template {path}: {error}") from error
    if not text.strip():
        raise ConfigError(f"the chat template {path} is empty")
    return text
