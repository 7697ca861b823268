"""Trained networks, built from the record beside their weights."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from hybrid_attention.data.splits import Cases
from hybrid_attention.engines.inferers import FlipAverage, computes_bf16
from hybrid_attention.engines.run_record import check_against_training, read_record, trained_setting
from hybrid_attention.engines.trained_weights import find_weights, load_weights
from hybrid_attention.networks import baselines
from hybrid_attention.transforms import MergeMasksd
from hybrid_attention.transforms.chains import PROBABILITY
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.engines.utils import default_prepare_batch
from monai.transforms import Compose, EnsureChannelFirstd
from monai.utils import CommonKeys

NETWORK = "network_def"
# the only package whose networks are built: records come with weights, perhaps from an untrusted source
_TRUSTED = "hybrid_attention.networks"
# takes a network, which is checked itself, and a number
_GROUP_NORM = f"{_TRUSTED}.with_group_norm"
# arguments that would download or read files; trained weights replace them
_WEIGHTS = {"encoder_weights": "random", "pretrained": False}


@dataclass(frozen=True)
class Prediction:
    """Prediction for one case, in the input size of the network.

    Args:
        case: the case in the data list.
        image: input of the network, (channels, H, W).
        probability: probability of lesion, (1, H, W), float32.
        target: the ground-truth mask, (1, H, W), 0 and 1.
    """

    case: Mapping[str, Any]
    image: torch.Tensor
    probability: torch.Tensor
    target: torch.Tensor


class TrainedRun:
    """A trained network with the split, preprocessing and postprocessing that it was trained and validated with.

    They come from `training.json` beside the weights, which contains the merged config of the training. As with any
    bundle config, its expressions are executed: open only records that you trust.

    Args:
        run: the weight file (`model.pt`), or the folder of a run or bundle; see `find_weights`.
        dataset_dir: folder of the images, or several.
        device: where the network runs; None for a GPU if there is one.
        groups_csv: CSV file of duplicate groups, as in training.
        split_csv: CSV file of the split, as in training.

    Attributes:
        training: the record, with the number of images in place of their list.

    Raises:
        FileNotFoundError: there are no weights, or no record of them.
        ValueError: the record has no config.
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
            raise FileNotFoundError(
                f"{self.weights} has no record of its training (training.json beside it, from the same run), so "
                "network and preprocessing are unknown"
            )
        if "validate" not in record["recipe"]:
            raise ValueError(f"the record beside {self.weights} has no config: train with `python -m monai.bundle run`")
        self.recipe: dict[str, Any] = record["recipe"]
        images = record.pop("images")
        self.training: dict[str, Any] = {**record, "images": {name: len(digests) for name, digests in images.items()}}
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(default if device is None else device)
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

        Returns:
            One prediction per case, in order.

        Raises:
            ValueError: the network was trained with a version whose validation returned no probability.
        """
        transforms = list(self._get("validate#preprocessing").transforms)
        if disturbance is not None:
            read = max(i for i, one in enumerate(transforms) if isinstance(one, (EnsureChannelFirstd, MergeMasksd)))
            transforms.insert(read + 1, disturbance)
        loader = DataLoader(Dataset(list(cases), Compose(transforms)), batch_size=int(self.recipe["batch_size"]))
        predictions: list[Prediction] = []

        def keep(engine: Engine) -> None:
            if PROBABILITY not in engine.state.output[0]:
                raise ValueError(
                    f"{self.weights} was trained with a version that returned no {PROBABILITY}: train again"
                )
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
            prepare_batch=self._config.get_parsed_content(
                "validate#evaluator#prepare_batch", default=default_prepare_batch
            ),
            inferer=FlipAverage(self._inferer, flips),
            postprocessing=self._get("validate#postprocessing"),
        )
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, keep)
        evaluator.run()
        return predictions

    def _get(self, key: str) -> Any:
        return self._config.get_parsed_content(key)


def trained_network(weights: str | os.PathLike[str], default: torch.nn.Module, **references: Any) -> torch.nn.Module:
    """Build the network that weights were trained with, without these weights.

    Args:
        weights: the weight file, with the record of its training beside it.
        default: returned if there is no record.
        references: values for the references of the record's `network_def`, `@in_channels` for example.

    Raises:
        ValueError: the record names anything but a network of this package, or contains an expression or an unknown
            reference.
    """
    definition = trained_setting(weights, NETWORK, None)
    if definition is None:
        return default
    parser = ConfigParser({NETWORK: plain_definition(definition, references)})
    network: torch.nn.Module = parser.get_parsed_content(NETWORK)
    return network


def plain_definition(definition: Any, references: Mapping[str, Any]) -> Any:
    """Return the definition of a network with values for its references, so that building it executes no code.

    Raises:
        ValueError: see `trained_network`.
    """
    if isinstance(definition, Mapping):
        for key in definition:
            if str(key).startswith("_") and key != "_target_":
                raise ValueError(f"the record of a training uses {key!r}, which is not allowed")
        if "_target_" in definition:
            _check_target(str(definition["_target_"]))
        return {
            key: _WEIGHTS[key] if key in _WEIGHTS else plain_definition(value, references)
            for key, value in definition.items()
        }
    if isinstance(definition, list):
        return [plain_definition(value, references) for value in definition]
    if isinstance(definition, str) and definition.startswith("@") and definition[1:] in references:
        return references[definition[1:]]
    if isinstance(definition, str) and definition.startswith(("$", "@", "%")):
        raise ValueError(f"the record of a training contains the expression {definition!r}, which is not allowed")
    return definition


def _check_target(target: str) -> None:
    """Accept only networks of this package, the builders of the baselines, and `with_group_norm`."""
    module, _, name = target.rpartition(".")
    found = None
    if module == _TRUSTED or module.startswith(f"{_TRUSTED}."):
        with suppress(ImportError):  # of a path that leads through other modules' attributes
            found = getattr(importlib.import_module(module), name, None)
    home = str(getattr(found, "__module__", ""))
    is_network = isinstance(found, type) and issubclass(found, torch.nn.Module) and home.startswith(f"{_TRUSTED}.")
    is_builder = target == _GROUP_NORM or (module == baselines.__name__ and name in baselines.__all__)
    if not (is_network or is_builder):
        raise ValueError(f"the record of a training names {target!r}: only networks of {_TRUSTED} are allowed")
