"""The numbers of the network that both backends compute: Moonshine tiny (arXiv:2410.15608). No weights in it."""

LAYERS, HEADS, HEAD, WIDTH = 6, 8, 36, 288
ROTATED = 32  # of a head's dimensions; the others carry no position
ROTATION_BASE = 10000.0
POSITIONS = 4096  # that the tables of rotations hold
EPSILON = 1e-5  # of every norm
CONVOLUTIONS = ((127, 64), (7, 3), (3, 2))  # kernel and stride, without padding
HOP = 384  # samples between encoder frames: the strides of the three convolutions
FIRST_CENTER = 447  # the sample in the middle of what the first frame hears: those convolutions span 895
# Of the 48 cross-attention heads, (layer, head) of the two that point at the boundaries of words. Found by comparing
# every head's strongest frame with the known bounds of synthesized words: the first looks at the start of the word
# whose first token is being chosen (median error 35 ms by itself), the second at the end of the word just read (17 ms).
START_HEAD = (4, 6)
END_HEAD = (3, 1)


def count_frames(samples: int) -> int:
    """Encoder frames of a clip (the three convolutions have no padding). Not positive when it is too short."""
    for kernel, stride in CONVOLUTIONS:
        samples = (samples - kernel) // stride + 1
    return samples
