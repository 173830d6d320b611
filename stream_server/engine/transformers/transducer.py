"""Transducers read at once: RNN-T (Graves, arXiv:1211.3711) and TDT (Xu et al., arXiv:2304.06795) of Parakeet.

A predictor that has read the tokens so far and an encoder that has read the audio vote on each next token; a blank
moves on to the next frame, or with TDT as many frames as the model says. Every row stands at a frame of its own. No
prefix is forced: where on the audio it would end is not known. Knows nothing of streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers.models.parakeet.generation_parakeet import ParakeetRNNTDecoderCache

from stream_server.engine.transformers.checkpoint import Checkpoint, pad_short
from stream_server.engine.transformers.reading import Reading, Request


@dataclass(slots=True)
class _Row:
    """One clip in the middle of a search: the frame it has come to, and tokens with their frames so far."""

    frames: int
    frame: int = 0
    symbols: int = 0  # at this frame
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.frame >= self.frames


class TransducerModel:
    """A loaded model."""

    forces = False
    keyterms = False
    window: int | None = None

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.vocabulary = checkpoint.vocabulary
        self.languages = checkpoint.languages
        self._frame = checkpoint.frame
        config = checkpoint.config
        self._blank: int = config.blank_token_id
        self._labels: int = config.vocab_size
        self._durations: tuple[int, ...] = tuple(getattr(config, "durations", ()))  # none: RNN-T
        self._max_symbols: int = config.max_symbols_per_step

    @torch.inference_mode()
    def read(self, requests: Sequence[Request]) -> list[Reading]:
        """See `SegmentModel.read`."""
        features = self._checkpoint.features([pad_short(request.audio) for request in requests])
        encoded = self._checkpoint.model.get_audio_features(**features)
        rows = [_Row(frames) for frames in encoded.attention_mask.sum(-1).tolist()]
        self._search(encoded.pooler_output, rows)
        return [self._reading(request, row) for request, row in zip(requests, rows, strict=True)]

    def _search(self, states: torch.Tensor, rows: Sequence[_Row]) -> None:
        """Greedy search over ``states`` [rows, frames, hidden], all rows at once, until each is at its end."""
        model = self._checkpoint.model
        cache = ParakeetRNNTDecoderCache(self._checkpoint.config)  # type: ignore[no-untyped-call]
        last = torch.full((len(rows), 1), self._blank, device=states.device)
        numbers = torch.arange(len(rows), device=states.device)
        while not all(row.done for row in rows):
            frames = torch.tensor([min(row.frame, row.frames - 1) for row in rows], device=states.device)
            predicted = model.decoder(last, cache=cache)
            logits = model.joint(decoder_hidden_states=predicted, encoder_hidden_states=states[numbers, frames, None])[
                :, 0
            ].float()
            logprobs, tokens = logits[:, : self._labels].log_softmax(-1).max(-1)
            spans = logits[:, self._labels :].argmax(-1).tolist() if self._durations else [0] * len(rows)
            for row, token, logprob, span in zip(rows, tokens.tolist(), logprobs.tolist(), spans, strict=True):
                if not row.done:
                    self._advance(row, token, logprob, self._durations[span] if self._durations else 0)
            last = tokens[:, None]

    def _advance(self, row: _Row, token: int, logprob: float, duration: int) -> None:
        if token == self._blank:
            row.frame, row.symbols = row.frame + max(1, duration), 0
            return
        if self.vocabulary.pieces[token]:
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.spans.append((row.frame, row.frame + max(1, duration)))
        row.symbols = row.symbols + 1 if duration == 0 else 0
        if row.symbols >= self._max_symbols:  # a frame that goes on for ever
            duration, row.symbols = 1, 0
        row.frame += duration

    def _reading(self, request: Request, row: _Row) -> Reading:
        spans = None
        if request.timed:
            end = len(request.audio)
            spans = tuple((min(start * self._frame, end), min(stop * self._frame, end)) for start, stop in row.spans)
        return Reading(tuple(row.tokens), tuple(row.logprobs), request.language, spans)
