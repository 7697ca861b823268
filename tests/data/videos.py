"""Small videos of known frames."""

import pytest


def write_video(path, frames, codec, form):
    """Write grey frames, (frames, H, W), uint8, by a codec and pixel format of FFmpeg."""
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], form
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
    return path
