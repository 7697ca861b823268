import errno
import json

import pandas as pd
import pytest
import torch
from hybrid_attention.data.hashing import case_digests
from hybrid_attention.engines import Checkpoint, EarlyStopping, History, save_weights
from hybrid_attention.engines.weights import weights_digest
from ignite.engine import Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer

SCORES = (0.1, 0.5, 0.3, 0.4, 0.6)


class KilledError(BaseException):
    """Stands for a kill of the process."""


def kill(engine):
    raise KilledError


def run(folder, epochs=3, scores=SCORES, width=4, patience=10, at=None, do=kill, **options):
    """Train a tiny network on a fixed batch; the validation score is taken from `scores`, an epoch each."""
    torch.manual_seed(0)
    network = torch.nn.Linear(2, width)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    data = [{"image": torch.ones(3, 2), "label": torch.zeros(3, width)}]
    evaluator = SupervisedEvaluator(device="cpu", val_data_loader=data, network=network)
    evaluator.state.key_metric_name = "score"
    trainer = SupervisedTrainer("cpu", epochs, data, network, optimizer, torch.nn.MSELoss())

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        state = evaluator.state
        state.metrics = {"score": scores[engine.state.epoch - 1]}
        if state.metrics["score"] > state.best_metric:
            state.best_metric, state.best_metric_epoch = state.metrics["score"], engine.state.epoch
        scheduler.step()

    early, history = EarlyStopping(patience, evaluator), History(folder / "history.csv", optimizer, evaluator)
    objects = {"network": network, "optimizer": optimizer, "lr_scheduler": scheduler}
    objects |= {"early_stopping": early, "history": history}
    checkpoint = Checkpoint(folder, objects, evaluator, **options)
    for handler in (early, history, checkpoint):
        handler.attach(trainer)
    if at is not None:
        trainer.add_event_handler(at, do)
    try:
        trainer.run()
    except KilledError:
        pass
    return trainer, network, history


def load(folder):
    return torch.load(folder / "model.pt", weights_only=True)


def assert_equal(first, second):
    assert all(torch.equal(one, other) for one, other in zip(first.values(), second.values(), strict=True))


def nan_in_the_data(engine):
    engine.state.dataloader[0]["image"] = torch.full((3, 2), torch.nan)


def step_to_infinity(engine):
    engine.optimizer.register_step_post_hook(lambda *_: engine.network.bias.data.fill_(torch.inf))


@pytest.mark.parametrize(
    ("poison", "fault"), [(nan_in_the_data, "the loss is nan"), (step_to_infinity, "1 of 2 weights .*bias")]
)
def test_a_training_that_diverges_stops_before_it_is_validated(tmp_path, poison, fault):
    run(tmp_path / "good", epochs=1)
    with pytest.raises(FloatingPointError, match=rf"epoch 2, step 1 of 1: {fault}.*0\.05.*fp16.*bad/model\.pt"):
        run(tmp_path / "bad", at=Events.EPOCH_STARTED(once=2), do=poison, recipe={"precision": "fp16"})
    assert_equal(load(tmp_path / "good"), load(tmp_path / "bad"))
    assert len((tmp_path / "bad" / "history.csv").read_text().splitlines()) == 2


def test_a_scaler_may_skip_steps_but_not_a_whole_epoch(tmp_path):
    trainer = run(tmp_path, epochs=1)[0]
    trainer.scaler, trainer.state.epoch_length, seen = torch.amp.GradScaler("cpu"), 2, []
    with pytest.raises(FloatingPointError, match="step 2 of 2: the loss is nan"):
        for loss in (torch.nan, 1.0, 1.0, torch.nan, torch.nan, torch.nan):
            seen.append(loss)
            trainer.state.output, trainer.state.iteration = [{"loss": loss}], len(seen)
            trainer.fire_event(Events.ITERATION_COMPLETED)
    assert len(seen) == 6


def test_resumed_run_equals_the_uninterrupted(tmp_path):
    _, whole, history = run(tmp_path / "whole", epochs=5)
    run(tmp_path / "cut", epochs=5, at=Events.EPOCH_COMPLETED(once=2))
    trainer, cut, _ = run(tmp_path / "cut", epochs=5, resume=True)
    assert trainer.state.epoch == len(history.rows) == 5
    columns = ["epoch", "train_loss", "score", "learning_rate", "seconds"]
    table, cut_table = (pd.read_csv(tmp_path / part / "history.csv") for part in ("whole", "cut"))
    assert list(table) == columns and table[columns[:4]].equals(cut_table[columns[:4]])
    assert_equal(whole.state_dict(), cut.state_dict())
    assert_equal(load(tmp_path / "cut"), load(tmp_path / "whole"))  # the best, of epoch 5
    assert_equal(load(tmp_path / "cut"), cut.state_dict())


