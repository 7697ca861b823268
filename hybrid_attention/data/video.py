"""Video files as loops: their frames as grey planes, read one after the other."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from hybrid_attention.data.dicom import chosen_frames
from hybrid_attention.data.grey import check_size
from hybrid_attention.data.hashing import cached_by_file
from hybrid_attention.data.names import how_to_install, split_frame

_KEPT = 16  # frames that threads may ask for out of order
_NAMED = 20  # frames in a message

logger = logging.getLogger(__name__)


def video_frame_paths(path: str | os.PathLike[str], frames: str | Sequence[int] = "all") -> list[str]:
    """List the frames of a video, which is decoded once; those with a single grey value are skipped and logged.

    Raises:
        ValueError: the file is damaged, has no frames that show something, or lacks one of `frames`.
        ImportError: PyAV is missing.
    """
    blank: set[int] = set()
    count = 0
    for plane in _planes(Path(path)):
        count += 1
        if plane.min() == plane.max():
            blank.add(count)
    chosen = chosen_frames(frames, count)
    left_out = [number for number in chosen if number in blank]
    if len(left_out) == len(chosen):
        raise ValueError("all of its frames have a single grey value")
    if left_out:
        more = " and more" if len(left_out) > _NAMED else ""
        names = ", ".join(map(str, left_out[:_NAMED]))
        logger.warning("%s: frames with a single grey value are skipped: %s%s", path, names, more)
    return [f"{path}#{number}" for number in chosen if number not in blank]


def read_video_grey(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a frame of a video, `clip.mp4#3`, as luma (ITU-R 601-2), (H, W), uint8, rotated as the file says.

    Frames in order are fast; a step back reads from the start.
    """
    file, number = split_frame(path)
    if number is None:
        raise ValueError(f"it is a video: name a frame, {file.name}#1 and so on, or use predict_loop")
    return _reader(file).frame(number)


class _Reader:
    """The frames of one video, for several threads that ask for about the same ones."""

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, Lock()
        self.start()

    def start(self) -> None:
        self.planes, self.read = _planes(self.path), 0
        self.kept: dict[int, np.ndarray] = {}

    def frame(self, number: int) -> np.ndarray:
        with self.lock:
            if number <= self.read and number not in self.kept:
                self.start()
            while self.read < number:
                plane = next(self.planes, None)
                if plane is None:
                    raise ValueError(f"frame {number} does not exist: the file has {self.read}, counted from 1")
                self.read += 1
                self.kept[self.read] = plane
                self.kept.pop(self.read - _KEPT, None)
            return self.kept[number]


@cached_by_file(2)  # of the last files that were read, which stay open
def _reader(path: Path) -> _Reader:
    return _Reader(path)


def _planes(path: Path) -> Iterator[np.ndarray]:
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        raise ImportError(f"reading video needs PyAV: {how_to_install('video')}") from None
    try:
        # a playlist could name other files and addresses
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise ValueError("it has no video stream")
            stream = container.streams.video[0]
            check_size(stream.height, stream.width)
            for frame in container.decode(stream):
                grey = frame.to_ndarray(format="gray")
                yield np.ascontiguousarray(np.rot90(grey, round(frame.rotation / 90)))
    except FFmpegError as error:
        raise ValueError(f"truncated or damaged video ({error.strerror})") from None
