import sys
from pathlib import Path

import hybrid_attention
from hybrid_attention.engines import find_bundle_root, run_folder
from hybrid_attention.engines.bundles import own_bundles


def test_bundle_root_is_above_the_config_file(tmp_path, monkeypatch):
    config = tmp_path / "moved" / "configs" / "train.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("")
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "--config_file", str(config)])
    assert find_bundle_root("hybrid") == str(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "--config_file=['moved/configs/train.yaml','x.yaml']"])
    assert find_bundle_root("hybrid") == str(tmp_path / "moved")


def test_bundle_root_without_a_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["python"])
    checkout = Path(hybrid_attention.__file__).resolve().parents[1]
    assert find_bundle_root("hybrid") == str(checkout / "bundles" / "hybrid")
    monkeypatch.chdir(tmp_path)
    assert find_bundle_root("no such bundle") == str(tmp_path)


def test_packaged_bundle_finds_itself(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "hybrid_attention").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["python"])
    monkeypatch.setattr(hybrid_attention, "__file__", str(tmp_path / "hybrid_attention" / "__init__.py"))
    assert find_bundle_root("hybrid") == str(tmp_path)


def test_bundles_inside_the_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "hybrid_attention"
    bundle = package / "bundles" / "hybrid"
    for folder in (bundle, package.parent / "bundles" / "of_others"):
        (folder / "configs").mkdir(parents=True)
        (folder / "configs" / "metadata.json").write_text("{}")
    monkeypatch.setattr(hybrid_attention, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr(sys, "argv", ["python"])
    monkeypatch.chdir(tmp_path)
    assert own_bundles() == {"hybrid": bundle}
    assert find_bundle_root("hybrid") == str(bundle)
    assert run_folder(str(bundle)) == str(tmp_path / "hybrid")
    assert run_folder(str(package.parent)) == str(package.parent)
