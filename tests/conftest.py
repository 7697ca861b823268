"""Shared: small phantoms in BUSI's layout, a run on them, the real images where they are, a browser."""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hybrid_attention
import pytest
from hybrid_attention.phantoms import write_phantom_dataset


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Commands set what is logged in their own process; here many run in one."""
    loggers = [logging.getLogger(name) for name in ("hybrid_attention", "hybrid_attention.networks", "monai")]
    levels, disabled = [logger.level for logger in loggers], logging.root.manager.disable
    yield
    logging.disable(disabled)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """A small synthetic data set: 10 benign, 6 malignant and 5 normal images of about 100 pixels."""
    root = tmp_path_factory.mktemp("data") / "phantoms"
    return write_phantom_dataset(root, benign=10, malignant=6, normal=5, size=(96, 128))


@pytest.fixture(scope="session")
def trained_run(phantoms, tmp_path_factory) -> Path:
    """A tiny network after two epochs on all phantoms, and its evaluation, in the folders of `experiments`."""
    from tests.bundles.commands import bundle, config

    out = tmp_path_factory.mktemp("runs") / "tiny" / "seed_0" / "fold_0"
    network = {"_target_": "hybrid_attention.networks.baselines.residual_unet", "channels": [4, 8, 16]}
    options = ["--dataset_dir", phantoms, "--output_dir", out, "--image_size", 64, "--batch_size", 4, "--epochs", 2]
    options += ["--lesions_only", False, "--learning_rate", 0.01, "--network_def", network]
    train, evaluate = config("hybrid", "train"), config("hybrid", "evaluate")
    bundle("training", [train], *options)
    bundle("evaluating", [train, evaluate], *options)
    return out


@pytest.fixture(scope="session")
def model():
    """The default model."""
    return hybrid_attention.load_model()


@pytest.fixture
def edited_run(trained_run, tmp_path):
    """A function that copies the run as one that was trained with other settings."""

    def edited(**settings) -> Path:
        folder = shutil.copytree(trained_run, tmp_path / "edited")
        path = folder / "models" / "training.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "recipe": {**record["recipe"], **settings}}))
        return folder

    return edited


def _real(variable: str):
    @pytest.fixture(scope="session")
    def folder() -> Path:
        """Real images; tests that need them have the marker `busi` or `bus_bra`."""
        if variable not in os.environ:
            pytest.skip(f"set {variable} to the folder of the real images")
        return Path(os.environ[variable])

    return folder


busi, busi_native, bus_bra = (_real(name) for name in ("BUSI_DIR", "BUSI_NATIVE_DIR", "BUS_BRA_DIR"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window; the log holds what the page says and asks for."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromium-driver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = (
        "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --window-size=1366,900"
    )
    for flag in (*flags.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_script_timeout(120)  # seconds for one prediction, on a busy machine
    yield started
    started.quit()
