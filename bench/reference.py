"""The embedded model as its makers ship it: one greedy reading of a whole clip, by the exported files themselves.

It shares no code with the server's engine but the tokenizer, so that what is done to the engine does not move the mark
that it is measured against.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stream_server.engine.moonshine.asset import Assets
from stream_server.engine.moonshine.tokenizer import END, START, Tokenizer

SAMPLE_RATE: Final = 16_000
TOKENS_PER_SECOND: Final = 6.5  # longer readings are repetitions
_HEADS: Final = 8
_HEAD: Final = 36


class ReferenceReader:
    """The two exported networks, on one thread."""

    def __init__(self, assets: Assets) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._encoder = onnxruntime.InferenceSession(str(assets.encoder), options)
        self._decoder = onnxruntime.InferenceSession(str(assets.decoder), options)
        self._tokenizer = Tokenizer.load(assets.tokenizer)
        self._outputs = [output.name for output in self._decoder.get_outputs()]
        self._memory = [entry.name for entry in self._decoder.get_inputs() if entry.name.startswith("past_key_values")]

    def read(self, audio: NDArray[np.float32]) -> str:
        """What is said in [n] float32 at 16 kHz."""
        mask = np.ones((1, len(audio)), np.int64)
        (encoded,) = self._encoder.run(None, {"input_values": audio[None], "attention_mask": mask})
        empty = np.zeros((1, _HEADS, 0, _HEAD), np.float32)
        inputs: dict[str, Any] = dict.fromkeys(self._memory, empty)
        inputs |= {"encoder_hidden_states": encoded, "encoder_attention_mask": mask}
        tokens: list[int] = []
        while len(tokens) < TOKENS_PER_SECOND * len(audio) / SAMPLE_RATE:
            inputs["input_ids"] = np.array([[tokens[-1] if tokens else START]], np.int64)
            inputs["use_cache_branch"] = np.array([bool(tokens)])
            results = dict(zip(self._outputs, self._decoder.run(None, inputs), strict=True))
            for name in self._memory:
                if not tokens or ".decoder." in name:  # what was made of the audio stays as the first pass made it
                    inputs[name] = results[name.replace("past_key_values", "present")]
            token = int(results["logits"][0, -1].argmax())
            if token == END:
                break
            tokens.append(token)
        return self._tokenizer.decode(tokens)
