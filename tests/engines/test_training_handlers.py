import random

import numpy as np
import pandas as pd
import pytest
import torch
from hybrid_attention.engines import BatchNormStatistics, EpochSeed, History, validation_loss
from hybrid_attention.losses import BCEJaccardLoss
from hybrid_attention.transforms import validation_postprocessing
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from monai.inferers import SimpleInferer
from monai.transforms import Compose, RandScaleIntensity
from torch import nn


def draws(seed, epochs, skip=0, rank=0):
    """What an epoch draws from each source of randomness, for the epochs after `skip`."""
    dataset = Dataset([torch.ones(1, 2, 2)], Compose([RandScaleIntensity(factors=0.5, prob=1.0)]))
    engine = Engine(lambda engine, batch: None)
    engine.state.rank = rank
    EpochSeed(seed, dataset).attach(engine)
    found = []

    @engine.on(Events.EPOCH_STARTED)
    def draw(engine):
        found.append([random.random(), np.random.rand(), torch.rand(1).item(), float(dataset[0].sum())])

    engine.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "epoch", skip))
    engine.run([0], max_epochs=epochs)
    return found


def test_epochs_draw_the_same_after_a_resume_and_differ_from_each_other():
    whole = draws(seed=3, epochs=4)
    assert len(whole) == 4 and draws(seed=3, epochs=4, skip=2) == whole[2:]
    for other in (whole[1], draws(seed=4, epochs=1)[0], draws(seed=3, epochs=1, rank=1)[0]):
        assert all(a != b for a, b in zip(whole[0], other, strict=True))


def test_statistics_are_those_of_the_batches():
    data = [{"image": torch.full((4, 1, 2, 2), value)} for value in (1.0, 3.0, 100.0)]
    network = nn.Sequential(nn.BatchNorm2d(1), nn.BatchNorm2d(1, affine=False)).eval()
    network[0].running_mean.fill_(7)
    BatchNormStatistics(network, data, SimpleInferer(), batches=2)(None)
    assert network[0].running_mean == pytest.approx(2)  # of 1 and 3, the old 7 forgotten
    assert network[0].running_var == pytest.approx(0)
    assert network[1].running_mean == pytest.approx(0, abs=1e-3)
    assert not network.training
    assert network[0].momentum == 0.1


def trained_history(folder, loss, rows=()):
    """Two batches, of one image and of three; the network says log-odds 0 everywhere and does not learn."""
    batches = [{"image": torch.ones(n, 1, 2, 2), "label": torch.full((n, 1, 2, 2), float(n > 1))} for n in (1, 3)]
    network = nn.Conv2d(1, 1, 1)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    metric, postprocessing = {"val_loss": validation_loss(loss)}, validation_postprocessing()
    evaluator = SupervisedEvaluator("cpu", batches, network, postprocessing=postprocessing, key_val_metric=metric)
    history = History(folder / "history.csv", optimizer, evaluator)
    history.load_state_dict({"rows": rows})
    handlers = [ValidationHandler(interval=1, validator=evaluator), history]
    SupervisedTrainer("cpu", 1, batches, network, optimizer, loss, train_handlers=handlers).run()
    return pd.read_csv(folder / "history.csv")


def test_history_has_the_mean_of_each_loss_term_over_the_images(tmp_path):
    row = trained_history(tmp_path, BCEJaccardLoss(jaccard_weight=0.5)).iloc[0]
    jaccard = (1 * (1 - 1 / (2 + 1)) + 3 * (1 - (2 + 1) / (4 + 1))) / 4  # four pixels of probability 1/2
    for part in ("train", "val"):  # the same images, of which the network learns nothing
        found = row[[f"{part}_loss", f"{part}_bce", f"{part}_jaccard"]]
        assert list(found) == pytest.approx([np.log(2) + 0.5 * jaccard, np.log(2), jaccard], abs=1e-6)


def test_history_without_terms_or_with_rows_of_an_earlier_version(tmp_path):
    columns = ["epoch", "train_loss", "val_loss", "learning_rate", "seconds"]
    assert list(trained_history(tmp_path, nn.BCEWithLogitsLoss())) == columns
    history = trained_history(tmp_path, BCEJaccardLoss(), [dict.fromkeys(columns, 1.0)])
    assert list(history) == [*columns, "train_bce", "train_jaccard", "val_bce", "val_jaccard"]
    assert np.isnan(history["train_bce"][0]) and history["train_bce"][1] == pytest.approx(np.log(2))
