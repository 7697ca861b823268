import pytest
import torch
from hybrid_attention.engines import bundle_weights, find_weights, load_initial_weights, load_weights
from hybrid_attention.engines.weights import (
    holds_weights,
    save_released_weights,
    save_weights,
    weight_parts,
    weights_digest,
)


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(8, 40), torch.nn.BatchNorm1d(40), torch.nn.Linear(40, 8))


def test_parts_hold_all_weights_in_half_precision(tmp_path):
    source, target = network(), network(1)
    source[1].num_batches_tracked.fill_(7)
    source[1].running_var.fill_(1e6)  # more than half precision holds
    first = save_released_weights(source, tmp_path, largest=1300)
    parts = weight_parts(first)
    assert [path.name for path in parts] == ["model_1_of_2.pt", "model_2_of_2.pt"]
    assert sum(len(torch.load(path, weights_only=True)) for path in parts) == len(source.state_dict())
    load_weights(target, first)
    for name, value in source.named_parameters():
        assert torch.equal(target.state_dict()[name], value.half().float())
    for name, value in source.named_buffers():
        assert torch.equal(target.state_dict()[name], value)
    wide = torch.nn.Sequential(*(torch.nn.Linear(100, 100) for _ in range(20)))
    parts = weight_parts(save_released_weights(wide, tmp_path, largest=100_000))
    assert len(parts) > 3 and all(path.stat().st_size <= 100_000 for path in parts)
    assert save_released_weights(source, tmp_path).name == "model_1_of_1.pt"
    assert [path.name for path in tmp_path.iterdir()] == ["model_1_of_1.pt"]


def test_whether_a_network_holds_the_weights_of_a_file(tmp_path):
    path = save_released_weights(network(), tmp_path, largest=1300)
    loaded = load_weights(network(1), path)
    assert holds_weights(loaded, path)
    assert holds_weights(torch.nn.DataParallel(loaded), path)
    assert not holds_weights(network(), path)  # not rounded to half precision
    assert not holds_weights(torch.nn.Linear(8, 40), path)
    assert not holds_weights(loaded, tmp_path / "missing.pt")
    loaded[1].running_mean[3] += 1
    assert not holds_weights(loaded, path)


def test_parts_that_are_refused_changed_or_missing(tmp_path):
    first = save_released_weights(network(), tmp_path, largest=1300)
    before, huge = weights_digest(first), network()
    with pytest.raises(ValueError, match=r"0\.weight .*640 .*500"):
        save_released_weights(network(), tmp_path, largest=500)
    torch.nn.init.constant_(huge[0].bias, 1e6)
    with pytest.raises(ValueError, match=r"0\.bias"):
        save_released_weights(huge, tmp_path)
    assert weights_digest(first) == before
    torch.save(torch.ones(2), tmp_path / "model_2_of_2.pt")
    assert weights_digest(first) != before
    with pytest.raises(ValueError, match=r"model_2_of_2\.pt .*Tensor"):
        load_weights(network(), first)
    (tmp_path / "model_2_of_2.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"model_2_of_2\.pt"):
        load_weights(network(), first)


@pytest.mark.parametrize("load", [load_weights, load_initial_weights])
def test_weights_are_loaded_or_refused(load, tmp_path):
    source, target, path = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3), tmp_path / "fold_3_of_5.pt"  # not a part
    with pytest.raises(FileNotFoundError, match=r"no weights at .*5\.pt"):
        load(target, path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"5\.pt is not a weight file"):
        load(target, path)
    for content, fault in (
        (torch.nn.Linear(2, 4, bias=False).state_dict(), r"missing \(bias\), 1 .* another shape \(weight \(4, 2\)"),
        ({**source.state_dict(), "x": torch.zeros(1)}, r"1 weights unexpected \(x\)"),
        ({"objects": {}}, r"model\.pt beside it"),  # a checkpoint
        (5, "contains a int"),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=rf"5\.pt does not fit the network: .*{fault}"):
            load(target, path)
    save_weights(source, path)
    assert load(target, path).training == (load is load_initial_weights)  # as it was
    assert torch.equal(target.weight, source.weight)
    assert load_initial_weights(target, None) is target
    torch.nn.init.constant_(source.weight, torch.nan)
    with pytest.raises(ValueError, match=r"5\.pt .* 1 of 2 weights .*weight"):
        save_weights(source, path)
    load(target, path)  # kept
    torch.save(source.state_dict(), path)
    with pytest.raises(ValueError, match=r"5\.pt .* 1 of 2 weights"):
        load(target, path)


def test_trained_weights_come_before_released_ones(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights at"):
        find_weights(tmp_path)
    trained = tmp_path / "models" / "model.pt"
    assert bundle_weights(tmp_path) == str(trained)
    released = save_released_weights(network(), tmp_path / "models" / "released")
    assert find_weights(tmp_path) == find_weights(tmp_path / "models") == find_weights(released) == released
    assert bundle_weights(tmp_path) == str(released)
    save_weights(network(), trained)
    assert find_weights(tmp_path) == trained
    evaluation = tmp_path / "han" / "evaluation"  # without the run
    evaluation.mkdir(parents=True)
    (evaluation / "per_case.csv").write_text("case_id\n")
    with pytest.raises(FileNotFoundError, match=r"an evaluation; use the folder of the run$"):
        find_weights(evaluation)
