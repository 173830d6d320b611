"""Parameters of a request from wherever they come, form fields, query or JSON, as the model that describes them."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, Union, get_args, get_origin

import orjson
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from stream_server.jobs.error import JobError, Reason

MAX_FIELDS: Final = 200
MAX_FIELD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 2**20
"""All fields of a form together, and a JSON body; beside what a `Long` field may take."""

_WORDING: Final = {"tuple_type": "has to be a list"}
"""In place of the validator's own words, where they are those of a programmer."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Long:
    """In the annotation of a list: how many bytes each of its values may have, and how many there are at most."""

    each: int
    most: int


class Fields(Generic[M]):
    """Collects the parameters of one request. ``model`` says which there are; its ``extra`` is ``forbid``."""

    def __init__(self, model: type[M]) -> None:
        self._model = model
        self._known = {field.alias or name: field for name, field in model.model_fields.items()}
        self._long = {
            name: mark for name, field in self._known.items() for mark in field.metadata if type(mark) is Long
        }
        self.room = MAX_BODY_BYTES + sum(mark.each * mark.most for mark in self._long.values())
        """What all of them together may take, in bytes."""
        self._texts: dict[str, list[str]] = {}
        self._values: dict[str, Any] = {}
        self._count = 0
        self._bytes = 0

    def knows(self, name: str) -> bool:
        """Whether there is such a parameter; ``name[]`` is another way to write the name of a list."""
        return name.removesuffix("[]") in self._known

    def longest(self, name: str) -> int:
        """How many bytes one value of this parameter may have."""
        mark = self._long.get(name.removesuffix("[]"))
        return MAX_FIELD_BYTES if mark is None else mark.each

    def add(self, name: str, value: str | bytes) -> None:
        """Take one form field or query parameter.

        Raises:
            JobError: too many, too long, or not text.
        """
        name = name.removesuffix("[]")
        self._count += 1
        self._bytes += len(value)
        if self._count > MAX_FIELDS or self._bytes > self.room:
            raise JobError(
                Reason.INVALID_PARAMETER,
                f"there are more than {MAX_FIELDS} parameters, or {self.room} bytes of them",
            )
        if len(value) > self.longest(name):
            raise _invalid(name, f"{name} has more than {self.longest(name)} bytes")
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                raise _invalid(name, f"{name} is not text in UTF-8") from None
        if "\0" in value:
            raise _invalid(name, f"{name} has a null character in it")
        self._texts.setdefault(name, []).append(value)

    def add_json(self, body: bytes) -> None:
        """Take a JSON object; null and an empty text are the same as nothing.

        Raises:
            JobError: it is none.
        """
        try:
            values = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise JobError(Reason.INVALID_PARAMETER, f"the body is not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise JobError(Reason.INVALID_PARAMETER, "the body has to be a JSON object")
        if rb"\u0000" in body:
            raise JobError(Reason.INVALID_PARAMETER, "the body has a null character in it")
        self._values = {
            name: value for name, value in values.items() if name not in self._known or not _is_nothing(value)
        }

    def validated(self) -> M:
        """The parameters as the model has them. One that was given empty was not given.

        Raises:
            JobError: MISSING_PARAMETER or INVALID_PARAMETER, naming the first parameter at fault and what it takes.
        """
        values = dict(self._values)
        for name, texts in self._texts.items():
            field = self._known.get(name)
            is_list = field is not None and _is_list(field)
            if len(texts) > 1 and not is_list:
                raise given_again(name, len(texts))
            given = [text for text in texts if field is None or not _is_nothing(text)]
            if not given:
                continue
            if name in values:
                raise _invalid(name, f"{name} is given both in the query and in the body")
            values[name] = _list(name, given) if is_list else given[0]
        try:
            return self._model.model_validate(values)
        except ValidationError as error:
            raise self._explained(error) from None

    def _explained(self, error: ValidationError) -> JobError:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = [str(part) for part in first["loc"]]
        name = place[0] if place else ""
        if first["type"] == "missing" and len(place) == 1:
            return JobError(Reason.MISSING_PARAMETER, f"{name} is missing", parameter=name)
        if first["type"] == "extra_forbidden" and len(place) == 1:
            known = ", ".join(sorted(self._known))
            return _invalid(name, f"there is no parameter {name[:100]!r}; there are: {known}")
        message = _WORDING.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        return _invalid(name, f"{'.'.join(place)}: {message[:1].lower()}{message[1:]}" if place else message)


def _list(name: str, texts: list[str]) -> Any:
    """The items of a list: repeated fields, or JSON in one of them."""
    if len(texts) == 1 and texts[0].lstrip().startswith("["):
        try:
            return orjson.loads(texts[0])
        except orjson.JSONDecodeError:
            raise _invalid(name, f"{name} looks like a JSON list, but is none") from None
    return texts


def given_again(name: str, times: int) -> JobError:
    """What is said where a parameter that takes one value has several."""
    return _invalid(name, f"{name} is given {times} times, and takes one value")


def _is_nothing(value: object) -> bool:
    """Whether a parameter of this value counts as not given; clients send what their forms have, filled in or not."""
    return value is None or (isinstance(value, str) and not value.strip())


def _is_list(field: FieldInfo) -> bool:
    kinds = [field.annotation]
    if get_origin(field.annotation) in (Union, types.UnionType):
        kinds = list(get_args(field.annotation))
    return any((get_origin(kind) or kind) in (tuple, list, set, frozenset) for kind in kinds)


def _invalid(name: str, message: str) -> JobError:
    return JobError(Reason.INVALID_PARAMETER, message, parameter=name)
