"""Pages of `predictions.pdf`, read by pdftotext."""

import re
import shutil
import subprocess
import warnings

import hybrid_attention
import numpy as np
import pytest
from hybrid_attention.data.images import GreyImage
from hybrid_attention.prediction.pdf import PdfReport
from hybrid_attention.prediction.result import Result

from tests.prediction.masks import box


def result(width, height, spacing=None, classes=None, chance=0.9):
    """A lesion of `width` by `height` pixels in an image of 60 x 40, expected to be right where it is."""
    mask = box(width, height) > 0
    image = GreyImage(np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8), spacing=spacing)
    return Result(image, mask, (mask * chance).astype(np.float32), classes or {})


def test_a_page_per_image(tmp_path):
    """20 x 10 pixels of 0.1 mm: 2 x 1 mm; a lesion in pixels, an image without a lesion, and a name with signs."""
    path, odd = tmp_path / "predictions.pdf", "$a$_1 " + "very " * 30 + "long.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = PdfReport(path, "a model, weights 0123456789ab")
        report.add("a/b.png", result(20, 10, (0.1, 0.1), {"benign": 0.25, "malignant": 0.75}))
        report.add("c.png", result(10, 20, chance=0.5))
        report.add(odd, result(0, 0))
        assert not path.exists()  # it appears by rename
        report.close()
    tool = shutil.which("pdftotext")
    if tool is None:
        pytest.skip("pdftotext (package poppler-utils) is not installed")
    done = subprocess.run([tool, "-layout", path, "-"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    first, second, third = pages = [re.sub(r" +", " ", page) for page in done.stdout.split("\f")[:-1]]
    assert first.startswith("a/b.png") and second.startswith("c.png") and " ".join(third.split()).startswith(odd)
    for line in ("Short axis 1.0 mm", "Area 2.0 mm²", "Orientation, computed parallel", "Width / height 2.00"):
        assert line in first
    assert first.index("malignant, probability 75.0%") < first.index("benign, probability 25.0%")
    assert "Short axis 10 pixels" in second and "Area 200 pixels" in second
    assert "Orientation, computed not parallel" in second and "the model does not classify" in second
    # 2 * 0.9 / (1 + 0.9) and 2 * 0.5 / (1 + 0.5)
    assert "0.95\n" in first and "0.67: uncertain, check the outline" in second
    assert "no lesion was predicted" in third and "Long axis" not in third and "uncertain" not in third
    for page in pages:
        assert "Research only: not a medical device" in page
        assert f"a model, weights 0123456789ab; hybrid_attention {hybrid_attention.__version__}" in page
