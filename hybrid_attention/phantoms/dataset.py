"""Synthetic B-mode breast-ultrasound images with known lesion outlines, one or a folder of them in BUSI's layout.

The chain is that of a scanner: tissue echogenicity in dB, attenuation summed along each beam, scatterers seen through
a pulse that widens away from the focus, envelope, log compression. Lengths are in pixels of a 400-pixel-deep image
and scale with the image; the transducer is at row 0.
"""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hybrid_attention.data.datasets import SYNTHETIC_MARKER, is_synthetic
from hybrid_attention.phantoms.physics import scan
from hybrid_attention.phantoms.tissue import ECHOGENICITY, Mask, breast_anatomy, insert_lesion, place_lesion
from numpy.typing import NDArray
from PIL import Image

PHANTOM_VERSION = "1"
PHANTOM_LABELS = ("benign", "malignant", "normal")
MIN_SIZE = 64
SEEDS_PER_DATASET = 1_000_000  # image i of data set `seed` is drawn from seed * SEEDS_PER_DATASET + i

# Letters of five by seven dots, one number per row.
_GLYPHS = {
    "R": (30, 17, 17, 30, 20, 18, 17),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "U": (17, 17, 17, 17, 17, 17, 14),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "Q": (14, 17, 17, 17, 21, 18, 13),
    " ": (0, 0, 0, 0, 0, 0, 0),
}


@dataclass(frozen=True)
class Phantom:
    """One synthetic image, (H, W), with the exact lesion masks, drawn before speckle."""

    image: NDArray[np.uint8]
    masks: tuple[Mask, ...]  # one per lesion; none in a normal image
    label: str


