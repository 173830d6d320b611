"""Decodes WebM, Ogg, MP3, FLAC, fragmented MP4 and AAC while their bytes arrive. It does not know about rates to reach.

FFmpeg's demuxers pull bytes and our callers push them, so each stream has one thread that decodes; but a call returns
only when that thread has used up its bytes and asks for more. Caller and thread never run at the same time, and the
same calls give the same results. PyAV is imported when first needed: its wheels carry a GPL build of FFmpeg.
"""

from __future__ import annotations

import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_server.audio.decode import Sanitizer
from stream_server.audio.demuxer import demuxer_for
from stream_server.audio.error import UnsupportedAudio, require_layout

if TYPE_CHECKING:
    from av import AudioFrame

PROBE_LIMIT: Final = 1 << 20
"""Bytes that may go by before the first sample comes out."""
OUTPUT_LIMIT: Final = 1 << 24
"""Samples, over all channels, that the bytes of one call may become: some codecs make a minute of one kilobyte."""

_READ_BYTES: Final = 64 * 1024
# Give each packet as soon as its bytes are there. Not `nobuffer`: it throws away the packet read while probing.
_LIVE_OPTIONS: Final = {"probesize": "32", "analyzeduration": "0"}
# Full scale and midpoint of FFmpeg's sample formats, as numpy shows them; floats are taken as they are.
_INTEGER_SCALE: Final = {"uint8": (128, 128), "int16": (2**15, 0), "int32": (2**31, 0), "int64": (2**63, 0)}


def import_av() -> ModuleType:
    """PyAV, or an `UnsupportedAudio` that says what can be done without it."""
    try:
        import av
    except ImportError as error:
        raise UnsupportedAudio(
            "this server cannot decode compressed containers (PyAV is not installed); "
            "send raw samples or WAV, or install the package 'av'"
        ) from error
    return av


def audio_track(container: Any, name: str) -> Any:
    """The first audio stream of what FFmpeg has opened; ``name`` is what callers are told of it, such as "the file".

    Raises:
        UnsupportedAudio: there is none, or FFmpeg cannot decode it.
    """
    if not container.streams.audio:
        raise UnsupportedAudio(f"{name} has no audio track")
    track = container.streams.audio[0]
    if track.codec_context is None:
        raise UnsupportedAudio(f"the audio of {name} is in a codec that is unknown here")
    return track


def frame_samples(frame: AudioFrame) -> NDArray[Any]:
    """The samples of a decoded frame as `[n, channels]` floats, full scale 1."""
    flat = frame.to_ndarray()
    samples = flat.T if frame.format.is_planar else flat.reshape(-1, frame.layout.nb_channels)
    if samples.dtype.name not in _INTEGER_SCALE:
        return samples
    scale, midpoint = _INTEGER_SCALE[samples.dtype.name]
    return (samples.astype(np.float32) - midpoint) / np.float32(scale)


