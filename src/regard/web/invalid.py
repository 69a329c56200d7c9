"""What is wrong with a request, in words of our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {
    "missing": "this must be given",
    "extra_forbidden": "nothing of this name",
    "json_invalid": "JSON",
    "literal_error": "{expected}",
    "union_tag_invalid": "one of {expected_tags}",
    "union_tag_not_found": "a field {discriminator}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "too_long": "at most {max_length}",
    "too_short": "at least {min_length}",
    "string_too_long": "at most {max_length} letters",
    "string_too_short": "at least {min_length} letters",
    "string_pattern_mismatch": "letters, digits, and . _ - or a space",
    "finite_number": "a number that is finite",
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
}


def expected(error: Mapping[str, Any]) -> str:
    """What stands for one of pydantic's errors: its type and context decide, never its words."""
    kind, context = str(error["type"]), error.get("ctx", {})
    if kind in _WORDS:
        return _WORDS[kind].format_map({name: _plain(value) for name, value in context.items()})
    return _KINDS.get(kind.partition("_")[0], "another value")


def _plain(value: Any) -> str:
    return str(value).replace("'", "")[:200]
