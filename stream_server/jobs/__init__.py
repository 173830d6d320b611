"""Transcription as jobs: recordings that are taken in, kept, worked off behind the live callers, and answered for.

It knows nothing of HTTP; the dialects under `stream_server.transport` are thin adapters over `jobs.service`.
"""
