"""MONAI's client for federated learning drives the bundle as it is."""

import json

import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject

from tests.bundles.commands import ROOT


def summary(tmp_path):
    return json.loads((tmp_path / "site" / "evaluation" / "summary.json").read_text())


def test_global_weights_are_scored_before_and_after_a_local_training(phantoms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"dataset_dir": str(phantoms), "output_dir": str(tmp_path / "site"), "image_size": 32}
    options |= {"epochs": 1, "num_folds": 4}
    client = MonaiAlgo(
        bundle_root=str(ROOT / "bundles" / "hybrid"),
        local_epochs=1,
        send_weight_diff=False,
        config_train_filename="configs/train.yaml",
        train_kwargs=options,
        config_evaluate_filename=["configs/train.yaml", "configs/evaluate.yaml"],
        eval_kwargs=options,
    )
    client.initialize(extra={ExtraItems.CLIENT_NAME: "site"})
    weights = client.get_weights(extra={}).weights
    sent = ExchangeObject(weights={name: torch.tensor(value) for name, value in weights.items()})
    client.evaluate(sent)
    assert summary(tmp_path)["weights_sha256"] is None
    assert summary(tmp_path)["cases"] > 0
    client.train(sent)
    trained = client.get_weights(extra={}).weights
    assert any(not torch.equal(torch.as_tensor(trained[name]), sent.weights[name]) for name in trained)
    client.evaluate(sent)  # the server's, not those of models/model.pt
    assert (tmp_path / "site" / "models" / "model.pt").is_file()
    assert (summary(tmp_path)["weights_sha256"], summary(tmp_path)["training"]) == (None, None)
    client.finalize()
