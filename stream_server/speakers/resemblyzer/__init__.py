"""Resemblyzer's speaker encoder, for whoever has voices of it already: its weights are fetched, its code is not."""
