"""``/v1/models``: OpenAI's list of what is served, which is one model, under its own name and those it goes by."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, Field

from stream_server.jobs.error import JobError, Reason
from stream_server.transport.answer import ErrorBody, error_response
from stream_server.transport.dialect import KnownCaller, dialect_router, responses
from stream_server.transport.http import Served
from stream_server.transport.service import Service

router = dialect_router(error_response, tags=["Models"])


class ModelCard(BaseModel):
    """A model that sessions and requests may name."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When this server began to serve it, in seconds since the epoch.")
    owned_by: str = Field(description="Who has published it, where its name tells.")
    kind: str
    languages: tuple[str, ...]
    description: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


@router.get(
    "/v1/models",
    summary="List the models",
    response_description="The model that the server has loaded.",
    responses=responses(ErrorBody),
)
async def models(service: Served, _: KnownCaller) -> ModelList:
    """The models that are served."""
    return ModelList(data=[_card(service)])


@router.get(
    "/v1/models/{model:path}",
    summary="Read a model",
    response_description="The model, under its own name.",
    responses=responses(ErrorBody, 404),
)
async def model(
    service: Served,
    _: KnownCaller,
    model: Annotated[str, Path(description="Its name, or one of those it goes by.", examples=["whisper-1"])],
) -> ModelCard:
    """What is known of a model."""
    card = _card(service)
    if model not in (card.id, *service.settings.model_aliases):
        message = f"model {model[:80]!r} is not served here; served: {card.id}"
        raise JobError(Reason.NOT_FOUND, message, parameter="model")
    return card


def _card(service: Service) -> ModelCard:
    info = service.engine.info
    publisher, slash, _ = info.name.partition("/")
    return ModelCard(
        id=info.name,
        created=service.started_at,
        owned_by=publisher if slash else "stream-server",
        kind=info.kind,
        languages=info.languages,
        description=info.description,
    )
