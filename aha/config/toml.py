"""A recipe as TOML, to be read back. JSON's spelling of a value is TOML's but for two cases.

May import: recipe. Nothing heavy: `aha --help` loads this.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from aha.config.recipe import Recipe


def to_toml(recipe: Recipe) -> str:
    """The resolved recipe as TOML; `load` of it gives the same recipe."""
    return dump_toml(recipe.model_dump())


def dump_toml(values: Mapping[str, Any]) -> str:
    """Nested tables of plain values as TOML; None is left out."""
    lines: list[str] = []

    def table(name: str, value: Mapping[str, Any]) -> None:
        if name:
            lines.append(f"\n[{name}]")
        nested = {key: item for key, item in value.items() if isinstance(item, dict)}
        for key, item in value.items():
            if key not in nested and item is not None:
                lines.append(f"{_toml_key(key)} = {_toml_value(item)}")
        for key, item in nested.items():
            table(f"{name}.{_toml_key(key)}" if name else _toml_key(key), item)

    table("", values)
    return "\n".join(lines).lstrip("\n") + "\n"


def _toml_key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else _toml_value(key)


def _toml_value(value: Any) -> str:
    """JSON's spelling is TOML's, but for infinity and for one character JSON leaves unescaped."""
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
