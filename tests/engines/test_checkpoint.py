import errno
import json

import pytest
import torch
from hybrid_attention.data.hashing import case_digests
from hybrid_attention.engines import (
    Checkpoint,
    EarlyStopping,
    History,
    load_initial_weights,
    load_weights,
    save_weights,
)
from hybrid_attention.engines.weights import weights_digest
from ignite.engine import Events
from ignite.handlers import EMAHandler
from monai.engines import SupervisedEvaluator, SupervisedTrainer


def run(
    folder,
    epochs=3,
    scores=None,
    recipe=None,
    resume=False,
    width=4,
    patience=10,
    stop_after=None,
    cases=(),
    stop_in_first_epoch=False,
    average=False,
    poison=None,
    initial_weights=None,
):
    """Train a tiny network on a fixed batch; the validation score is taken from `scores`, an epoch each."""
    torch.manual_seed(0)
    network = torch.nn.Linear(2, width)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    data = [{"image": torch.ones(3, 2), "label": torch.zeros(3, width)}]
    evaluator = SupervisedEvaluator(device="cpu", val_data_loader=data, network=network)
    evaluator.state.key_metric_name = "score"
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=data,
        network=network,
        optimizer=optimizer,
        loss_function=torch.nn.MSELoss(),
    )
    early = EarlyStopping(patience, evaluator)
    history = History(folder / "history.csv", optimizer, evaluator)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        state = evaluator.state
        state.metrics = {"score": (scores or [0.1, 0.5, 0.3, 0.4, 0.6])[engine.state.epoch - 1]}
        if state.metrics["score"] > state.best_metric:
            state.best_metric, state.best_metric_epoch = state.metrics["score"], engine.state.epoch
        scheduler.step()

    objects = {"network": network, "optimizer": optimizer, "lr_scheduler": scheduler}
    objects |= {"early_stopping": early, "history": history}
    weights_of = "network"
    if average:
        moving = EMAHandler(network, momentum=0.1, handle_buffers="update")
        moving.attach(trainer)
        objects["average"], weights_of = moving.ema_model, "average"
    options = {"resume": resume, "weights_of": weights_of, "initial_weights": initial_weights}
    checkpoint = Checkpoint(folder, objects, evaluator, recipe, cases, **options)
    for handler in (early, history, checkpoint):
        handler.attach(trainer)
    if stop_after is not None:
        trainer.add_event_handler(Events.EPOCH_COMPLETED(once=stop_after), lambda engine: kill())
    if poison is not None:
        poison(trainer, network)
    if stop_in_first_epoch:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: kill())
    try:
        trainer.run()
    except KilledError:
        pass
    return trainer, network, history


class KilledError(BaseException):
    """Stands for a kill right after an epoch."""


def kill():
    raise KilledError


def columns(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history.rows]


def nan_in_the_data(trainer, network):
    @trainer.on(Events.EPOCH_STARTED(once=2))
    def change(engine):
        engine.state.dataloader[0]["image"] = torch.full((3, 2), torch.nan)


def step_to_infinity(trainer, network):
    trainer.optimizer.register_step_post_hook(
        lambda *_: network.bias.data.fill_(torch.inf) if trainer.state.epoch == 2 else None
    )


@pytest.mark.parametrize(
    ("poison", "fault"), [(nan_in_the_data, "the loss is nan"), (step_to_infinity, "1 of 2 weights .*bias")]
)
def test_a_training_that_diverges_stops_before_it_is_validated(tmp_path, poison, fault):
    run(tmp_path / "good", epochs=1)
    with pytest.raises(FloatingPointError, match=rf"epoch 2, step 1 of 1: {fault}.*0\.05.*fp16.*bad/model\.pt"):
        run(tmp_path / "bad", poison=poison, recipe={"precision": "fp16"})
    for good, bad in zip(*(load(tmp_path / part).values() for part in ("good", "bad")), strict=True):
        assert torch.equal(good, bad)
    assert len((tmp_path / "bad" / "history.csv").read_text().splitlines()) == 2


