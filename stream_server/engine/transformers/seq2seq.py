"""Encoder and decoder with cross-attention: Whisper (arXiv:2212.04356), Moonshine (arXiv:2410.15608).

A clip is encoded once, and the decoder writes its tokens one after another, the likeliest each time. What comes before
the text (start token, language, task, key terms) and the tokens that the reading is forced to begin with stand in the
decoder's cache from the start. Rows have beginnings of different length, so they are aligned at their right end and
what is left of them is masked. Knows nothing of streams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stream_server.engine.repetition import find_loop
from stream_server.engine.transformers.alignment import align_tokens
from stream_server.engine.transformers.checkpoint import Checkpoint, pad_short
from stream_server.engine.transformers.prompt import Prompt
from stream_server.engine.transformers.reading import Reading, Request
from stream_server.engine.transformers.settings import TransformersSettings
from stream_server.engine.work import SAMPLE_RATE, Audio


@dataclass(slots=True)
class _Row:
    """One clip in the middle of a reading. ``start``: what stands before the text. ``tokens``: the text so far, with
    one of ``logprobs`` for each after the ``forced`` ones."""

    start: list[int]
    tokens: list[int]
    forced: int
    limit: int
    logprobs: list[float] = field(default_factory=list)
    done: bool = False
    looped: bool = False

    @property
    def likelihood(self) -> float:
        """Mean natural log-probability of the tokens that were not forced; saying nothing is no answer."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else -math.inf

    def add(self, token: int, logprob: float, ends: frozenset[int]) -> None:
        if token in ends:
            self.done = True
            return
        self.tokens.append(token)
        self.logprobs.append(logprob)
        keep = find_loop(self.tokens[self.forced :])
        if keep is not None:
            del self.tokens[self.forced + keep :], self.logprobs[keep:]
            self.looped = True
        self.done = self.looped or len(self.tokens) >= self.limit


