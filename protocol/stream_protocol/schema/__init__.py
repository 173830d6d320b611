"""Publishes the wire contract: JSON Schemas, the AsyncAPI document and the tables of the specification, all from the
types. ``python -m stream_protocol.schema`` writes the files; nothing else of the package needs this part.
"""

from stream_protocol.schema.document import generate

__all__ = ["generate"]