def test_a_finished_run_is_left_alone_or_replaced(tmp_path, caplog):
    first = run(tmp_path, epochs=2)[1]  # the second epoch is the best
    assert_equal(load(tmp_path), first.state_dict())
    trainer, second, history = run(tmp_path, epochs=2, resume=True)
    assert trainer.state.epoch == len(history.rows) == 2
    assert_equal(first.state_dict(), second.state_dict())
    assert "from a finished run (epoch 2)" in caplog.text
    assert run(tmp_path, epochs=3, resume=True)[0].state.epoch == 3
    assert_equal(load(tmp_path), first.state_dict())
    assert len(run(tmp_path, epochs=1)[2].rows) == 1
    assert f"{tmp_path}/checkpoint.pt is from an earlier run" in caplog.text


def test_early_stop_counts_across_a_resume(tmp_path, caplog):
    options = {"epochs": 5, "scores": [0.5, 0.4, 0.3, 0.2, 0.1], "patience": 3}
    assert run(tmp_path / "whole", **options)[0].state.epoch == 4
    run(tmp_path / "cut", **options, at=Events.EPOCH_COMPLETED(once=3))
    for _ in range(2):
        assert run(tmp_path / "cut", **options, resume=True)[0].state.epoch == 4
    assert "from a finished run (stopped early)" in caplog.text


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"width": 5}, "2 weights of another shape"),
        ({"recipe": {"seed": 0, "fold": 2}}, "fold was 1, is 2"),
        ({"train_cases": []}, "the training images differ"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, changes, fault):
    (tmp_path / "a").write_text("a")
    cases = [{"image": str(tmp_path / "a"), "label": str(tmp_path / "a")}]
    options = {"recipe": {"seed": 0, "fold": 1}, "train_cases": cases, "resume": True}
    assert [run(tmp_path / "run", epochs, **options)[0].state.epoch for epochs in (1, 2)] == [1, 2]
    with pytest.raises(ValueError, match=rf"checkpoint\.pt .*{fault}.*--resume False"):
        run(tmp_path / "run", **{**options, **changes})


def test_fresh_run_cannot_be_mistaken_for_the_old_one(tmp_path):
    run(tmp_path, epochs=2)
    (tmp_path / ".part.x.checkpoint.pt").write_bytes(b"half")
    run(tmp_path, epochs=2, at=Events.ITERATION_COMPLETED)
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt", "training.json", "history.csv"}
    assert run(tmp_path, epochs=1, resume=True)[0].state.epoch == 1
    record = json.loads((tmp_path / "training.json").read_text())
    assert (record["epoch"], record["epochs"]) == (1, 1)


@pytest.mark.parametrize("content", [b"no checkpoint", {"format": 0}, None])
def test_damaged_checkpoint(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    if content is None:
        run(tmp_path, epochs=1)
        content = torch.load(path, weights_only=True)
        content["objects"]["network"]["bias"][0] = torch.inf
    torch.save(content, path) if isinstance(content, dict) else path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint\.pt .*(not a checkpoint|1 of 2 weights).*--resume False"):
        run(tmp_path, resume=True)


def test_what_the_initial_weights_have_seen_counts(tmp_path):
    start = tmp_path / "before" / "model.pt"
    save_weights(torch.nn.Linear(2, 4), start)
    images = {"training": ["t"], "validation": ["v"], "pre-training": ["p"]}
    record = {"weights_sha256": weights_digest(start), "images": images}
    start.with_name("training.json").write_text(json.dumps(record))
    (tmp_path / "a.png").write_bytes(b"a")
    case = {"case_id": "a", "image": str(tmp_path / "a.png"), "label": []}
    digests = case_digests([case])
    for initial_weights, before in ((start, {"validation": ["v"], "pre-training": ["t", "p"]}), (None, {})):
        run(tmp_path / "run", epochs=1, train_cases=[case], initial_weights=initial_weights)
        seen = json.loads((tmp_path / "run" / "training.json").read_text())["images"]
        assert seen == {"training": digests, "validation": [], **before}


def test_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    run(tmp_path, epochs=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match=r"no space left while writing .*\.pt"):
        run(tmp_path, epochs=2, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before["checkpoint.pt"]
    assert {path.name for path in tmp_path.iterdir()} == set(before)
