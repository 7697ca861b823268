"""The tissue of a synthetic breast without lesions: skin, fat, fibroglandular tissue, muscle and deeper layers."""

from __future__ import annotations

import numpy as np
from hybrid_attention.phantoms.physics import Array, smooth_line, smooth_noise, soft_step
from scipy import ndimage


def _lobules(rng: np.random.Generator, shape: tuple[int, int], lz: float, lx: float) -> tuple[Array, Array]:
    """Return a lobule-wise offset and the septa between lobules, brightest where they face the beam."""
    fields = np.stack([smooth_noise(rng, shape, lz, lx) for _ in range(6)])
    cell = fields.argmax(axis=0)
    septa = np.zeros(shape)
    septa[1:] += cell[1:] != cell[:-1]
    septa[:, 1:] += 0.3 * (cell[:, 1:] != cell[:, :-1])
    visible = np.clip(0.55 + 0.6 * smooth_noise(rng, shape, lz, lx / 2), 0, 1.3)
    septa = 2.2 * ndimage.gaussian_filter(septa, 0.8) * visible
    return rng.standard_normal(6)[cell], np.clip(septa, 0, 1)


def breast_anatomy(rng: np.random.Generator, shape: tuple[int, int], unit: float) -> tuple[Array, Array, Array, float]:
    """Draw the layers of a breast without lesions.

    Returns:
        Echogenicity in dB, coherence in [0, 1], excess attenuation in dB per pixel, and the thickness of the skin.
    """
    height, width = shape
    z = np.arange(height, dtype=float)[:, None]
    skin = rng.uniform(0.02, 0.05) * height
    fat_base = skin + (rng.uniform(0.04, 0.24) + 0.022 * smooth_line(rng, width, 80 * unit)) * height
    fat = fat_base - 0.03 * height * np.abs(smooth_line(rng, width, 35 * unit))  # crests: Cooper's ligaments insert
    gland = fat_base + (rng.uniform(0.25, 0.55) + 0.03 * smooth_line(rng, width, 110 * unit)) * height
    muscle = gland + (rng.uniform(0.08, 0.22) + 0.015 * smooth_line(rng, width, 130 * unit)) * height

    offset, fat_lines = _lobules(rng, shape, rng.uniform(13, 24) * unit, rng.uniform(55, 120) * unit)
    fat_db = -35 + 1.3 * offset + 1.4 * smooth_noise(rng, shape, 4 * unit, 14 * unit)

    # Fibroglandular tissue: echogenic strands along the layers, hypoechoic fat islands and ducts between them; the
    # fattier the breast, the more of it is lobules and septa.
    fatty = rng.beta(1.2, 2.0)
    streaks = smooth_noise(rng, shape, 3.0 * unit, rng.uniform(14, 36) * unit)
    coarse = smooth_noise(rng, shape, 13 * unit, 40 * unit)
    fine = smooth_noise(rng, shape, 2.2 * unit, 6 * unit)
    island_field = smooth_noise(rng, shape, rng.uniform(4, 10) * unit, rng.uniform(9, 30) * unit) + 0.35 * fine
    islands = soft_step(6 * (island_field - rng.uniform(0.5, 1.9)))
    offset, gland_septa = _lobules(rng, shape, rng.uniform(9, 18) * unit, rng.uniform(40, 90) * unit)
    gland_db = -27 - 6 * fatty + 2.6 * streaks + 2.0 * coarse + 1.6 * fine - rng.uniform(4, 11) * islands
    gland_db += 1.5 * fatty * offset
    gland_lines = np.clip(streaks + 0.5 * coarse - rng.uniform(1.2, 1.7), 0, 1) * rng.uniform(0.2, 0.6)
    gland_lines = np.maximum(gland_lines, fatty * gland_septa)

    fibres = smooth_noise(rng, shape, 2.4 * unit, 60 * unit)
    muscle_db = -37 + 3 * fibres + 1.8 * smooth_noise(rng, shape, 12 * unit, 50 * unit)
    muscle_lines = np.clip(fibres - 0.9, 0, 1) * rng.uniform(0.3, 0.8)
    deep_db = -43 + 3 * smooth_noise(rng, shape, 4 * unit, 35 * unit)
    deep_db += 2 * smooth_noise(rng, shape, 20 * unit, 50 * unit)

    in_fat, in_gland = soft_step((z - skin) / (1.2 * unit)), soft_step((z - fat) / (2 * unit))
    in_muscle, in_deep = soft_step((z - gland) / (3 * unit)), soft_step((z - muscle) / (7 * unit))
    db = -25 + (fat_db + 25) * in_fat + (gland_db - fat_db) * in_gland
    db += (muscle_db - gland_db) * in_muscle + (deep_db - muscle_db) * in_deep
    lines = fat_lines * (in_fat - in_gland) + gland_lines * (in_gland - in_muscle)
    lines += muscle_lines * (in_muscle - in_deep)
    for depth, strength in ((fat, 0.5), (gland, 0.6), (muscle, 0.7)):  # fasciae, broken along their course
        visible = np.clip(0.35 + 0.5 * smooth_line(rng, width, 40 * unit), 0, 1)
        lines = np.maximum(lines, strength * visible * np.exp(-(((z - depth) / (1.4 * unit)) ** 2)))
    attenuation = 0.12 / unit * lines
    if rng.random() < 0.35:  # pleura or rib: a strong interface with a clean shadow
        reach = np.exp(-(((np.arange(width) - rng.uniform(0, width)) / (rng.uniform(0.15, 0.4) * width)) ** 4))
        bone = muscle + rng.uniform(0.02, 0.06) * height
        lines = np.maximum(lines, reach * np.exp(-(((z - bone) / (2.0 * unit)) ** 2)))
        attenuation += 0.25 / unit * reach * soft_step((z - bone) / unit) * (z < bone + 60 * unit)

    # One displacement bends all the layers together, more with depth than at the skin.
    tilt = rng.normal(0, 0.12) * (np.arange(width) - width / 2)
    bend = (0.045 * height * smooth_line(rng, width, 110 * unit) + tilt) * (z / height) ** 0.8
    bend = bend + 2.2 * unit * smooth_noise(rng, shape, 16 * unit, 24 * unit) * soft_step((z - 2 * skin) / (3 * unit))
    where = np.stack([z + bend, np.broadcast_to(np.arange(width, dtype=float), shape)])
    maps = (db, lines, attenuation)
    db, lines, attenuation = (ndimage.map_coordinates(m, where, order=1, mode="nearest") for m in maps)
    # Coupling gel and skin hardly bend: entrance echo, dermis, and the line below it.
    entrance, dermis = np.full(width, 0.8 * unit), skin + 0.8 * unit * smooth_line(rng, width, 60 * unit)
    for depth, strength in ((entrance, 0.9), (dermis, 0.7)):
        visible = np.clip(0.75 + 0.3 * smooth_line(rng, width, 40 * unit), 0.1, 1)
        lines = np.maximum(lines, strength * visible * np.exp(-(((z - depth) / (1.2 * unit)) ** 2)))
    db = db + 1.5 * smooth_noise(rng, shape, 60 * unit, 70 * unit)
    return db + 18 * lines, 0.9 * np.clip(lines, 0, 1), attenuation, skin