def _annotate(rng: np.random.Generator, image: NDArray[np.uint8], masks: tuple[Mask, ...]) -> None:
    """Burn callipers and body marks into the image, as in many stored clinical images."""
    height, width = image.shape
    if masks and rng.random() < 0.22:
        rows, cols = np.nonzero(masks[0])
        low, high = np.argmin(cols), np.argmax(cols)
        ends = [(rows[low], cols[low], rows[high], cols[high])]
        low, high = np.argmin(rows), np.argmax(rows)
        ends.append((rows[low], cols[low], rows[high], cols[high]))
        for y0, x0, y1, x1 in ends:
            steps = max(2, int(np.hypot(y1 - y0, x1 - x0)) // 4)
            image[np.linspace(y0, y1, steps).astype(int), np.linspace(x0, x1, steps).astype(int)] = 215
            for y, x in ((y0, x0), (y1, x1)):
                image[max(0, y - 5) : y + 6, x] = image[y, max(0, x - 5) : x + 6] = 235
    if rng.random() < 0.25 and height > 120 and width > 120:
        text = rng.choice(("RT", "LT")) + rng.choice(("", " UOQ", " LOQ", " UIQ", " LIQ"))
        y, x = int(rng.uniform(0.7, 0.9) * height), int(rng.uniform(0.05, 0.5) * width)
        for letter in text:
            bits = np.array([[int(b) for b in f"{row:05b}"] for row in _GLYPHS[letter]], dtype=bool)
            bits = np.kron(bits, np.ones((2, 2), dtype=bool))
            patch = image[y : y + 14, x : x + 10]
            patch[bits[: patch.shape[0], : patch.shape[1]]] = 225
            x += 12


def make_phantom(
    label: str,
    seed: int,
    size: tuple[int, int] | None = None,
    annotations: bool = True,
    echogenicity: str = "hypoechoic",
) -> Phantom:
    """Draw one phantom; the same arguments and generator version give the same bytes.

    Benign and malignant lesions differ in the distribution of one hidden number, the suspicion, from which margin,
    shape, texture and posterior features follow; the distributions overlap, as the features do in patients.

    Args:
        label: "benign", "malignant" or "normal".
        seed: non-negative; with the label, the only source of randomness.
        size: (height, width) in pixels, each at least 64; None draws one like those of BUSI.
        annotations: whether some of the images have callipers and text.
        echogenicity: "hypoechoic", every lesion darker than the surrounding tissue; or "mixed", half of the solid ones
            as bright as it, brighter, or dark with a bright centre, like a lymph node.
    """
    if label not in PHANTOM_LABELS:
        raise ValueError(f"label must be one of {', '.join(map(repr, PHANTOM_LABELS))}, got {label!r}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if size is not None and (len(size) != 2 or min(size) < MIN_SIZE):
        raise ValueError(f"size must be (height, width), each at least {MIN_SIZE} pixels, got {size}")
    if echogenicity not in ECHOGENICITY:
        raise ValueError(f"echogenicity must be one of {', '.join(map(repr, ECHOGENICITY))}, got {echogenicity!r}")
    children = np.random.SeedSequence([seed, PHANTOM_LABELS.index(label)]).spawn(5)
    rng, lesion_rng, speckle_rng, mark_rng, kind_rng = (np.random.Generator(np.random.PCG64(c)) for c in children)
    kinds = ECHOGENICITY[echogenicity]
    if size is None:
        aspect, long_side = np.exp(np.clip(rng.normal(0.18, 0.14), -0.25, 0.5)), rng.uniform(320, 520)
        size = (int(long_side / max(aspect, 1)), int(long_side * min(aspect, 1)))
    shape = int(size[0]), int(size[1])
    unit = shape[0] / 400
    db, coherence, attenuation, skin = breast_anatomy(rng, shape, unit)

    masks: list[Mask] = []
    taken = np.zeros(shape, dtype=bool)
    for number in range(0 if label == "normal" else 2 if lesion_rng.random() < 0.1 else 1):
        if label == "benign":
            suspicion, area = lesion_rng.beta(1.5, 5.5), np.exp(lesion_rng.normal(np.log(0.04), 1.0))
        else:
            suspicion, area = lesion_rng.beta(5.5, 2.0), np.exp(lesion_rng.normal(np.log(0.105), 0.75))
        area = float(np.clip(area, 0.004, 0.36)) / (1 + 2 * number)
        lesion = place_lesion(lesion_rng, taken, area, suspicion, skin + 4 * unit, unit)
        if lesion is not None:
            kind = str(kind_rng.choice(list(kinds), p=list(kinds.values())))
            db, coherence, extra = insert_lesion(lesion_rng, lesion, suspicion, kind, db, coherence, unit)
            attenuation = attenuation + extra
            masks.append(lesion.mask)
            taken |= lesion.mask

    image = scan(rng, speckle_rng, db, coherence, attenuation, unit)
    if annotations:
        _annotate(mark_rng, image, tuple(masks))
    return Phantom(image, tuple(masks), label)


def write_phantom_dataset(
    root: str | os.PathLike[str],
    benign: int = 34,
    malignant: int = 16,
    normal: int = 10,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    echogenicity: str = "hypoechoic",
) -> Path:
    """Write phantoms as `benign/benign (1).png`, `benign/benign (1)_mask.png` and so on, with a marker at the root.

    The folder appears complete or not at all: it is written under a temporary name and renamed. A folder that already
    contains this data set is returned unchanged, so several processes can call this at the same time.

    Reference:
        W. Al-Dhabyani et al., "Dataset of breast ultrasound images", Data in Brief 28, 104863, 2020,
        doi:10.1016/j.dib.2019.104863 (the layout, and the class proportions of the default counts).

    Args:
        root: folder to create, with its parents.
        benign: number of images with a benign lesion.
        malignant: number of images with a malignant lesion.
        normal: number of images without a lesion; their masks are empty.
        seed: data sets with different seeds have no image in common.
        size: see `make_phantom`.
        echogenicity: see `make_phantom`.

    Raises:
        FileExistsError: `root` exists and is not this data set; nothing in it is changed.
    """
    root = Path(root)
    counts = {"benign": benign, "malignant": malignant, "normal": normal}
    if seed < 0 or min(counts.values()) < 0 or not 0 < sum(counts.values()) < SEEDS_PER_DATASET:
        raise ValueError(
            f"seed and counts must not be negative, with 1 to {SEEDS_PER_DATASET - 1} images in all, "
            f"got seed {seed} and {counts}"
        )
    if size is not None:
        size = (int(size[0]), int(size[1]))
    notice = _notice(counts, seed, size, echogenicity)
    if not os.path.lexists(root):
        scratch = root.parent / f".{root.name}.{uuid.uuid4().hex}.partial"
        try:
            scratch.mkdir(parents=True)
            _write(scratch, counts, seed, size, echogenicity)
            (scratch / SYNTHETIC_MARKER).write_text(notice, encoding="utf-8")
            scratch.rename(root)
        except OSError as error:
            if not os.path.lexists(root):  # else another process was faster
                raise OSError(error.errno, f"can't write {str(root)!r}: {error.strerror}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    _check_existing(root, notice, counts)
    return root


def _notice(counts: dict[str, int], seed: int, size: tuple[int, int] | None, echogenicity: str) -> str:
    """Return the text of the marker; equal texts mean equal data sets."""
    lines = [
        "SYNTHETIC IMAGES",
        "",
        "The images in this folder are synthetic phantoms, computed by the hybrid-attention package. They show no",
        "patient, and no result on them says anything about patients.",
        "",
        f"generator version: {PHANTOM_VERSION}",
        f"seed: {seed}",
        *(f"{label}: {count}" for label, count in counts.items()),
        f"size: {'varied' if size is None else f'{size[0]} x {size[1]} (height x width)'}",
        # the first folders of version 1 have no such line
        *([] if echogenicity == "hypoechoic" else [f"echogenicity of the lesions: {echogenicity}"]),
    ]
    return "\n".join(lines) + "\n"


def _check_existing(root: Path, notice: str, counts: dict[str, int]) -> None:
    """Refuse a root that does not contain the data set described by the notice."""
    if not is_synthetic(root):
        raise FileExistsError(
            f"{str(root)!r} exists and is not a phantom data set; nothing was changed. Choose a new root"
        )
    found = (root / SYNTHETIC_MARKER).read_text(encoding="utf-8")
    if found != notice:
        asked, has = notice.splitlines(), found.splitlines()
        differing = [line for line in asked if line not in has] or [f"not {line}" for line in has if line not in asked]
        raise FileExistsError(
            f"{str(root)!r} contains other phantoms than requested ({'; '.join(differing)}). "
            "Choose another root, or remove that folder"
        )
    for label, count in counts.items():
        missing = count - len(list((root / label).glob(f"{label} (*).png")))
        if missing:
            raise FileExistsError(
                f"{str(root)!r} lacks {missing} of its {count} {label} images. Remove it to write all again"
            )


def _write(folder: Path, counts: dict[str, int], seed: int, size: tuple[int, int] | None, echogenicity: str) -> None:
    """Write images (8-bit grey) and masks (1-bit) of all classes."""
    for label in PHANTOM_LABELS:
        (folder / label).mkdir()
        for index in range(1, counts[label] + 1):
            image_seed = seed * SEEDS_PER_DATASET + index - 1
            phantom = make_phantom(label, image_seed, size, echogenicity=echogenicity)
            stem = folder / label / f"{label} ({index})"
            Image.fromarray(phantom.image).save(f"{stem}.png")
            for number, mask in enumerate(phantom.masks or (np.zeros(phantom.image.shape, dtype=bool),)):
                Image.fromarray(mask).save(f"{stem}_mask{f'_{number}' if number else ''}.png")