class Seq2SeqModel:
    """A loaded model. Its encoder reads clips of one batch together only where padding cannot change a thing."""

    forces = True

    def __init__(self, checkpoint: Checkpoint, settings: TransformersSettings) -> None:
        self._checkpoint = checkpoint
        self._settings = settings
        self._model = checkpoint.model
        self._device = checkpoint.device
        self.vocabulary = checkpoint.vocabulary
        generation = self._model.generation_config
        self._prompt = Prompt.of(checkpoint, settings.keyterm_tokens)
        self._ends = frozenset(_ids(generation.eos_token_id))
        self.languages = self._prompt.languages
        self.keyterms = self._prompt.takes_keyterms
        self.window: int | None = getattr(checkpoint.extractor, "n_samples", None)
        config = checkpoint.config
        self._positions: int = getattr(config, "max_target_positions", None) or config.max_position_embeddings
        self._suppressed = self._bias([*_ids(generation.suppress_tokens), *self.vocabulary.silent])
        self._suppressed[list(self._ends)] = 0.0
        self._suppressed_first = self._bias(_ids(generation.begin_suppress_tokens)) + self._suppressed
        self._heads = _alignment_heads(checkpoint)

    @torch.inference_mode()
    def read(self, requests: Sequence[Request]) -> list[Reading]:
        """See `SegmentModel.read`."""
        encoded = self._encode([request.audio for request in requests])
        languages, silences = self._listen(encoded, requests)
        rows = [self._row(request, language) for request, language in zip(requests, languages, strict=True)]
        self._accept(encoded, rows, [request.draft for request in requests])
        self._write(encoded, rows)
        self._reconsider(encoded, rows, requests, languages)
        spans = self._spans(encoded, rows, requests)
        return [
            Reading(tuple(row.tokens), tuple(row.logprobs), language, span, silence, row.looped)
            for row, language, silence, span in zip(rows, languages, silences, spans, strict=True)
        ]

    # -- encoder -------------------------------------------------------------------------------------------------------

    def _encode(self, clips: Sequence[Audio]) -> Any:
        """The encoder's output: ``last_hidden_state`` [rows, frames, hidden] and, where clips differ in length, the
        ``attention_mask`` [rows, frames]."""
        clips = [pad_short(clip) for clip in clips]
        encoder = self._model.get_encoder()
        if self.window is not None:  # all clips are as long as the window
            return encoder(**self._checkpoint.features(list(clips)))
        # Normalizations and convolutions that look at padding would make a clip depend on the others of its batch.
        outputs = [encoder(self._checkpoint.features([clip])["input_values"]) for clip in clips]
        hidden = [output.last_hidden_state[0] for output in outputs]
        lengths = torch.tensor([len(states) for states in hidden], device=self._device)
        first = outputs[0]
        first["last_hidden_state"] = torch.nn.utils.rnn.pad_sequence(hidden, batch_first=True)
        if len(set(map(len, hidden))) > 1:
            frames = torch.arange(int(first.last_hidden_state.shape[1]), device=self._device)
            first["attention_mask"] = (frames < lengths[:, None]).long()
        return first

    @staticmethod
    def _select(encoded: Any, rows: Sequence[int]) -> Any:
        """The encoder's output for some of its rows."""
        return type(encoded)(**{name: value[list(rows)] for name, value in encoded.items()})

    # -- decoder -------------------------------------------------------------------------------------------------------

    def _listen(self, encoded: Any, requests: Sequence[Request]) -> tuple[list[str], list[float]]:
        """The language of each clip, detected where it was not given, and the probability that nobody speaks."""
        if not self._prompt.listens:
            return [request.language for request in requests], [0.0] * len(requests)
        start = torch.full((len(requests), 1), self._prompt.start, device=self._device)
        logits = self._model(encoder_outputs=encoded, decoder_input_ids=start).logits[:, 0].float()
        return self._prompt.hear(logits, [request.language for request in requests])

    def _row(self, request: Request, language: str) -> _Row:
        start = self._prompt.tokens(language, request.keyterms)
        if len(start) + len(request.prefix) >= self._positions:  # what was said goes before what might be
            start = self._prompt.tokens(language, ())
        seconds = len(request.audio) / SAMPLE_RATE
        limit = self._settings.least_tokens + round(self._settings.tokens_per_sec * seconds)
        limit = min(limit, self._positions - len(start) - 1)
        prefix = list(request.prefix)
        return _Row(start, prefix, len(prefix), limit, done=len(prefix) >= limit)

    def _accept(self, encoded: Any, rows: Sequence[_Row], drafts: Sequence[Sequence[int]]) -> None:
        """Take over what each row would write of its draft anyway: one step instead of one for each token
        (speculative decoding, Leviathan et al., arXiv:2211.17192, with the last reading in place of a small model)."""
        if not any(drafts):
            return
        drafts = [draft[: row.limit - len(row.tokens)] for row, draft in zip(rows, drafts, strict=True)]
        ids = self._aligned_left([row.start + row.tokens + [*draft] for row, draft in zip(rows, drafts, strict=True)])
        logits = self._model(encoder_outputs=encoded, decoder_input_ids=ids, use_cache=False).logits
        for row, draft, scores in zip(rows, drafts, logits, strict=True):
            if not draft:
                continue
            first = len(row.start) + len(row.tokens) - 1
            scores = scores[first : first + len(draft)].float() + self._suppressed
            if not row.tokens:
                scores[0] += self._suppressed_first
            logprobs, tokens = (best.tolist() for best in scores.log_softmax(-1).max(-1))
            for token, logprob, expected in zip(tokens, logprobs, draft, strict=True):
                if token != expected or row.done:
                    break
                row.add(token, logprob, self._ends)

    def _reconsider(
        self, encoded: Any, rows: list[_Row], requests: Sequence[Request], languages: Sequence[str]
    ) -> None:
        """Read again without key terms where they led astray: a model may take a list of them for its text."""
        doubtful = [
            index
            for index, request in enumerate(requests)
            if request.keyterms and rows[index].likelihood < self._settings.keyterm_doubt
        ]
        if not doubtful:
            return
        plain = [self._row(replace(requests[index], keyterms=()), languages[index]) for index in doubtful]
        self._write(self._select(encoded, doubtful), plain)
        for index, row in zip(doubtful, plain, strict=True):
            if row.likelihood > rows[index].likelihood:
                rows[index] = row

    def _write(self, encoded: Any, rows: Sequence[_Row]) -> None:
        """Let every row write until it ends."""
        ids, mask, positions = self._aligned_right([row.start + row.tokens for row in rows])
        cache: Any = None
        while not all(row.done for row in rows):
            output = self._model(
                encoder_outputs=encoded,
                decoder_input_ids=ids,
                decoder_attention_mask=mask,
                decoder_position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
            cache = output.past_key_values
            logits = output.logits[:, -1].float()
            logits += torch.stack([self._suppressed if row.tokens else self._suppressed_first for row in rows])
            logprobs, tokens = logits.log_softmax(-1).max(-1)
            for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
                if not row.done:
                    row.add(token, logprob, self._ends)
            ids = tokens[:, None]
            positions = positions[:, -1:] + 1
            # A row that has ended stays where it is: its position must not leave the table.
            positions = positions.clamp(max=self._positions - 1)
            mask = torch.cat([mask, mask[:, -1:]], dim=1)

    def _aligned_right(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Token ids, mask and positions, [rows, longest], padded at the left."""
        longest = max(map(len, rows))
        ids = torch.tensor([[row[0]] * (longest - len(row)) + list(row) for row in rows])
        missing = torch.tensor([longest - len(row) for row in rows])[:, None]
        places = torch.arange(longest) - missing
        mask, positions = (places >= 0).long(), places.clamp(min=0)
        return ids.to(self._device), mask.to(self._device), positions.to(self._device)

    def _aligned_left(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Token ids, [rows, longest]; what is at the right of a row does not change what the decoder makes of it."""
        longest = max(map(len, rows))
        return torch.tensor([[*row, *[row[0]] * (longest - len(row))] for row in rows], device=self._device)

    def _bias(self, tokens: Sequence[int]) -> torch.Tensor:
        bias = torch.zeros(len(self.vocabulary.pieces))
        bias[list(tokens)] = -torch.inf
        return bias.to(self._device)

    # -- times ---------------------------------------------------------------------------------------------------------

    def _spans(
        self, encoded: Any, rows: Sequence[_Row], requests: Sequence[Request]
    ) -> list[tuple[tuple[int, int], ...] | None]:
        """Where each token was spoken, for the rows that want it, if this model can tell."""
        spans: list[tuple[tuple[int, int], ...] | None] = [None] * len(rows)
        wanted = [index for index, request in enumerate(requests) if request.timed]
        if not self._heads or not wanted:
            return spans
        states = encoded.last_hidden_state[wanted]
        attention = self._attention(states, [rows[index].start + rows[index].tokens for index in wanted])
        assert self.window is not None, "the families with such heads have one"
        hop = self.window // states.shape[1]
        for index, weights in zip(wanted, attention, strict=True):
            row, audio = rows[index], requests[index].audio
            positions = len(row.start) + len(row.tokens)
            heard = weights[:, :positions, : max(1, min(weights.shape[2], -(-len(audio) // hop)))]
            heard = heard / np.maximum(heard.sum(axis=2, keepdims=True), 1e-9)
            spans[index] = tuple(align_tokens(heard, len(row.start) - 1, audio))
        return spans

    def _attention(self, states: torch.Tensor, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """What the alignment heads look at while they read the tokens of each row: [rows, heads, longest, frames].

        Worked out beside the model, from the inputs of its attention, because the fast kernels do not hand it out.
        """
        found: dict[int, torch.Tensor] = {}
        hooks = [self._watch(layer, states, found) for layer in {layer for layer, _ in self._heads}]
        try:
            self._model.get_decoder()(input_ids=self._aligned_left(rows), encoder_hidden_states=states, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack([found[layer][:, head] for layer, head in self._heads], dim=1).cpu().numpy()

    def _watch(self, layer: int, states: torch.Tensor, found: dict[int, torch.Tensor]) -> Any:
        attention = self._model.get_decoder().layers[layer].encoder_attn

        def keep(module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
            hidden = named["hidden_states"] if "hidden_states" in named else positional[0]
            queries = attention.q_proj(hidden).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            keys = attention.k_proj(states).unflatten(-1, (-1, attention.head_dim)).permute(0, 2, 3, 1)
            found[layer] = (queries.float() @ keys.float() * attention.scaling).softmax(-1)

        return attention.register_forward_pre_hook(keep, with_kwargs=True)


def _alignment_heads(checkpoint: Checkpoint) -> tuple[tuple[int, int], ...]:
    """The heads of the decoder that follow the audio, as (layer, head): those that a Whisper checkpoint names, or all
    of the upper half of its layers; none for other families."""
    if checkpoint.config.model_type != "whisper":
        return ()
    named = getattr(checkpoint.model.generation_config, "alignment_heads", None)
    layers, heads = checkpoint.config.decoder_layers, checkpoint.config.decoder_attention_heads
    if named and all(layer < layers for layer, _ in named):  # a distilled decoder has fewer than it was made from
        return tuple((layer, head) for layer, head in named)
    return tuple((layer, head) for layer in range(layers // 2, layers) for head in range(heads))


def _ids(value: int | Sequence[int] | None) -> list[int]:
    """Token ids of a setting of the generation config, which is one, several or none."""
    return [] if value is None else [value] if isinstance(value, int) else list(value)
