"""Load trained models that predict the mask of an image."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hybrid_attention.prediction.bundles import default_bundle, own_bundles
from hybrid_attention.prediction.model import Model, OnnxModel

WHOLE = "models/released/model.onnx"


def load_model(
    model: str | os.PathLike[str] | None = None,
    backend: str = "auto",
    device: str | None = None,
    threshold: float | None = None,
    precision: str = "auto",
    inference_settings: str | os.PathLike[str] | None = None,
    bundle: str | os.PathLike[str] | None = None,
    images: int = 1,
    gradcam: bool = False,
) -> Model:
    """Load a trained model.

    A model in one ONNX file, as the default one is, runs on the CPU by ONNX Runtime; neither torch nor MONAI is
    imported. Others, and those that other arguments ask for, run as their bundle's `inference.yaml` says.

    Args:
        model: name of a bundle with weights (`hybrid_lite`, `hybrid`, `mtl_oca`) or its folder; folder of a run, or its
            weight file; archive of `hybrid-attention package`; or ONNX file of `hybrid-attention export --whole`. None
            for `default_bundle`.
        backend: "auto", "torch", "onnx" or "openvino"; see `hybrid_attention.deploy.with_backend`.
        device: of torch, for example "cuda"; None for the CPU by a whole ONNX file, else for a GPU if there is one.
        threshold: probability from which on a pixel is lesion; None for that of the model.
        precision: "auto", "fp32" or "bf16"; "auto" is fp32 for a whole ONNX file, else see `PrecisionInferer`.
        inference_settings: `inference_settings.json` of `hybrid-attention calibrate`.
        bundle: name or folder of the bundle of a run's weights; None for that of their record.
        images: number of images that will be predicted, by which the backend "auto" decides.
        gradcam: also draw Grad-CAM heat maps, `gradcam` of the results' pictures.

    Raises:
        FileNotFoundError: there is no such model, or it has no weights.
        ValueError: the file is not a model of this package, or an argument is out of range.

    Example:
        >>> import hybrid_attention
        >>> model = hybrid_attention.load_model()
        >>> for result in model.predict_many(["a.png", "b.dcm"]):  # doctest: +SKIP
        ...     print(result.predicted_class, result.expected_dice, result.measurements["long_axis"])
    """
    model = default_bundle() if model is None else model
    path = Path(model)
    by_onnx = backend in ("auto", "onnx") and precision in ("auto", "fp32") and inference_settings is None
    by_onnx = by_onnx and bundle is None and not gradcam
    if path.suffix.lower() == ".onnx":
        if not by_onnx or device not in (None, "cpu"):
            raise ValueError(
                f"{model} is a whole model, which runs on the CPU by ONNX Runtime in fp32: leave other backends, "
                "devices, bundles and the options that need torch out"
            )
        return OnnxModel(path, threshold=threshold)
    whole = whole_file(model) if by_onnx and device is None else None
    if whole is not None:
        return OnnxModel(whole, threshold=threshold)
    from hybrid_attention.deploy.archive import unpack_archive
    from hybrid_attention.deploy.predictor import BundleModel

    named = bundle is None and (str(model) in own_bundles() or (path / "configs").is_dir())
    if not named and not path.exists():
        raise FileNotFoundError(
            f"no model {model}: expected {', '.join(own_bundles())}, a run, an archive or an ONNX file"
        )
    options = (backend, device, threshold, precision, inference_settings, images, gradcam)
    if path.suffix.lower() == ".zip":
        if bundle is not None:
            raise ValueError(f"{model} is an archive, which has its own bundle: leave the bundle {bundle} out")
        with tempfile.TemporaryDirectory() as folder:
            return BundleModel(unpack_archive(path, folder), None, *options)
    return BundleModel(model, None, *options) if named else BundleModel(bundle, model, *options)


def whole_file(bundle: str | os.PathLike[str]) -> Path | None:
    """Return the whole ONNX file of the released weights of a bundle (name or folder), None where it has none."""
    folder = own_bundles().get(str(bundle), Path(bundle))
    own = (folder / "models" / "model.pt").is_file()  # trained in the folder: it comes before the released weights
    return folder / WHOLE if (folder / WHOLE).is_file() and not own else None
