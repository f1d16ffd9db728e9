"""What a table of a recipe says that is not the default; fingerprints are made of it (stages/dag.py)."""

from typing import Any

from aha.config.sections import Section


def told(section: Section) -> dict[str, Any]:
    """As plain values, without what is at its default: the same before and after a key came."""
    found: dict[str, Any] = _told(section, None)
    return found


def _told(value: Any, default: Any) -> Any:
    if isinstance(value, Section):
        fields = type(value).model_fields
        usual = {
            name: getattr(default, name)
            if type(default) is type(value)
            else field.get_default(call_default_factory=True)
            for name, field in fields.items()
        }
        own = {name: getattr(value, name) for name in fields}
        return {name: _told(own[name], usual[name]) for name in fields if own[name] != usual[name]}
    if isinstance(value, dict):
        return {key: _told(item, None) for key, item in value.items()}
    return [_told(item, None) for item in value] if isinstance(value, list | tuple) else value
