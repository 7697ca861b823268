"""Bundles trained on phantoms from the command line, each once per process."""

from types import SimpleNamespace

import pytest

from tests.bundles.commands import QUICK, bundle, config

SLIM = ["--network_def#channels", "[8,16,32,64]", "--network_def#bottleneck_channels", "64"]
SLIM += ["--network_def#decoder_channels", "[32,16,8,8]"]
RUNS = {  # overlays of the hybrid bundle, options of every command, options of training and evaluation alone
    "hybrid": (["from_scratch"], QUICK[:2], QUICK[2:]),
    "hybrid_lite": ([], ["--image_size", "64"], ["--batch_size", "4", "--progressive_sizes", "{1: 32, 3: 64}"]),
    "mtl_oca": ([], ["--image_size", "48"], ["--batch_size", "4", "--network_def#channels", "[16,16]"]),
    "explainable": (
        [],
        ["--image_size", "64", "--model", "15"],
        ["--batch_size", "8", "--learning_rate", "0.002", "--encoder_weights", "random"],
    ),
    "attention_unet": (["from_scratch"], ["--image_size", "64", *SLIM], ["--learning_rate", "0.01"]),
}


@pytest.fixture(scope="session")
def trained(phantoms, tmp_path_factory):
    """Give a function that trains a bundle for three epochs."""
    runs = {}

    def of(name):
        if name not in runs:
            overlays, options, training = RUNS[name]
            out = tmp_path_factory.mktemp(name)
            configs = [config(name, "train"), *(config("hybrid", overlay) for overlay in overlays)]
            given = ["--dataset_dir", phantoms, "--output_dir", out, *options, *training]
            bundle("training", configs, *given, "--epochs", 3)
            runs[name] = SimpleNamespace(
                name=name, out=out, model=out / "models" / "model.pt", configs=configs, given=given, options=options
            )
        return runs[name]

    return of
