"""The cache-aware FastConformer encoder and the model around it: one chunk of many streams at a time.

Fast Conformer: Rekesh et al. 2023, arXiv:2305.05084; its streaming form: Noroozi et al. 2023, arXiv:2312.17279. A step
reads the state and writes nothing: it returns what the state is to become. Nothing in it waits for the device, and all
shapes follow from the number of rows and the chunk size, so a step can be captured into a CUDA graph. Parameters are
named as in the checkpoint. Knows no text, no schedule and no limits of memory.

Shapes: B rows, C frames per chunk, H hidden size.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream_server.engine.fastconformer.activation import ACTIVATIONS
from stream_server.engine.fastconformer.attention import Attention, View
from stream_server.engine.fastconformer.configuration import EncoderConfig, FastConformerConfig, PromptConfig
from stream_server.engine.fastconformer.feature import Features, Spectrum
from stream_server.engine.fastconformer.state import Memory, Rows, State, Update
from stream_server.engine.fastconformer.subsampling import Subsampling
from stream_server.engine.fastconformer.transducer import Joint, Predictor, PredictorState, SearchState

if TYPE_CHECKING:
    from stream_server.engine.fastconformer.kernel.encoder import FusedEncoder

logger = logging.getLogger(__name__)

_PATIENCE = 2.0
"""Seconds of compiling that nobody need be told about."""


class FeedForward(nn.Module):
    """Two linear layers; the second is applied by `Layer`."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.hidden, config.intermediate, bias=config.attention_bias)
        self.linear2 = nn.Linear(config.intermediate, config.hidden, bias=config.attention_bias)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, C, intermediate]."""
        return self.activation(self.linear1(inputs))


class Convolution(nn.Module):
    """Gated pointwise, causal depthwise and again pointwise convolution; the last is applied by `Layer`."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size, bias = config.hidden, config.convolution_bias
        self.kernel = config.kernel
        self.pointwise_conv1 = nn.Conv1d(size, 2 * size, kernel_size=1, bias=bias)
        self.depthwise_conv = nn.Conv1d(size, size, config.kernel, groups=size, bias=bias)
        self.norm = nn.LayerNorm(size)
        self.pointwise_conv2 = nn.Conv1d(size, size, kernel_size=1, bias=bias)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, inputs: Tensor, window: Tensor) -> Tensor:
        """[B, C, H] from ``inputs`` [B, C, H].

        ``window`` [B, kernel - 1 + C, H] begins with what the depthwise convolution saw before the chunk; what it sees
        of the chunk is written behind.
        """
        past = self.kernel - 1
        gated = functional.linear(inputs, self.pointwise_conv1.weight[:, :, 0], self.pointwise_conv1.bias)
        torch.ops.aten.glu.out(gated, -1, out=window[:, past:])
        # Frames are not contiguous in a channel, which the convolutions of torch would copy twice to change.
        taps = window.unfold(1, self.kernel, 1).transpose(2, 3)
        mixed = (taps * self.depthwise_conv.weight[:, 0].T).sum(dim=2)
        if self.depthwise_conv.bias is not None:
            mixed += self.depthwise_conv.bias
        return self.activation(self.norm(mixed))


