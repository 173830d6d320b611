"""The two ONNX graphs we run, built in memory from the weights.

Ours rather than the exported ones, for three reasons: the exported decoder quantizes activations with one scale for the
whole batch, so that a caller's text would depend on who shares the step; it gives no cross-attention, which word times
need; and it returns 32768 logits per position where one token and its probability are wanted. This module knows the
architecture (Moonshine, arXiv:2410.15608) and nothing of sessions, batches or text.

The decoder is exact by row: every operation in it gives a row the same bits whatever the other rows are, and whether a
position is fed alone or among others. Its matrix products quantize each row by itself and sum integers, and attention
is a product of one query with one head's keys, never of several queries at once, since ONNX Runtime sums those in
another order. Without this, a difference in the last bit can flip the rounding of a quantized activation, and in the
end a word.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from stream_server.engine.moonshine.architecture import (
    END_HEAD,
    EPSILON,
    HEAD,
    HEADS,
    LAYERS,
    START_HEAD,
    WIDTH,
)
from stream_server.engine.moonshine.builder import MICROSOFT, Builder
from stream_server.engine.moonshine.weight import Linear, Weights

FRAME_MULTIPLE = 4  # frames are padded to this: one-row products sum in groups of four


def build_encoder(encoder: Weights, decoder: Weights, b: Builder) -> bytes:
    """`audio [1, samples] float32` -> `cross [12, 8, frames, 36]`.

    `cross` holds, for each of the six decoder layers, the keys and the values that layer attends to, computed here once
    instead of at every step. Frames are padded with zeros to a multiple of FRAME_MULTIPLE. One clip at a time, so that
    nothing need be exact by row.
    """
    arrays, linears = encoder.arrays, encoder.linears
    value = _stem(b, arrays)
    length = b.add("Shape", value, start=1, end=2)
    steps = b.add("Range", b.constant(0, np.int64), b.add("Squeeze", length), b.constant(1, np.int64))
    position = b.add("Unsqueeze", steps, b.integers(0))
    norms = [
        *(arrays[f"layers.{layer}.input_layernorm.weight"] for layer in range(LAYERS)),
        arrays["layer_norm.weight"],
    ]
    normed = b.norm(value, norms[0])
    for layer in range(LAYERS):
        name = f"layers.{layer}."
        parts = [linears[f"{name}self_attn.{part}_proj"] for part in "qkv"]
        both, values = b.split(b.clip_product(normed, parts), 2 * WIDTH, WIDTH)
        queries, keys = b.split(b.rotate(both, position, 2 * HEADS), WIDTH, WIDTH)
        heard = b.add("MultiHeadAttention", queries, keys, values, domain=MICROSOFT, num_heads=HEADS)
        heard = b.clip_product(heard, [linears[name + "self_attn.o_proj"]], level=True)
        value, normed = b.residual(value, heard, arrays[name + "post_attention_layernorm.weight"])
        inner = b.clip_product(normed, [linears[name + "mlp.fc1"]], arrays[name + "mlp.fc1.bias"])
        inner = b.add("Gelu", inner, domain=MICROSOFT)
        inner = b.clip_product(inner, [linears[name + "mlp.fc2"]], arrays[name + "mlp.fc2.bias"], level=True)
        value, normed = b.residual(value, inner, norms[layer + 1])
    missing = b.add("Mod", b.add("Neg", length), b.integers(FRAME_MULTIPLE))
    normed = b.add("Pad", normed, b.add("Concat", b.integers(0, 0, 0, 0), missing, b.integers(0), axis=0))
    names = [f"layers.{layer}.encoder_attn.{part}_proj" for layer in range(LAYERS) for part in "kv"]
    cross = b.clip_product(normed, [decoder.linears[name] for name in names])
    cross = b.add("Reshape", cross, b.integers(-1, 2 * LAYERS, HEADS, HEAD))
    b.add("Transpose", cross, perm=[1, 2, 0, 3], output="cross")
    return b.model({"audio": (TensorProto.FLOAT, [1, "samples"])}, ["cross"])


def _stem(b: Builder, arrays: dict[str, NDArray[np.float32]]) -> str:
    """The three convolutions, as products over windows of rows: `audio` -> `[1, frames, 288]`."""
    kernel = arrays["conv1.weight"][:, 0]  # [288, 127]; one zero more makes a window two hops of 64 samples
    matrix = b.constant(np.pad(kernel, ((0, 0), (0, 1))).T)
    padded = b.add("Pad", "audio", b.integers(0, 0, 0, 1))
    hops = b.add("Div", b.add("Shape", padded, start=1, end=2), b.integers(64))
    whole = b.add("Slice", padded, b.integers(0), b.add("Mul", hops, b.integers(64)), b.integers(1))
    rows = b.add("Reshape", whole, b.integers(1, -1, 64))
    value = b.add("Tanh", b.add("MatMul", b.windows(rows, 2, 1), matrix))
    # A group norm of one group spans the whole clip, which is why clips are encoded one by one.
    flat = b.add("Reshape", value, b.integers(1, 1, -1))
    flat = b.add("InstanceNormalization", flat, b.constant([1]), b.constant([0]), epsilon=EPSILON)
    value = b.add("Reshape", flat, b.add("Shape", value))
    value = b.add("Mul", value, b.constant(arrays["groupnorm.weight"][:, 0]))
    value = b.add("Add", value, b.constant(arrays["groupnorm.bias"][:, 0]))
    # The third convolution does not bear 8 bits; the second, three times its cost, does.
    value = b.byte_convolve(value, arrays["conv2.weight"], arrays["conv2.bias"], 3)
    return b.convolve(value, arrays["conv3.weight"], arrays["conv3.bias"], 2)


def build_decoder(decoder: Weights, b: Builder) -> bytes:
    """One pass over `t` new positions of each of `b` rows.

    Inputs, beside `ids [b, t]`: `position [b, t]`, counted from 0; `slot [b, 8, t, 3]`, where a position's keys and
    values go in the cache (row, head, position); `mask [b, 1, t, 1, room]` and `cross_mask [b, 1, 1, 1, frames]`, added
    to the scores; `select [n]`, the positions of the flattened `ids` whose successor is wanted (the vocabulary is the
    dearest part); for each layer `key`, `value [b, 8, room, 36]`, the cache, and `cross_key`, `cross_value
    [b, 8, frames, 36]`.

    Outputs: `token [n]`, the most probable successors; `probability [n]`, theirs; `fresh [b, 96, t, 36]`,
    the keys and values of the new positions (six layers, keys before values, eight heads); `attention [b, 2, t,
    frames]`, the weights of START_HEAD and of END_HEAD.
    """
    arrays, linears = decoder.arrays, decoder.linears
    head = linears["proj_out"]
    value = b.add("Cast", b.add("Gather", b.constant(head.values.T, np.uint8), "ids"), to=TensorProto.FLOAT)
    value = b.add("Mul", b.add("Sub", value, b.constant(head.zero_point)), b.constant(head.scale))
    norms = [arrays[f"layers.{layer}.input_layernorm.weight"] for layer in range(LAYERS)]
    normed = b.norm(value, norms[0])
    fresh: list[str] = []
    looks = dict([START_HEAD, END_HEAD])
    pointers: dict[int, str] = {}
    for layer in range(LAYERS):
        name = f"layers.{layer}."
        parts = [linears[f"{name}self_attn.{part}_proj"] for part in "qkv"]
        both, values = b.split(b.row_product(normed, [_scaled(parts[0]), *parts[1:]]), 2 * WIDTH, WIDTH)
        queries, keys = b.split(b.rotate(both, "position", 2 * HEADS), WIDTH, WIDTH)
        keys, values = _heads(b, keys), _heads(b, values)
        fresh += keys, values
        keys, values = (
            b.add("ScatterND", f"key{layer}", "slot", keys),
            b.add("ScatterND", f"value{layer}", "slot", values),
        )
        heard, _ = _attend(b, queries, keys, values, "mask")
        heard = b.row_product(heard, [linears[name + "self_attn.o_proj"]])
        value, normed = b.residual(value, heard, arrays[name + "post_attention_layernorm.weight"])
        queries = b.row_product(normed, [_scaled(linears[name + "encoder_attn.q_proj"])])
        heard, weights = _attend(b, queries, f"cross_key{layer}", f"cross_value{layer}", "cross_mask")
        if layer in looks:
            pointers[layer] = b.add("Gather", weights, b.integers(looks[layer]), axis=1)
        heard = b.row_product(heard, [linears[name + "encoder_attn.o_proj"]])
        value, normed = b.residual(value, heard, arrays[name + "final_layernorm.weight"])
        inner = b.row_product(normed, [linears[name + "mlp.fc1"]], arrays[name + "mlp.fc1.bias"])
        inner, gate = b.split(inner, 4 * WIDTH, 4 * WIDTH)
        inner = b.add("Mul", b.add("QuickGelu", gate, domain=MICROSOFT, alpha=1.0), inner)  # alpha 1: SiLU
        inner = b.row_product(inner, [linears[name + "mlp.fc2"]], arrays[name + "mlp.fc2.bias"])
        if layer + 1 < LAYERS:
            value, normed = b.residual(value, inner, norms[layer + 1])
    value = b.add("Add", value, inner)
    value = b.add("Gather", b.add("Reshape", value, b.integers(-1, WIDTH)), "select")
    logits = b.row_product(b.norm(value, arrays["norm.weight"]), [head])
    b.add("ArgMax", logits, axis=-1, keepdims=0, output="token")
    b.add("ReduceMax", b.add("Softmax", logits, axis=-1), b.integers(-1), keepdims=0, output="probability")
    b.add("Concat", *fresh, axis=1, output="fresh")
    both = b.add("Concat", pointers[START_HEAD[0]], pointers[END_HEAD[0]], axis=1)
    b.add("Squeeze", both, b.integers(3), output="attention")
    memory_shape, cross_shape = ["b", HEADS, "room", HEAD], ["b", HEADS, "frames", HEAD]
    inputs = {
        "ids": (TensorProto.INT64, ["b", "t"]),
        "position": (TensorProto.INT64, ["b", "t"]),
        "slot": (TensorProto.INT64, ["b", HEADS, "t", 3]),
        "mask": (TensorProto.FLOAT, ["b", 1, "t", 1, "room"]),
        "cross_mask": (TensorProto.FLOAT, ["b", 1, 1, 1, "frames"]),
        "select": (TensorProto.INT64, ["n"]),
    }
    for layer in range(LAYERS):
        for part in ("key", "value"):
            inputs[f"{part}{layer}"] = (TensorProto.FLOAT, memory_shape)
            inputs[f"cross_{part}{layer}"] = (TensorProto.FLOAT, cross_shape)
    return b.model(inputs, ["token", "probability", "fresh", "attention"])


def _scaled(linear: Linear) -> Linear:
    """A query projection with the attention's scale inside."""
    return Linear(linear.values, linear.scale * HEAD**-0.5, linear.zero_point)


def _heads(b: Builder, value: str) -> str:
    """`[b, t, 288]` as `[b, 8, t, 36]`."""
    return b.add("Transpose", b.add("Reshape", value, b.integers(0, 0, HEADS, HEAD)), perm=[0, 2, 1, 3])


def _attend(b: Builder, queries: str, keys: str, values: str, mask: str) -> tuple[str, str]:
    """Attention of `[b, t, 288]` over `[b, 8, room, 36]`, each query by itself: the outcome, and the weights."""
    apart = b.integers(2)
    queries = b.add("Unsqueeze", _heads(b, queries), b.integers(3))
    keys, values = b.add("Unsqueeze", keys, apart), b.add("Unsqueeze", values, apart)
    scores = b.add("FusedMatMul", queries, keys, domain=MICROSOFT, transB=1)  # [b, 8, t, 1, room]
    weights = b.add("Softmax", b.add("Add", scores, mask), axis=-1)
    heard = b.add("Transpose", b.add("MatMul", weights, values), perm=[0, 2, 3, 1, 4])
    return b.add("Reshape", heard, b.integers(0, 0, WIDTH)), weights
