"""The page in a real browser: predictions, sizes, loops, files that can't be read."""

import csv
import json
import shutil
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hybrid_attention.data.images import read_grey
from hybrid_attention.prediction.measurements import measure_lesion
from PIL import Image

from tests.data.dicom_files import JPEG, JPEG_LOSSLESS, jpeg_frames, region, write_dicom

Keys = pytest.importorskip("selenium.webdriver.common.keys", reason="selenium is not installed").Keys
DEADLINE = 120  # seconds for one prediction, on a busy machine


@pytest.fixture(scope="module")
def page(browser, server):
    browser.get("about:blank")
    browser.get_log("performance")  # forget the browser's own first page
    browser.get(server.url)
    until(lambda: text(browser, "status").startswith("Ready"))
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.fixture(scope="module")
def drawn(phantoms):
    return sorted((phantoms / "malignant").glob("malignant (?).png"))


def text(browser, name):
    return browser.find_element("id", name).text


def opened(browser, *paths):
    """Open files; return what is predicted for the first in the page's order, None after an error."""
    browser.execute_script("document.getElementById('picture').prediction = undefined")
    browser.find_element("id", "files").send_keys("\n".join(str(path) for path in paths))
    return shown(browser, Path(paths[0]).name)


def shown(browser, name):
    script = """
        const [name, done] = arguments;
        const check = () => {
          const found = document.getElementById("picture").prediction;
          if (found === null) done(null);
          else if (found?.path === name) done({...found, image: [found.image.width, found.image.height],
            pixels: [...found.image.data], probability: [...found.probability]});
          else setTimeout(check, 20);
        };
        check();
    """
    return browser.execute_async_script(script, name)


def refusal(browser, path):
    assert opened(browser, path) is None
    assert not browser.find_element("id", "side").is_displayed()
    return text(browser, "message")


def measures(browser):
    entries = [entry.text for entry in browser.find_elements("css selector", "#measures > *")]
    return dict(zip(entries[::2], entries[1::2], strict=True))


def pixels(found):
    return np.array(found["pixels"]).reshape(*found["image"][::-1], 4)[..., 0]


def assert_probability(found, expected):
    np.testing.assert_allclose(np.array(found["probability"]).reshape(expected.shape), expected, rtol=0, atol=1e-4)