class Layer(nn.Module):
    """One conformer block (Gulati et al. 2020, arXiv:2005.08100)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.feed_forward1 = FeedForward(config)
        self.self_attn = Attention(config)
        self.conv = Convolution(config)
        self.feed_forward2 = FeedForward(config)
        self.norm_feed_forward1 = nn.LayerNorm(config.hidden)
        self.norm_self_att = nn.LayerNorm(config.hidden)
        self.norm_conv = nn.LayerNorm(config.hidden)
        self.norm_feed_forward2 = nn.LayerNorm(config.hidden)
        self.norm_out = nn.LayerNorm(config.hidden)

    def forward(self, hidden: Tensor, ring: Tensor, window: Tensor, view: View) -> tuple[Tensor, Tensor]:
        """The frames after this layer, and its attention inputs, both [B, C, H].

        ``hidden`` [B, C, H] is overwritten, ``ring`` [B, left, H] is read, ``window`` is filled as `Convolution` does.
        """
        feed, attention, conv = self.feed_forward1, self.self_attn, self.conv
        _add(hidden, feed(self.norm_feed_forward1(hidden)), feed.linear2.weight, feed.linear2.bias, 0.5)
        inputs = self.norm_self_att(hidden)
        _add(hidden, attention(inputs, ring, view), attention.o_proj.weight, attention.output_bias)
        pointwise = conv.pointwise_conv2
        _add(hidden, conv(self.norm_conv(hidden), window), pointwise.weight[:, :, 0], pointwise.bias)
        feed = self.feed_forward2
        _add(hidden, feed(self.norm_feed_forward2(hidden)), feed.linear2.weight, feed.linear2.bias, 0.5)
        return self.norm_out(hidden), inputs


class Encoder(nn.Module):
    """Subsampling and layers.

    ``fused`` does the same on a card in fewer and larger kernels; `FastConformer.prepare` puts it there. What is here
    is the reference for it, and what runs everywhere else.
    """

    fused: FusedEncoder | None = None

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.scale = config.hidden**0.5 if config.scale_input else 1.0
        self.subsampling = Subsampling(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, spectrum: Spectrum, memory: Memory, rows: Rows, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Frames [B, C, H], and what `Update` calls attention and convolution."""
        if self.fused is not None:
            return self.fused(spectrum, memory, rows, state)
        hidden = self.subsampling(spectrum)
        hidden *= self.scale
        batch, chunk, size = hidden.shape
        past = self.config.kernel - 1
        view = View.of(memory.count, rows.frames, chunk, self.config, hidden.dtype)
        windows = hidden.new_empty(len(self.layers), batch, past + chunk, size)
        state.gather_convolution(rows, memory.count, out=windows[:, :, :past])
        attention = []
        for index, layer in enumerate(self.layers):
            hidden, inputs = layer(hidden, state.gather_ring(index, rows), windows[index], view)
            attention.append(inputs)
        return hidden, torch.stack(attention), windows[:, :, past:]


class PromptProjector(nn.Module):
    """Tells the frames the language: two linear layers over each frame and a one-hot vector of the prompt."""

    def __init__(self, hidden: int, prompt: PromptConfig) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(hidden + prompt.count, prompt.intermediate)
        self.linear_2 = nn.Linear(prompt.intermediate, hidden)

    def forward(self, hidden: Tensor, prompt: Tensor) -> Tensor:
        """[B, C, H] from the same and ``prompt`` [B] int64."""
        weight, size = self.linear_1.weight, hidden.shape[2]
        # A one-hot vector picks a column of the weights.
        bias = self.linear_1.bias + weight[:, size:].index_select(1, prompt).T
        inner = functional.relu(functional.linear(hidden, weight[:, :size]) + bias[:, None], inplace=True)
        fused: Tensor = self.linear_2(inner)
        return fused


