"""Shared data folders: small phantoms in BUSI's layout, and the real images where they are."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

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
def busi() -> Path:
    """The real BUSI images; tests that ask for them are marked `busi`."""
    return _real("BUSI_DIR")


@pytest.fixture(scope="session")
def busi_native() -> Path:
    """Some BUSI cases exactly as published."""
    return _real("BUSI_NATIVE_DIR")


@pytest.fixture(scope="session")
def bus_bra() -> Path:
    """The real BUS-BRA images, whole or in part; tests that ask for them are marked `bus_bra`."""
    return _real("BUS_BRA_DIR")


def _real(variable: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"set {variable} to the folder of the real images")
    return Path(folder)
