"""How log records look. Modules log through `logging.getLogger(__name__)`; this is configured once, at the entry point.

What a record carries in ``extra`` becomes fields of its own, in text as in JSON, and so do the ids of the request, the
session or the job at work: who begins one names it with `log_context`, and no module below need know of it.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import AbstractContextManager
from contextvars import Context, copy_context
from typing import Any, Final, Literal

import orjson
import structlog

_POINTER: Final = re.compile(r"\s*\(Background on this error at: \S+\)")
"""What SQLAlchemy puts behind its messages: a page about the library, on a line of its own."""


def configure_logging(level: str, format: Literal["text", "json"]) -> None:
    """Send all records of at least ``level`` to stderr, as lines for people or as one JSON object each.

    Tracebacks come without the values of variables: these may hold what a caller has said, or its key.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _one_line,
    ]
    last: list[structlog.types.Processor]
    if format == "json":
        as_dict = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        last = [
            structlog.processors.ExceptionRenderer(as_dict),
            structlog.processors.JSONRenderer(serializer=_serialize),
        ]
    else:
        colors = sys.stderr.isatty()
        as_text = structlog.dev.RichTracebackFormatter(color_system="truecolor" if colors else None, show_locals=False)
        last = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=as_text)]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn would log the address of every socket, with the token that a browser's may carry in its query.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.root.level))
    for chatty in ("dbos", "httpx2", "httpcore2"):  # every migration, every request
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.root.level))


def log_context(**ids: str | int) -> AbstractContextManager[None]:
    """Put these ids on every record that is logged inside the block, by tasks and threads that begin there as well
    (``asyncio.to_thread`` and the like, which take the context along)."""
    return structlog.contextvars.bound_contextvars(**ids)


def context_of(**ids: str | int) -> Context:
    """A copy of the current context with these ids, for callbacks of a loop that are set off from elsewhere."""
    context = copy_context()
    context.run(structlog.contextvars.bind_contextvars, **ids)
    return context


def _one_line(_: Any, __: str, record: structlog.types.EventDict) -> structlog.types.EventDict:
    """Messages of libraries may have several lines, and a record is one."""
    for name, value in record.items():
        if type(value) is str:
            record[name] = " ".join(_POINTER.sub("", value).splitlines())
    return record


def _serialize(record: Any, **_: Any) -> str:
    return orjson.dumps(record, default=str).decode()