class FastConformer(nn.Module):
    """The whole model. Load the weights, move it to its device and type, then call `prepare`, then use it."""

    features: Features
    initial: PredictorState

    def __init__(self, config: FastConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.chunks = tuple(sorted({lookahead + 1 for lookahead in config.encoder.lookaheads}))
        """The chunk sizes that the model was trained for, in frames."""
        self.encoder = Encoder(config.encoder)
        self.encoder_projector = nn.Linear(config.encoder.hidden, config.transducer.hidden)
        self.prompt_projector = PromptProjector(config.encoder.hidden, config.prompt) if config.prompt else None
        self.decoder = Predictor(config.transducer)
        self.joint = Joint(config.transducer)

    @torch.no_grad()
    def prepare(self) -> None:
        """Compute what follows from configuration and weights. The model is for inference only from here on."""
        self.requires_grad_(False)
        self.eval()
        # Made here, not with the weights, so that it stays float32 whatever the model was cast to.
        self.features = Features(self.config.feature, self.config.encoder, self.encoder_projector.weight.device)
        for module in self.modules():
            if isinstance(module, Attention):
                module.prepare()
        self.initial = self.decoder.initial()
        if self.encoder_projector.weight.device.type == "cuda":
            self._fuse()

    def _fuse(self) -> None:
        """Have the encoder work by kernels of our own, if they can be compiled here."""
        device, began = self.encoder_projector.weight.device, time.monotonic()
        try:
            with torch.cuda.device(device):
                # Only here: Triton is not installed where there is no card.
                from stream_server.engine.fastconformer.kernel.encoder import FusedEncoder

                self.encoder.fused = FusedEncoder(self.encoder)
                self._rehearse(device)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception:  # no compiler, another Triton, another card: slower, but it works
            self.encoder.fused = None
            logger.warning("the encoder runs without kernels of its own", exc_info=True)
        took = time.monotonic() - began
        if took > _PATIENCE:
            logger.info("kernels of the encoder were compiled in %.0f s", took)

    def _rehearse(self, device: torch.device) -> None:
        """Encode nothing with every chunk size, so that what cannot work is known now."""
        state = State.allocate(self.config, 1, device, self.encoder_projector.weight.dtype)
        number, flag = (torch.zeros(1, dtype=kind, device=device) for kind in (torch.int64, torch.bool))
        rows = Rows(number, flag, flag, flag, number, number, number)
        for chunk in self.chunks:
            self.encode(torch.zeros(1, self.features.chunk_samples(chunk), device=device), rows, state)
        torch.cuda.synchronize(device)

    def encode(self, audio: Tensor, rows: Rows, state: State) -> tuple[Tensor, Update]:
        """One chunk for each row. Reads ``state`` and changes nothing.

        Args:
            audio: [B, samples of a chunk of one of ``chunks``] float32, see `Features`.
            rows: what the rows are.
            state: the memory of all streams, of the type of the weights.

        Returns:
            The frames as the joint network takes them, [B, C, transducer hidden], of which the first ``rows.frames``
            are valid; and what to `commit`.
        """
        assert audio.shape[1] in {self.features.chunk_samples(chunk) for chunk in self.chunks}
        memory = state.gather(rows)
        spectrum = self.features(audio, memory.tail, memory.position, rows.samples, rows.last)
        hidden, attention, convolution = self.encoder(spectrum, memory, rows, state)
        if self.prompt_projector is not None:
            hidden = self.prompt_projector(hidden, rows.prompt)
        return self.encoder_projector(hidden), Update(
            attention=attention,
            convolution=convolution,
            count=memory.count,
            position=memory.position,
            tail=spectrum.tail,
        )

    def commit(self, rows: Rows, update: Update, state: State) -> None:
        """Write what `encode` has returned."""
        state.commit(rows, update)

    def begin(self, rows: Rows, state: State) -> SearchState:
        """Where the search of a chunk begins: where it ended in the chunk before, or anew."""
        memory, node = state.gather_predictor(rows)
        predictor = PredictorState(memory).replaced(rows.reset, self.initial)
        return SearchState.begin(predictor, node * ~rows.reset)

    def remember(self, rows: Rows, search: SearchState, state: State) -> None:
        """Write where the search of a chunk has ended."""
        state.commit_predictor(rows, search.predictor.memory, search.node)


def _add(hidden: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor | None, scale: float = 1.0) -> None:
    """Add ``scale`` times the projection of ``inputs`` [B, C, any] to ``hidden`` [B, C, H]."""
    if bias is None:
        hidden.view(-1, hidden.shape[2]).addmm_(inputs.flatten(0, 1), weight.T, alpha=scale)
    else:
        hidden.add_(functional.linear(inputs, weight, bias), alpha=scale)