class ContainerDecoder:
    """One live stream of container bytes, decoded at the rate it was recorded at.

    `channels` is what the caller asked for. A container with another number of channels is mixed to one: browsers
    record in stereo when a microphone offers it, and nobody wants every caption twice.

    `sample_rate` is 0 and `channels` is not final until the first samples came out. The thread starts with the first
    bytes; `close` (or `finish`) ends it, and must be called.
    """

    def __init__(self, channels: int, *, probe_limit: int = PROBE_LIMIT, output_limit: int = OUTPUT_LIMIT) -> None:
        self.sample_rate = 0
        self.channels = channels
        self.invalid_packets = 0
        self._probe_limit = probe_limit
        self._output_limit = output_limit
        self._received_bytes = 0
        self._head = bytearray()
        self._sanitizer = Sanitizer()
        self._thread: threading.Thread | None = None
        # All below is shared with the thread. Who may touch it is settled by taking turns, and turns by this condition.
        self._turn = threading.Condition()
        self._inbox = bytearray()
        self._outbox: list[NDArray[np.float32]] = []
        self._outbox_size = 0
        self._hungry = False
        self._ended = False
        self._closed = False
        self._stopped = False
        self._failure: Exception | None = None  # to be raised in the caller's thread
        self._damage: Exception | None = None  # what FFmpeg could not read

    @property
    def invalid_samples(self) -> int:
        return self._sanitizer.invalid_samples

    @property
    def clipped_samples(self) -> int:
        return self._sanitizer.clipped_samples

    @property
    def pending_bytes(self) -> int:
        return len(self._head)

    def receive(self, data: bytes) -> NDArray[np.float32]:
        """Decode the next bytes of the container; gives `[n, channels]`, where n may be 0.

        Raises:
            UnsupportedAudio: not a known container, no audio in it, damaged, or too much in one call.
        """
        assert not self._ended, "receive after finish or close"
        self._received_bytes += len(data)
        if self._thread is None:
            self._head += data
            if demuxer := demuxer_for(bytes(self._head)):
                self._start(import_av(), demuxer)
                samples = self._feed(bytes(self._head))
                self._head.clear()
            else:
                samples = self._collect()
        else:
            samples = self._feed(data)
        if self.sample_rate == 0 and self._received_bytes > self._probe_limit:
            raise UnsupportedAudio(
                f"no audio could be decoded from the first {self._probe_limit} bytes of the container"
            )
        return samples

    def finish(self) -> NDArray[np.float32]:
        """No more bytes will come: decode what is left and end the thread. A truncated end is not an error.

        Raises:
            UnsupportedAudio: nothing at all could be decoded, or the last bytes were more than is allowed.
        """
        with self._turn:
            self._ended = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()
        samples = self._collect()
        if self._failure is not None or self.sample_rate == 0:
            raise self._reason() from self._damage
        return samples

    def close(self) -> None:
        """End the thread and forget what it holds. May be called at any time, and twice."""
        with self._turn:
            self._ended = self._closed = True
            self._inbox.clear()
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._outbox.clear()

    def _start(self, av: ModuleType, demuxer: str) -> None:
        # A daemon: a session that was never closed must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, args=(av, demuxer), name="container-decoder", daemon=True)
        self._thread.start()

    def _feed(self, data: bytes) -> NDArray[np.float32]:
        """Let the thread run until it has used up `data`."""
        with self._turn:
            self._inbox += data
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._stopped or (self._hungry and not self._inbox))
            samples = self._collect()
            if self._stopped and not len(samples):
                raise self._reason() from self._damage
        return samples

    def _collect(self) -> NDArray[np.float32]:
        samples = np.concatenate(self._outbox) if self._outbox else np.zeros((0, self.channels), np.float32)
        self._outbox.clear()
        self._outbox_size = 0
        return samples

    def _reason(self) -> Exception:
        """What to tell the caller about a thread that has stopped."""
        if self._failure is not None:
            return self._failure
        if self._received_bytes == 0:
            return UnsupportedAudio("the container is empty: no bytes came before the end")
        if self.sample_rate == 0:
            return UnsupportedAudio("no audio could be decoded from the container: it is damaged or incomplete")
        return UnsupportedAudio("the container ends or is damaged here: the bytes that follow cannot be decoded")

    # What follows runs in the thread.

    def read(self, size: int) -> bytes:
        """FFmpeg asks for bytes: wait for some. Once the end was reported, it stays the end."""
        with self._turn:
            if not self._inbox and not self._ended:
                self._hungry = True
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._inbox or self._ended)
                self._hungry = False
            data = bytes(self._inbox[:size])
            del self._inbox[:size]
            return data

    def _run(self, av: ModuleType, demuxer: str) -> None:
        try:
            with av.open(self, format=demuxer, options=_LIVE_OPTIONS, buffer_size=_READ_BYTES) as container:
                self._decode(av, container)
        except av.error.FFmpegError as error:
            self._damage = error
        except Exception as error:  # whatever it is, the caller's thread must wake up and report it
            self._failure = error
        finally:
            with self._turn:
                self._stopped = True
                self._turn.notify_all()

    def _decode(self, av: ModuleType, container: Any) -> None:
        stream = audio_track(container, "the container")
        stream.codec_context.thread_count = 1  # more would hold frames back and leave threads behind
        for packet in container.demux(stream):
            if self._closed:
                return
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.invalid_packets += 1  # the next packet may well be whole
                continue
            for frame in frames:
                self._put(frame)

    def _put(self, frame: AudioFrame) -> None:
        samples = frame_samples(frame)
        if self.sample_rate == 0:
            require_layout("the container", frame.sample_rate, samples.shape[1])
            self.sample_rate = frame.sample_rate
            if samples.shape[1] != self.channels:
                self.channels = 1
        if frame.sample_rate != self.sample_rate:
            raise UnsupportedAudio(
                f"the container changes from {self.sample_rate} to {frame.sample_rate} Hz within one stream"
            )
        samples = self._sanitizer.apply(samples)
        if samples.shape[1] != self.channels:
            samples = np.repeat(samples.mean(axis=1, keepdims=True), self.channels, axis=1)
        self._outbox_size += samples.size
        if self._outbox_size > self._output_limit:
            raise UnsupportedAudio(f"a few bytes of the container decode to more than {self._output_limit} samples")
        self._outbox.append(samples)
