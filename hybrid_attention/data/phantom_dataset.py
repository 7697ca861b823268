"""A folder of phantoms in the layout in which BUSI is published."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

import numpy as np
from hybrid_attention.data.phantom import PHANTOM_LABELS, PHANTOM_VERSION, make_phantom
from PIL import Image

MARKER = "SYNTHETIC.txt"
SEEDS_PER_DATASET = 1_000_000  # image i of data set `seed` is drawn from seed * SEEDS_PER_DATASET + i


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

    The folder appears complete or not at all: it is written beside its place and renamed. A folder that already holds
    this very data set is returned untouched, so processes that ask for it at the same time all succeed.

    Reference:
        W. Al-Dhabyani et al., "Dataset of breast ultrasound images", Data in Brief 28, 104863, 2020,
        doi:10.1016/j.dib.2019.104863 (the layout, and the class proportions of the default counts).

    Args:
        root: folder to create; its parents are created too.
        benign: number of images with a benign lesion.
        malignant: number of images with a malignant lesion.
        normal: number of images without one; their mask file is empty.
        seed: data sets with different seeds share no image.
        size: (height, width) of every image; None varies it as in BUSI.
        echogenicity: that of the lesions, as in `make_phantom`.

    Returns:
        The root.

    Raises:
        ValueError: when a count or the seed is negative, a count is too large, no image is asked for, the size is
            too small or the echogenicity unknown.
        FileExistsError: when `root` exists and is not this data set; nothing in it is changed.
        OSError: when the folder cannot be written.
    """
    root = Path(root)
    counts = {"benign": benign, "malignant": malignant, "normal": normal}
    if seed < 0 or min(counts.values()) < 0 or not 0 < sum(counts.values()) < SEEDS_PER_DATASET:
        raise ValueError(
            f"seed and counts must not be negative, with 1 to {SEEDS_PER_DATASET - 1} images in all, "
            f"got seed {seed} and {counts}."
        )
    if size is not None:
        size = (int(size[0]), int(size[1]))
    notice = _notice(counts, seed, size, echogenicity)
    if os.path.lexists(root):
        return _existing(root, notice, counts)
    scratch = root.parent / f".{root.name}.{uuid.uuid4().hex}.partial"
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir()
    except OSError as error:
        message = f"cannot create {str(root)!r} ({error.strerror}): name a root inside a folder that you may write to."
        raise OSError(error.errno, message) from error
    try:
        _write(scratch, counts, seed, size, echogenicity)
        (scratch / MARKER).write_text(notice, encoding="utf-8")
        try:
            scratch.rename(root)
        except OSError:
            if not os.path.lexists(root):
                raise
            return _existing(root, notice, counts)  # another process was faster
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return root


def is_synthetic(root: str | os.PathLike[str]) -> bool:
    """Return whether `root` is a folder of phantoms, by the marker at its root."""
    return (Path(root) / MARKER).is_file()


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
        # folders of version 1 from before there was a choice say nothing of it
        *([] if echogenicity == "hypoechoic" else [f"echogenicity of the lesions: {echogenicity}"]),
    ]
    return "\n".join(lines) + "\n"


def _existing(root: Path, notice: str, counts: dict[str, int]) -> Path:
    """Return a root that holds the data set described by the notice, and refuse any other."""
    if not is_synthetic(root):
        raise FileExistsError(
            f"{str(root)!r} exists and is no phantom data set; nothing was changed. Choose a root that does not exist."
        )
    found = (root / MARKER).read_text(encoding="utf-8")
    if found != notice:
        asked, has = notice.splitlines(), found.splitlines()
        differing = [line for line in asked if line not in has] or [f"not {line}" for line in has if line not in asked]
        raise FileExistsError(
            f"{str(root)!r} holds phantoms other than those asked for ({'; '.join(differing)}). "
            "Choose another root, or remove that folder."
        )
    for label, count in counts.items():
        present = sum((root / label / f"{label} ({i}).png").is_file() for i in range(1, count + 1))
        if present != count:
            raise FileExistsError(
                f"{str(root)!r} lacks {count - present} of its {count} {label} images. "
                "Remove the folder to write it anew."
            )
    return root


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
