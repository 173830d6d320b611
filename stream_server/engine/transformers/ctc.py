"""Models that label every frame by itself: connectionist temporal classification (Graves et al., ICML 2006).

Parakeet CTC, wav2vec 2.0 and its kin. The likeliest label of each frame, repetitions merged, blanks dropped: there is
no decoder that a prefix could be forced on, and no token depends on another. Knows nothing of streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from stream_server.engine.transformers.checkpoint import Checkpoint, pad_short
from stream_server.engine.transformers.reading import Reading, Request


class CtcModel:
    """A loaded model."""

    forces = False
    keyterms = False
    window: int | None = None

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.vocabulary = checkpoint.vocabulary
        self.languages = checkpoint.languages
        self._frame = checkpoint.frame
        self._blank: int = checkpoint.config.pad_token_id

    @torch.inference_mode()
    def read(self, requests: Sequence[Request]) -> list[Reading]:
        """See `SegmentModel.read`."""
        # Without a mask the model takes padding for audio, so every clip is read alone.
        masked = self._checkpoint.extractor.return_attention_mask
        batches = [requests] if masked else [[request] for request in requests]
        return [reading for batch in batches for reading in self._read(batch)]

    def _read(self, requests: Sequence[Request]) -> list[Reading]:
        clips = [pad_short(request.audio) for request in requests]
        features = self._checkpoint.features(clips)
        logprobs, labels = self._checkpoint.model(**features).logits.float().log_softmax(-1).max(-1)
        lengths = self._lengths(features, labels)
        return [
            self._reading(request, row[:length], scores[:length])
            for request, row, scores, length in zip(requests, labels.tolist(), logprobs.tolist(), lengths, strict=True)
        ]

    def _lengths(self, features: dict[str, torch.Tensor], labels: torch.Tensor) -> list[int]:
        """How many frames of each clip are not padding."""
        if "attention_mask" not in features:
            return [labels.shape[1]] * labels.shape[0]
        model, samples = self._checkpoint.model, features["attention_mask"].sum(-1)
        if hasattr(model, "_get_feat_extract_output_lengths"):
            return [int(length) for length in model._get_feat_extract_output_lengths(samples).tolist()]
        return [int(length) for length in model._get_subsampling_output_length(samples).tolist()]

    def _reading(self, request: Request, labels: list[int], logprobs: list[float]) -> Reading:
        tokens, scores, spans = [], [], []
        place, end = 0, len(request.audio)
        for label, run in groupby(labels):
            size = len(list(run))
            if label != self._blank and self.vocabulary.pieces[label]:
                tokens.append(label)
                scores.append(max(logprobs[place : place + size]))
                spans.append((min(place * self._frame, end), min((place + size) * self._frame, end)))
            place += size
        return Reading(tuple(tokens), tuple(scores), request.language, tuple(spans) if request.timed else None)
