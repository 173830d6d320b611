"""The parameter ``chunking_strategy``: how speech is cut, as OpenAI's clients write it in forms and in JSON."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

PREFIX_MS: Final = 300
THRESHOLD: Final = 0.5

_NAME: Final = "chunking_strategy"


class DetectorChunking(BaseModel):
    """How speech is cut. What is not adjustable here has to have OpenAI's default."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["server_vad"]
    silence_duration_ms: int | None = Field(None, ge=100, le=10_000)
    prefix_padding_ms: int = PREFIX_MS
    threshold: float = THRESHOLD


def _decoded(value: Any) -> Any:
    """An object in a form is written as JSON, where it is not written as `nested` reads it."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            raise ValueError("looks like a JSON object, but is none") from None
    if value == "auto":
        return None
    if value is not None and not isinstance(value, dict):
        raise ValueError("has to be auto, or an object of the type server_vad")
    return value


_SCHEMA: Final = {
    "anyOf": [{"type": "string", "const": "auto"}, DetectorChunking.model_json_schema(), {"type": "null"}]
}
Chunking = Annotated[DetectorChunking | None, BeforeValidator(_decoded), WithJsonSchema(_SCHEMA)]
"""None: as the server does it, which is what ``auto`` asks for."""


def nested(values: Any) -> Any:
    """The parameters of a form, which has no objects: clients write ``chunking_strategy[type]`` and so on."""
    if not isinstance(values, dict) or _NAME in values:
        return values
    parts = {name[len(_NAME) + 1 :].rstrip("]"): name for name in values if name.startswith(f"{_NAME}[")}
    if not parts:
        return values
    rest = {name: value for name, value in values.items() if name not in parts.values()}
    chunking = {part: values[name] for part, name in parts.items()}
    given = {part: value for part, value in chunking.items() if value or part not in DetectorChunking.model_fields}
    return rest | {_NAME: given or None}
