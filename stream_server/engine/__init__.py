"""The engine: many callers' speech, one model. It knows nothing of sockets, sessions or the wire."""
