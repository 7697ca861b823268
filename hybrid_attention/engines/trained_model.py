"""A training run, rebuilt from the record beside its weights, to predict as in its validation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hybrid_attention.data.splits import Cases
from hybrid_attention.engines.inferers import FlipAverage, computes_bf16
from hybrid_attention.engines.training_record import check_against_training, read_record
from hybrid_attention.engines.weights import find_weights, load_weights
from hybrid_attention.transforms import MergeMasksd
from hybrid_attention.transforms.chains import PROBABILITY
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.engines.utils import default_prepare_batch
from monai.transforms import Compose, EnsureChannelFirstd
from monai.utils import CommonKeys


@dataclass(frozen=True)
class Prediction:
    """Prediction for one case of the data list, in the input size of the network."""

    case: Mapping[str, Any]
    image: torch.Tensor  # (channels, H, W)
    probability: torch.Tensor  # (1, H, W), float32, of lesion
    target: torch.Tensor  # (1, H, W), 0 and 1


class TrainedModel:
    """A trained network with the split, preprocessing and postprocessing that it was trained and validated with.

    They come from `training.json` beside the weights, which contains the merged config of the training. As with any
    bundle config, its expressions are executed: open only records that you trust.

    Args:
        run: the weight file (`model.pt`), or the folder of a run or bundle; see `find_weights`.
        dataset_dir: folder of the images, or several.
        device: where the network runs; None for a GPU if there is one.
        groups_csv: CSV file of duplicate groups, as in training; likewise `split_csv`.

    Attributes:
        training: the record, with the number of images in place of their list.
    """

    def __init__(
        self,
        run: str | os.PathLike[str],
        dataset_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        device: torch.device | str | None = None,
        groups_csv: str | os.PathLike[str] | None = None,
        split_csv: str | os.PathLike[str] | None = None,
    ) -> None:
        self.weights = find_weights(run)
        record = read_record(self.weights)
        if record is None:
            raise FileNotFoundError(f"{self.weights} has no record of its training: training.json of the same run")
        if "validate" not in record["recipe"]:
            raise ValueError(f"the record beside {self.weights} has no config: train with `python -m monai.bundle run`")
        self.recipe: dict[str, Any] = record["recipe"]
        images = record.pop("images")
        self.training: dict[str, Any] = {**record, "images": {name: len(digests) for name, digests in images.items()}}
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        given = [dataset_dir] if isinstance(dataset_dir, (str, os.PathLike)) else dataset_dir
        folders = [os.fspath(folder) for folder in given]
        places = {
            "imports": ["$import hybrid_attention"],
            "device": self.device,
            # the training may have wrapped it for several processes
            "network": "$hybrid_attention.engines.to_memory_format(@network_def, @channels_last).to(@device)",
            "encoder_weights": "random",  # the trained weights include the encoder
            "num_workers": 0,
        }
        if self.recipe.get("precision") == "bf16" and not computes_bf16(self.device.type):
            places |= {"precision": "fp32", "channels_last": False}  # close to bf16, which would be emulated
        self._config = ConfigParser({**self.recipe, **places})
        self._config.parse()
        # not in the config, where # in a path would mean ::
        self._config.ref_resolver.resolved_content.update(
            dataset_dir=folders[0] if len(folders) == 1 else folders,
            groups_csv=None if groups_csv is None else os.fspath(groups_csv),
            split_csv=None if split_csv is None else os.fspath(split_csv),
        )
        self.network: torch.nn.Module = self._get("network")
        load_weights(self.network, self.weights)
        self._inferer: Any = self._get("validate#inferer")
        self._split = self._get("split")

    def cases(self, part: str) -> Cases:
        """Return the cases of a part of the split, `train`, `validation` or `test`, that the network was trained with.

        Raises:
            ValueError: some of the cases were trained on, because the folder contains other images than in training.
        """
        cases: Cases = self._split.part(part)
        check_against_training(self.weights, cases, {}, part)
        return cases

    def predict(
        self,
        cases: Sequence[Mapping[str, Any]],
        flips: Sequence[Sequence[int]] = ((),),
        disturbance: Callable[[Mapping[str, Any]], Any] | None = None,
    ) -> list[Prediction]:
        """Predict cases as in the validation of the training.

        Args:
            cases: of the data list.
            flips: axes to flip (0: depth, 1: along the skin), a list per forward pass; the passes are averaged.
            disturbance: a transform of the case's dict, applied to the image as read from its file, (1, H, W), before
                it is scaled and resized.
        """
        transforms = list(self._get("validate#preprocessing").transforms)
        if disturbance is not None:
            read = max(i for i, one in enumerate(transforms) if isinstance(one, (EnsureChannelFirstd, MergeMasksd)))
            transforms.insert(read + 1, disturbance)
        loader = DataLoader(Dataset(list(cases), Compose(transforms)), batch_size=int(self.recipe["batch_size"]))
        predictions: list[Prediction] = []

        def keep(engine: Engine) -> None:
            following = cases[len(predictions) :]
            predictions.extend(
                Prediction(
                    case=case,
                    image=item[CommonKeys.IMAGE].cpu(),
                    probability=output[PROBABILITY].cpu().float(),
                    target=(output[CommonKeys.LABEL].cpu() > 0.5).float(),
                )
                for case, item, output in zip(following, engine.state.batch, engine.state.output, strict=False)
            )

        evaluator = SupervisedEvaluator(
            device=self.device,
            val_data_loader=loader,
            network=self.network,
            prepare_batch=self._get("validate#evaluator#prepare_batch", default=default_prepare_batch),
            inferer=FlipAverage(self._inferer, flips),
            postprocessing=self._get("validate#postprocessing"),
        )
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, keep)
        evaluator.run()
        return predictions

    def _get(self, key: str, **default: Any) -> Any:
        return self._config.get_parsed_content(key, **default)
