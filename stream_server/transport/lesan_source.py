"""Where the recordings of Lesan's requests come from: addresses, signed uploads, and the files of a form.

It finds out which of a batch can be tried at all; what becomes of the others is not its business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stream_server.auth import Caller
from stream_server.jobs.error import JobError, Reason
from stream_server.jobs.fetch import MAX_URL, check_address
from stream_server.jobs.job import Source
from stream_server.jobs.service import Transcriptions
from stream_server.transport.field import M
from stream_server.transport.intake import Intake
from stream_server.transport.upload import uploaded


def addressed(url: str) -> Source:
    """The recording at an address, which may be that of a signed upload.

    Raises:
        JobError: as `uploaded`.
    """
    upload = uploaded(url)
    return Source(url=url) if upload is None else Source(object=upload[0], name=url)


def received(intake: Intake[M]) -> list[Source]:
    """The files of a form in their order; those that were refused have only a name."""
    sources = [Source(object=upload.object, name=upload.name) for upload in intake.uploads]
    for refusal in intake.refused:
        sources.insert(refusal.position, Source(name=refusal.name))
    return sources


async def fetchable(
    urls: Sequence[str], transcriptions: Transcriptions, caller: Caller
) -> tuple[list[Source], dict[int, JobError]]:
    """The recordings at these addresses, and what is wrong with those, by their position, that have only a name."""
    sources: list[Source] = []
    refused: dict[int, JobError] = {}
    for position, url in enumerate(urls):
        try:
            source = addressed(url)
            if source.url is not None:
                check_address(source.url, transcriptions.settings)
            elif any(source.object == other.object for other in sources):
                raise JobError(Reason.NOT_FOUND, "this upload is in the batch already; it can be used once")
            else:
                assert source.object is not None
                await asyncio.to_thread(transcriptions.objects.find, source.object, key=caller.id, unclaimed_only=True)
        except JobError as error:
            source, refused[position] = Source(name=url[:MAX_URL]), error
        sources.append(source)
    return sources, refused
