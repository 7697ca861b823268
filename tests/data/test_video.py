import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hybrid_attention.data.cases import DataError
from hybrid_attention.data.folders import image_datalist, image_files
from hybrid_attention.data.images import read_grey, read_image
from hybrid_attention.data.video import video_frame_paths

from tests.data.videos import write_video

FRAMES = np.random.default_rng(0).integers(0, 256, (40, 32, 48), dtype=np.uint8)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "a.mkv", FRAMES, "ffv1", "gray")


def test_frames_in_any_order_and_from_threads(lossless):
    names = video_frame_paths(lossless)
    assert names == [f"{lossless}#{number}" for number in range(1, 41)]
    for index in (0, 1, 39, 2, 30):
        image = read_image(names[index])
        np.testing.assert_array_equal(image.pixels, FRAMES[index])
        assert image.source == names[index] and image.spacing is None
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal(list(pool.map(read_grey, names)), FRAMES)
    assert video_frame_paths(lossless, "middle") == [names[19]]
    assert video_frame_paths(lossless, [3, 5]) == [names[2], names[4]]
    with pytest.raises(ValueError, match="frame 41 does not exist: the file has 40"):
        read_grey(f"{lossless}#41")
    with pytest.raises(ValueError, match=r"name a frame, a\.mkv#1"):
        read_grey(lossless)


def test_compressed_videos_in_a_folder(tmp_path):
    smooth = np.stack([np.add.outer(np.arange(64), np.arange(64)) + 20 * step for step in range(3)]).astype(np.uint8)
    codecs = {"a.MOV": "libx264", "b.avi": "mpeg4", "c.mp4": "libx264"}
    files = [write_video(tmp_path / name, smooth, codec, "yuv420p") for name, codec in codecs.items()]
    cases = image_datalist(tmp_path)
    assert [case["case_id"] for case in cases] == [f"{name}#{number}" for name in codecs for number in (1, 2, 3)]
    np.testing.assert_allclose([read_grey(case["image"]) for case in cases], [*smooth] * 3, atol=11)
    assert image_files(files) == []  # of training data frames need masks, so videos are left out


def test_frames_with_one_grey_value_are_skipped(tmp_path, caplog):
    frames = FRAMES[:4].copy()
    frames[0], frames[2] = 0, 9
    path = write_video(tmp_path / "a.mkv", frames, "ffv1", "gray")
    assert video_frame_paths(path) == [f"{path}#2", f"{path}#4"]
    assert "a single grey value are skipped: 1, 3" in caplog.text
    with pytest.raises(ValueError, match="all of its frames have a single grey value"):
        video_frame_paths(path, [1, 3])


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), -1), ((0, -1, 1, 0), 1), ((-1, 0, 0, -1), 2)])
def test_videos_are_turned_as_they_say(tmp_path, matrix, turns):
    """The matrix (a, b, c, d) of MP4 (ISO 14496-12) shows the pixel (x, y) at (a x + c y, b x + d y)."""
    corner = np.full((32, 48), 60, np.uint8)
    corner[:16, :16] = 200
    path = write_video(tmp_path / "a.mp4", corner[None], "libx264", "yuv420p")
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0
    a, b, c, d = (int(value * 65536).to_bytes(4, "big", signed=True) for value in matrix)
    data[start : start + 20] = a + b + bytes(4) + c + d
    path.write_bytes(data)
    np.testing.assert_array_equal(read_grey(f"{path}#1") > 130, np.rot90(corner, turns) > 130)


def test_damaged_videos(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", FRAMES, "libx264", "yuv420p").read_bytes()
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n"
    for content in (b"", b"a text", playlist, whole[: len(whole) // 2]):
        (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.mp4: truncated or damaged video"):
            image_datalist(tmp_path / "a.mp4")


def test_without_the_package(lossless, phantoms, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"reading video needs PyAV: pip install '\.\[video\]'"):
        image_datalist(lossless)
    for source in (lossless, phantoms / "benign" / "benign (1).png"):
        shutil.copy(source, tmp_path)
    assert [case["case_id"] for case in image_datalist(tmp_path)] == ["benign (1).png"]
    assert f"{lossless.name} is skipped: reading video needs PyAV" in caplog.text