def load(folder):
    return torch.load(folder / "model.pt", weights_only=True)


def test_a_scaler_may_skip_steps_but_not_a_whole_epoch(tmp_path):
    trainer = run(tmp_path, epochs=1)[0]
    trainer.scaler, trainer.state.epoch_length = torch.amp.GradScaler("cpu"), 2
    for losses, stops in (((torch.nan, 1.0), False), ((1.0, torch.nan), False), ((torch.nan, torch.nan), True)):
        for step, loss in enumerate(losses, start=1):
            trainer.state.output, trainer.state.iteration = [{"loss": loss}], step
            if stops and step == 2:
                with pytest.raises(FloatingPointError, match="step 2 of 2: the loss is nan"):
                    trainer.fire_event(Events.ITERATION_COMPLETED)
            else:
                trainer.fire_event(Events.ITERATION_COMPLETED)


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path):
    network, path = torch.nn.Linear(2, 2), tmp_path / "model.pt"
    save_weights(network, path)
    kept = path.read_bytes()
    torch.nn.init.constant_(network.weight, torch.nan)
    with pytest.raises(ValueError, match=r"model\.pt .* 1 of 2 weights .*weight"):
        save_weights(network, path)
    assert path.read_bytes() == kept
    torch.save(network.state_dict(), path)
    for use in (load_weights, load_initial_weights):
        with pytest.raises(ValueError, match=r"model\.pt .* 1 of 2 weights"):
            use(torch.nn.Linear(2, 2), path)


def test_resumed_run_equals_the_uninterrupted(tmp_path):
    _, whole, whole_history = run(tmp_path / "whole", epochs=5)
    run(tmp_path / "cut", epochs=5, stop_after=2)
    trainer, cut, cut_history = run(tmp_path / "cut", epochs=5, resume=True)
    assert trainer.state.epoch == 5
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), cut.parameters(), strict=True))
    run(tmp_path / "four", epochs=4)
    best = load(tmp_path / "four")  # of epoch 2
    assert all(torch.equal(best[key], value) for key, value in run(tmp_path / "two", epochs=2)[1].state_dict().items())
    assert columns(cut_history) == columns(whole_history)
    assert len(columns(whole_history)) == 5
    one, other = (load(tmp_path / part) for part in ("whole", "cut"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    history_files = [(tmp_path / part / "history.csv").read_text().splitlines()[0] for part in ("whole", "cut")]
    assert history_files[0] == history_files[1] == "epoch,train_loss,score,learning_rate,seconds"


def test_weights_of_the_moving_average(tmp_path):
    run(tmp_path / "whole", epochs=5, average=True)
    run(tmp_path / "cut", epochs=5, average=True, stop_after=2)
    _, network, _ = run(tmp_path / "cut", epochs=5, average=True, resume=True)
    best, whole = (load(tmp_path / part) for part in ("cut", "whole"))
    state = torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)  # epoch 5 has the best score
    for key, value in network.state_dict().items():
        assert torch.equal(best[key], state["objects"]["average"][key])
        assert torch.equal(best[key], whole[key])
        assert not torch.equal(best[key], value)


@pytest.mark.parametrize(("name", "weights_of"), [("network", "average"), ("net", "network")])
def test_objects_that_are_missing(tmp_path, name, weights_of):
    with pytest.raises(ValueError, match=rf"'{weights_of}', got \['{name}'\]"):
        Checkpoint(tmp_path, {name: torch.nn.Linear(1, 1)}, None, weights_of=weights_of)


def test_without_resume_a_run_starts_afresh(tmp_path, caplog):
    run(tmp_path, epochs=2)
    trainer, _, history = run(tmp_path, epochs=1)
    assert trainer.state.epoch == 1
    assert len(history.rows) == 1
    assert f"{tmp_path}/checkpoint.pt is from an earlier run" in caplog.text


def test_finished_run_is_left_alone(tmp_path, caplog):
    _, first, _ = run(tmp_path, epochs=2)
    trainer, second, history = run(tmp_path, epochs=2, resume=True)
    assert trainer.state.epoch == 2
    assert len(history.rows) == 2
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert "from a finished run (epoch 2)" in caplog.text
    assert run(tmp_path, epochs=3, resume=True)[0].state.epoch == 3


def test_early_stop_counts_across_a_resume(tmp_path, caplog):
    scores = [0.5, 0.4, 0.3, 0.2, 0.1]
    assert run(tmp_path / "whole", epochs=5, scores=scores, patience=3)[0].state.epoch == 4
    run(tmp_path / "cut", epochs=5, scores=scores, patience=3, stop_after=3)
    assert run(tmp_path / "cut", epochs=5, scores=scores, patience=3, resume=True)[0].state.epoch == 4
    assert run(tmp_path / "cut", epochs=5, scores=scores, patience=3, resume=True)[0].state.epoch == 4
    assert "from a finished run (stopped early)" in caplog.text


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"width": 5}, "2 weights of another shape"),
        ({"recipe": {"seed": 0, "fold": 2}}, "fold was 1, is 2"),
        ({"cases": "b"}, "the training images differ"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, changes, fault):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())

    def again(epochs, cases="a", **keys):
        paths = [{"image": str(tmp_path / cases), "label": str(tmp_path / cases)}]
        given = {"recipe": {"seed": 0, "fold": 1}, **keys}
        return run(tmp_path / "run", epochs=epochs, cases=paths, resume=True, **given)[0].state.epoch

    assert [again(1), again(2)] == [1, 2]
    with pytest.raises(ValueError, match=rf"checkpoint\.pt .*{fault}.*--resume False"):
        again(3, **changes)


