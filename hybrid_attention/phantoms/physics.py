"""Image formation of phantoms: speckle, attenuation and log compression, and smooth random fields."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Array = NDArray[np.float64]

_CARRIER = 0.25  # centre frequency, in cycles per pixel of depth


def speckle_envelope(
    echo_db: Array,
    rng: np.random.Generator,
    *,
    coherence: Array | float = 0.0,
    axial_sigma: float = 1.3,
    lateral_sigma: Array | float = 1.5,
    looks: int = 1,
) -> Array:
    """Return the echo envelope of tissue with the given echogenicity, seen through a Gaussian-modulated pulse.

    Circular complex Gaussian scatterers give fully developed speckle, so in homogeneous tissue and with one look the
    envelope is Rayleigh distributed: mean / standard deviation = sqrt(pi / (4 - pi)) = 1.91, mean square 10^(dB / 10).

    Reference:
        C. B. Burckhardt, "Speckle in ultrasound B-mode scans", IEEE Trans. Sonics Ultrason. 25(1), 1978,
        doi:10.1109/T-SU.1978.30978. R. F. Wagner et al., "Statistics of speckle in ultrasound B-scans", IEEE Trans.
        Sonics Ultrason. 30(3), 1983, doi:10.1109/T-SU.1983.31404.

    Args:
        echo_db: echogenicity in dB, shape (depth, width).
        rng: source of the scatterers.
        coherence: fraction of the amplitude, in [0, 1], that a smooth reflector returns in phase (1: no speckle).
        axial_sigma: standard deviation of the pulse along the depth, in pixels.
        lateral_sigma: standard deviation of the beam across, in pixels; one number, or one for every row.
        looks: independent speckle patterns averaged, as spatial and frequency compounding do.
    """
    depth, width = echo_db.shape
    beam = np.broadcast_to(np.asarray(lateral_sigma, dtype=float), (depth,))[:, None]
    margin = 4 * int(np.ceil(max(axial_sigma, float(beam.max()))))  # keeps the circular convolution off the image
    rows, cols = fft.next_fast_len(depth + margin), fft.next_fast_len(width + margin)
    # Transfer functions. Each is scaled to pass white noise with unit power at every depth.
    lateral = np.exp(-2 * (np.pi * fft.fftfreq(cols)[None, :] * beam) ** 2)
    lateral /= np.sqrt(np.mean(lateral**2, axis=1, keepdims=True))
    offset = (fft.fftfreq(rows) - _CARRIER + 0.5) % 1 - 0.5  # the spectrum of a sampled pulse is periodic
    axial = np.exp(-2 * (np.pi * offset * axial_sigma) ** 2)
    axial /= np.sqrt(np.mean(axial**2))
    amplitude = 10 ** (echo_db / 20)
    in_phase = np.asarray(coherence) * np.exp(2j * np.pi * _CARRIER * np.arange(depth))[:, None]
    random_share = np.sqrt(np.clip(1 - np.abs(in_phase) ** 2, 0, 1))
    # A reflector has the filters' peak gain, noise unit gain: remove the difference.
    in_phase = in_phase / (lateral.max(axis=1, keepdims=True) * axial.max())
    total = np.zeros((depth, width))
    for _ in range(looks):
        noise = (rng.standard_normal((depth, width)) + 1j * rng.standard_normal((depth, width))) / np.sqrt(2)
        field = amplitude * (random_share * noise + in_phase)
        field = fft.ifft(fft.fft(field, cols, axis=1) * lateral, axis=1)[:, :width]
        field = fft.ifft(fft.fft(field, rows, axis=0) * axial[:, None], axis=0)[:depth]
        total += np.abs(field)  # of the analytic signal, as the pulse is complex
    return total / looks


def log_compress(envelope: Array, dynamic_range: float, reference_db: float = 0.0) -> NDArray[np.uint8]:
    """Map an envelope to 8-bit grey values, white at `reference_db` and black `dynamic_range` dB below it."""
    level = 20 * np.log10(np.maximum(envelope, 1e-12)) - reference_db
    return np.round(255 * np.clip(1 + level / dynamic_range, 0, 1)).astype(np.uint8)


def _weights(points: int, length: float) -> Array:
    """Return the matrix that spreads white noise on a coarse grid to `points` samples of unit variance."""
    nodes = np.arange(-2 * length, points + 2 * length, max(1.0, length / 1.2))
    matrix = np.exp(-(((np.arange(points)[:, None] - nodes[None, :]) / length) ** 2))
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], length_z: float, length_x: float) -> Array:
    """Return a smooth Gaussian random field of unit variance with the given correlation lengths in pixels."""
    across, along = _weights(shape[1], max(length_x, 1.0)), _weights(shape[0], max(length_z, 1.0))
    return along @ rng.standard_normal((along.shape[1], across.shape[1])) @ across.T


def smooth_line(rng: np.random.Generator, width: int, length: float) -> Array:
    """Return a smooth random line of unit variance."""
    return smooth_noise(rng, (1, width), 1.0, length)[0]


def soft_step(x: Array) -> Array:
    """Return the logistic function, stable for any argument."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def scan(
    rng: np.random.Generator, speckle_rng: np.random.Generator, db: Array, coherence: Array, loss: Array, unit: float
) -> NDArray[np.uint8]:
    """Return the B-mode image of tissue, by a scanner with random focus, gain and dynamic range.

    Args:
        rng: source of the settings.
        speckle_rng: source of the scatterers and of the electronic noise.
        db: echogenicity in dB, (depth, width).
        coherence: fraction of the amplitude returned in phase.
        loss: attenuation in dB per pixel beyond what the time-gain compensation expects.
        unit: pixels per 1/400 of the depth shown.
    """
    height, width = db.shape
    z = np.linspace(0, 1, height)[:, None]
    path = np.cumsum(loss, axis=0)
    sharp, blurred = (ndimage.gaussian_filter1d(path, s * unit, axis=1) for s in (1.5, 6))
    path = (1 - z) * sharp + z * blurred  # the aperture grows with depth, and shadows lose their edges
    path = path + np.clip(smooth_line(rng, width, 30 * unit) - 0.7, 0, None) * 7 * z**1.3  # shadows of ligaments
    if rng.random() < 0.35:  # one end of the transducer has poor contact
        lost = rng.uniform(8, 22) * np.exp(-np.arange(width) / (rng.uniform(10, 45) * unit))
        path = path + (lost if rng.random() < 0.5 else lost[::-1])
    path = path + rng.uniform(4, 26) * np.clip(z - rng.uniform(0.2, 0.6), 0, None)  # the TGC does not follow
    path = path + rng.normal(0, 1.2) * np.sin(7 * z)
    beam = rng.uniform(1.1, 1.6) * np.sqrt(1 + ((z[:, 0] - rng.uniform(0.25, 0.5)) / 0.5) ** 2)
    envelope = speckle_envelope(
        db - path,
        speckle_rng,
        coherence=coherence,
        axial_sigma=max(0.7, unit),
        lateral_sigma=np.maximum(0.8, beam * unit),
        looks=int(rng.integers(3, 7)),
    )
    floor_db = np.broadcast_to(-63 + 6 * z, (height, width))
    noise = speckle_envelope(floor_db, speckle_rng, axial_sigma=0.8, lateral_sigma=0.8, looks=3)
    grey = log_compress(np.hypot(envelope, noise), rng.uniform(50, 60), rng.uniform(-9, -2))
    return ndimage.gaussian_filter(grey, 0.5 * max(unit, 0.8))
