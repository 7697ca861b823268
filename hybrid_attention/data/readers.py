"""MONAI image readers that open every supported file as this package's own functions do."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from hybrid_attention.data.images import read_grey
from hybrid_attention.data.masks import read_mask
from hybrid_attention.data.names import is_image
from monai.config import KeysCollection
from monai.data import ImageReader
from monai.transforms import LoadImaged
from monai.utils import ensure_tuple


class GreyReader(ImageReader):
    """MONAI image reader that opens every supported file with `read_grey`, so that checks and training see the same.

    Several files for one key become channels. Use it as `ReadImaged(keys, GreyReader)`; for masks use `MaskReader`.
    """

    read_file = staticmethod(read_grey)

    def verify_suffix(self, filename: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> bool:
        """Return whether all of `filename` are images, by their names."""
        return all(is_image(name) for name in ensure_tuple(filename))

    def read(
        self, data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], **kwargs: Any
    ) -> list[tuple[str, np.ndarray]]:
        """Read one or several files: a list of (path, array of shape (H, W)); errors name the file."""
        images = []
        for name in ensure_tuple(data):
            try:
                images.append((str(name), self.read_file(name)))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return images

    def get_data(self, img: list[tuple[str, np.ndarray]]) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the result of `read` as one array, (H, W) or (n, H, W) for several files, and its metadata."""
        arrays = [array for _, array in img]
        meta: dict[str, Any] = {"filename_or_obj": img[0][0], "spatial_shape": np.asarray(arrays[0].shape)}
        if len(arrays) == 1:
            return arrays[0], {**meta, "original_channel_dim": float("nan")}
        return np.stack(arrays), {**meta, "original_channel_dim": 0}


class MaskReader(GreyReader):
    """MONAI image reader for masks, by `read_mask`: `ReadImaged(keys, MaskReader)` returns 0 and 1."""

    read_file = staticmethod(read_mask)


class ReadImaged(LoadImaged):
    """`LoadImaged` with one reader, whose errors it raises; MONAI's goes on to other readers, which transpose images.

    Args:
        keys: keys of the paths.
        reader: class of the reader.
    """

    def __init__(self, keys: KeysCollection, reader: type[ImageReader]) -> None:
        super().__init__(keys, reader)
        self.reader = reader()

    def __call__(self, data: Mapping[Hashable, Any], reader: ImageReader | None = None) -> dict[Hashable, Any]:
        """Return `data` with the images of each key."""
        return super().__call__(data, reader or self.reader)