def test_fresh_run_cannot_be_mistaken_for_the_old_one(tmp_path):
    run(tmp_path, epochs=2)
    (tmp_path / ".part.x.checkpoint.pt").write_bytes(b"half")
    run(tmp_path, epochs=2, stop_in_first_epoch=True)
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt", "training.json", "history.csv"}
    trainer, _, history = run(tmp_path, epochs=1, resume=True)
    assert trainer.state.epoch == len(history.rows) == 1
    record = json.loads((tmp_path / "training.json").read_text())
    assert (record["epoch"], record["epochs"]) == (1, 1)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", {"format": 0}])
def test_damaged_checkpoint(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path) if isinstance(content, dict) else path.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is .*not a checkpoint.*--resume False"):
        run(tmp_path, resume=True)


def test_a_checkpoint_of_weights_that_are_not_finite_is_refused(tmp_path):
    run(tmp_path, epochs=1)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["objects"]["network"]["bias"][0] = torch.inf
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint\.pt .* 1 of 2 weights"):
        run(tmp_path, resume=True)


def test_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    run(tmp_path, epochs=1)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match=r"no space left while writing .*\.pt"):
        run(tmp_path, epochs=2, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "model.pt", "training.json", "history.csv"}


def test_what_the_initial_weights_have_seen_counts(tmp_path):
    start = tmp_path / "before" / "model.pt"
    save_weights(torch.nn.Linear(2, 4), start)
    images = {"training": ["t"], "validation": ["v"], "pre-training": ["p"]}
    (start.parent / "training.json").write_text(json.dumps({"weights_sha256": weights_digest(start), "images": images}))
    (tmp_path / "a.png").write_bytes(b"a")
    case = {"case_id": "a", "image": str(tmp_path / "a.png"), "label": []}
    seen = []
    for initial_weights in (start, None):
        run(tmp_path / "run", epochs=1, cases=[case], initial_weights=initial_weights)
        seen.append(json.loads((tmp_path / "run" / "training.json").read_text())["images"])
    digests = case_digests([case])
    assert seen[0] == {"training": digests, "validation": ["v"], "pre-training": ["t", "p"]}
    assert seen[1] == {"training": digests, "validation": []}
