"""How log records look. Modules log through `logging.getLogger(__name__)`; this is called once, at the entry point.

What a record carries in ``extra`` (session ids and the like) becomes fields of their own, in text as in JSON.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import orjson
import structlog


def configure_logging(level: str, format: Literal["text", "json"]) -> None:
    """Send all records of at least ``level`` to stderr, as lines for people or as one JSON object each."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.types.Processor]
    if format == "json":
        last = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(serializer=_serialize)]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn would log the address of every socket, with the token that a browser's may carry in its query.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.root.level))


def _serialize(record: Any, **_: Any) -> str:
    return orjson.dumps(record, default=str).decode()
