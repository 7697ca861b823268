"""Load trained models that predict the mask of an image."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hybrid_attention.prediction.model import Model, OnnxModel

DEFAULT = "hybrid_lite"
WHOLE = "models/released/model.onnx"


def load_model(
    model: str | os.PathLike[str] = DEFAULT,
    backend: str = "auto",
    device: str | None = None,
    threshold: float | None = None,
) -> Model:
    """Load a trained model.

    A model in one ONNX file, as the default one is, runs on the CPU by ONNX Runtime; neither torch nor MONAI is
    imported. Others run as their bundle's `inference.yaml` says.

    Args:
        model: name of a bundle with weights (`hybrid_lite`, `hybrid`, `mtl_oca`) or its folder; folder of a run, or its
            weight file; archive of `hybrid-attention package`; or ONNX file of `hybrid-attention export --whole`.
        backend: "auto", "torch", "onnx" or "openvino"; see `hybrid_attention.deploy.with_backend`.
        device: of torch, for example "cuda"; None for the CPU by a whole ONNX file, else for a GPU if there is one.
        threshold: probability from which on a pixel is lesion; None for that of the model.

    Returns:
        The model; see `Model.predict` and `Model.predict_many`.

    Raises:
        FileNotFoundError: there is no such model, or it has no weights.
        ValueError: the file is not a model of this package, or an argument is out of range.

    Example:
        >>> import hybrid_attention
        >>> model = hybrid_attention.load_model()
        >>> for result in model.predict_many(["a.png", "b.dcm"]):  # doctest: +SKIP
        ...     print(result.predicted_class, result.expected_dice, result.measurements["long_axis"])
    """
    path = Path(model)
    if path.suffix.lower() == ".onnx":
        if backend not in ("auto", "onnx") or device not in (None, "cpu"):
            raise ValueError(
                f"{model} runs on the CPU by ONNX Runtime, got the backend {backend!r} and device {device!r}"
            )
        return OnnxModel(path, threshold=threshold)
    if backend in ("auto", "onnx") and device is None:
        whole = whole_file(model)
        if whole is not None:
            return OnnxModel(whole, threshold=threshold)
    from hybrid_attention.deploy.archive import unpack_archive
    from hybrid_attention.deploy.predictor import BundleModel

    named = str(model) in bundles() or (path / "configs").is_dir()
    if not named and not path.exists():
        raise FileNotFoundError(f"no model {model}: expected {', '.join(bundles())}, a run, an archive or an ONNX file")
    if path.suffix.lower() == ".zip":
        with tempfile.TemporaryDirectory() as folder:
            return BundleModel(unpack_archive(path, folder), None, backend, device, threshold)
    return BundleModel(model if named else None, None if named else model, backend, device, threshold)


def whole_file(bundle: str | os.PathLike[str]) -> Path | None:
    """Return the whole ONNX file of a bundle's released weights, or None where it has none.

    Args:
        bundle: name or folder.
    """
    folder = bundles().get(str(bundle), Path(bundle))
    own = (folder / "models" / "model.pt").is_file()  # trained in the folder: it comes before the released weights
    return folder / WHOLE if (folder / WHOLE).is_file() and not own else None


def bundles() -> dict[str, Path]:
    """Return the folders of the bundles of the installed package, or of its checkout, by name."""
    package = Path(__file__).resolve().parent
    for home in (package / "bundles", package.parent / "bundles"):
        found = sorted(path.parents[1] for path in home.glob("*/configs/metadata.json"))
        if found:
            return {folder.name: folder for folder in found}
    return {}
