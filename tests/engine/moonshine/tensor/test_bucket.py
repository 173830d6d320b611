from stream_server.engine.moonshine.architecture import count_frames
from stream_server.engine.moonshine.request import SAMPLE_RATE, token_cap
from stream_server.engine.moonshine.tensor.bucket import DeviceSettings, lengths, room_of, smallest


def test_the_smallest_that_is_enough() -> None:
    assert [smallest((1, 8, 32), need) for need in (0, 1, 2, 8, 32)] == [1, 1, 8, 8, 32]
    assert smallest((1, 8), 9) == 9


def test_there_is_room_for_every_token_and_the_steps_beyond() -> None:
    settings = DeviceSettings(seconds=(2, 8), steps=4)
    assert lengths(settings) == (2 * SAMPLE_RATE, 8 * SAMPLE_RATE)
    for samples in lengths(settings):
        shape = room_of(samples, settings)
        assert 0 <= shape.frames - count_frames(samples) < 8
        assert 0 <= shape.tokens - (token_cap(samples) + 1 + settings.steps) < 8
        assert (shape.frames % 8, shape.tokens % 8) == (0, 0)