def until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_page_and_table_equal_the_model_in_python(page, model, drawn, tmp_path):
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    found = opened(page, shutil.copy(drawn[0], tmp_path / "=1+1.png"), *drawn[:2])
    result = model.predict(drawn[0])
    assert (pixels(found) == result.image.pixels).all()
    assert_probability(found, result.probability)
    np.testing.assert_allclose(found["classes"], list(result.classes.values()), atol=1e-4)
    assert found["expectedDice"] == pytest.approx(result.expected_dice, abs=1e-4)
    names = [entry.text for entry in page.find_elements("css selector", "#classes dt")]
    assert names == ["benign", "malignant", "normal"]
    page.find_element("id", "save-csv").click()
    until((tmp_path / "lesions.csv").is_file)
    rows = list(csv.DictReader((tmp_path / "lesions.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == ["'=1+1.png", *(path.name for path in drawn[:2])]
    for row, path in zip(rows[1:], drawn, strict=False):
        result = model.predict(path)
        assert int(row["lesion_pixels"]) == result.mask.sum()
        assert float(row["expected_dice"]) == pytest.approx(result.expected_dice, abs=1e-3)
        for name, measure in (("area", "largest_area"), ("long_axis", "long_axis"), ("short_axis", "short_axis")):
            assert float(row[name] or 0) == pytest.approx(result.measurements[measure] or 0, abs=2e-3)


def test_keys_a_folder_and_a_drop(page, phantoms, drawn):
    opened(page, *drawn[:3])
    body = page.find_element("tag name", "body")
    body.send_keys(Keys.ARROW_RIGHT)
    assert shown(page, drawn[1].name) and text(page, "position") == "2 of 3"
    body.send_keys(Keys.ARROW_LEFT)
    assert shown(page, drawn[0].name) and text(page, "name") == drawn[0].name
    page.execute_script("document.getElementById('picture').prediction = undefined")
    page.find_element("id", "folder").send_keys(str(phantoms))
    assert shown(page, f"{phantoms.name}/benign/benign (1).png")
    assert text(page, "position") == "1 of 21"  # masks are left out
    drop = """
        document.getElementById("picture").prediction = undefined;
        fetch("example.png").then((response) => response.blob()).then((blob) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([blob], "dropped.png"));
          document.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
        });
    """
    page.execute_script(drop)
    assert shown(page, "dropped.png") and text(page, "position") == "1 of 1"


def test_the_threshold_and_an_image_classified_as_normal(page, model, phantoms, drawn):
    found = opened(page, drawn[0])
    probability = np.array(found["probability"]).reshape(found["image"][::-1])
    script = "const input = document.getElementById('threshold'); input.value = arguments[0];"
    for threshold in (0.25, 0.5):
        page.execute_script(script + "input.dispatchEvent(new Event('input'))", threshold)
        expected = measure_lesion(probability >= threshold)
        assert measures(page)["area"] == f"{expected['largest_area']:.0f} pixels"
    normal = sorted((phantoms / "normal").glob("*[)].png"))
    opened(page, next(path for path in normal if model.predict(path).classes["normal"] > 0.6))
    assert "normal" in text(page, "warning") and "no lesion found" in measures(page)


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "jpeg"])
def test_a_loop_of_a_dicom_file_plays(page, model, drawn, tmp_path, compressed):
    grey = np.array(Image.open(drawn[0]))
    frames = np.stack([grey, np.roll(grey, 8, axis=1), np.roll(grey, 16, axis=1)])
    height, width = grey.shape
    settings = {"syntax": JPEG, "raw": jpeg_frames(frames)} if compressed else {}
    settings |= {"regions": [region(10, 5, width - 1, height - 6, delta=(0.01, 0.02))], "FrameTime": "40"}
    path = write_dicom(tmp_path / f"loop_{compressed}.dcm", frames, NumberOfFrames=3, **settings)
    found = opened(page, path)
    assert found["frames"] == 3 and found["spacing"] == pytest.approx([0.2, 0.1])
    np.testing.assert_allclose(pixels(found), grey[5 : height - 5, 10:], atol=30 if compressed else 0)
    result = model.predict(pixels(found).astype(np.uint8), spacing=(0.2, 0.1))
    assert_probability(found, result.probability)
    assert measures(page)["long axis"] == f"{result.measurements['long_axis']:.1f} mm"
    page.find_element("id", "play").click()
    until(lambda: "frames/s" in text(page, "rate"))
    page.find_element("id", "play").click()
    assert text(page, "play") == "Play"


def bomb(side):
    """Return a PNG that states a size and holds nothing of it."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(b"\0"), b"IEND"]
    parts = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_hostile_files_give_a_message(page, drawn, tmp_path):
    grey = np.array(Image.open(drawn[0]))
    whole = write_dicom(tmp_path / "whole.dcm", grey).read_bytes()
    loop = write_dicom(tmp_path / "loop.dcm", np.stack([grey] * 2), NumberOfFrames=2).read_bytes()
    named = "<img src=x onerror=document.title=1>.png"
    for name, content, message in (
        (named, b"not an image", "not an image"),
        ("bomb.png", bomb(20000), "20000 x 20000"),
        ("empty.png", b"", "empty"),
        ("cut.dcm", whole[:-5000], "cut.dcm"),
        ("noise.dcm", whole[:132] + np.random.default_rng(0).bytes(3000), "noise.dcm"),
        ("states.dcm", loop.replace(b"IS\x02\x002 ", b"IS\x02\x0099"), "99 frames"),
    ):
        (tmp_path / name).write_bytes(content)
        refused = refusal(page, tmp_path / name)
        assert message in refused and (name != named or named in refused)
    assert page.title != "1"
    assert "16 bits" in refusal(page, write_dicom(tmp_path / "deep.dcm", grey.astype(np.uint16)))
    lossless = write_dicom(tmp_path / "lossless.dcm", grey, syntax=JPEG_LOSSLESS, raw=jpeg_frames([grey]))
    assert JPEG_LOSSLESS in refusal(page, lossless)
    for name, start, limit in (("large.png", b"", 100), ("large.dcm", bytes(128) + b"DICM", 500)):
        with open(tmp_path / name, "wb") as file:
            file.write(start)
            file.truncate(10**9)  # takes no space on the disk
        assert f"it has 1000 MB; at most {limit} MB" in refusal(page, tmp_path / name)
    assert "not an image" in refusal(page, shutil.make_archive(tmp_path / "folder", "zip", drawn[0].parent))
    assert opened(page, drawn[0]) is not None  # the page still works
    assert text(page, "message") == ""


def test_turned_and_moving_pictures(page, drawn, tmp_path):
    grey = Image.open(drawn[0]).convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6
    grey.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    turned = pixels(opened(page, tmp_path / "turned.jpg"))
    np.testing.assert_allclose(turned, read_grey(tmp_path / "turned.jpg"), atol=2)
    grey.save(tmp_path / "moving.gif", save_all=True, append_images=[grey.rotate(180)])
    np.testing.assert_array_equal(pixels(opened(page, tmp_path / "moving.gif")), np.asarray(grey))  # the first


def test_no_request_leaves_the_server(page, server):
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    addresses = {one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"}
    assert server.url in addresses
    assert [address for address in addresses if not address.startswith((server.url, "blob:", "data:"))] == []


@pytest.mark.parametrize("width", [1366, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_the_window_and_has_contrast_and_names(page, drawn, width, scheme):
    opened(page, drawn[0])
    colours = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", colours)
    sizes = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    script = """
        const colour = (text) => text.match(/[\\d.]+/g).map(Number);
        const behind = (node) => {
          for (; node; node = node.parentElement) {
            const found = colour(getComputedStyle(node).backgroundColor);
            if (found.length === 3 || found[3] > 0) return found;
          }
        };
        return [...document.querySelectorAll("h1, h2, p, dt, dd, label, button:enabled, output, span, strong")]
          .filter((node) => node.offsetParent && node.textContent.trim())
          .map((node) => [node.textContent, colour(getComputedStyle(node).color), behind(node)]);
    """
    found = page.execute_script(script)
    assert len(found) > 20
    assert [words for words, *colours in found if contrast(*colours) < 4.5] == []
    script = """
        return [...document.querySelectorAll("button, input, select, canvas, progress")].filter((node) =>
          !(node.getAttribute("aria-label") || node.labels?.[0]?.textContent.trim() || node.textContent.trim()))
          .map((node) => node.outerHTML);
    """
    assert page.execute_script(script) == []


def contrast(*colours):
    """Return the contrast of two colours by WCAG 2.1."""
    shares = np.array([colour[:3] for colour in colours]) / 255
    linear = np.where(shares <= 0.03928, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return (high + 0.05) / (low + 0.05)
