"""The tissue of a synthetic breast: its layers, the outlines of lesions, and their effects on tissue and beam."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hybrid_attention.phantoms.physics import Array, smooth_line, smooth_noise, soft_step
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

# Echogenicity of solid lesions relative to the surrounding tissue: the fraction of each kind, by the name of the
# mixture. The kinds are echo patterns of the BI-RADS lexicon, and the bright hilum of a lymph node.
ECHOGENICITY = {
    "hypoechoic": {"hypoechoic": 1.0},
    "mixed": {"hypoechoic": 0.5, "isoechoic": 0.15, "hyperechoic": 0.2, "hilum": 0.15},
}
_CONTRAST = {"hypoechoic": 1.0, "isoechoic": 0.1, "hyperechoic": -0.6, "hilum": 1.0}  # of that of a hypoechoic lesion


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


@dataclass(frozen=True)
class Lesion:
    """One lesion on the pixel grid: its outline, distances and the angle and radius relative to it."""

    mask: Mask
    distance: Array  # pixels, positive inside
    theta: Array
    radius: Array  # 1 on the outline
    spikes: Array  # angles of spicules, possibly none


def _outline(rng: np.random.Generator, suspicion: float) -> tuple[Array, Array]:
    """Return radius over 720 angles (mean square 1) and the angles of spicules.

    Smooth or gently lobulated at low suspicion; spiculated, angular or microlobulated at high suspicion, the terms in
    which the BI-RADS lexicon describes a margin that is not circumscribed.
    """
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    radius = np.ones_like(angle)
    for order in range(2, 7):
        radius += rng.normal(0, (0.04 + 0.22 * suspicion) / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    spikes = np.empty(0)
    if suspicion > 0.4:
        style = rng.choice(("spiculated", "angular", "microlobulated"))
        if style == "spiculated":
            spikes = rng.uniform(0, 2 * np.pi, rng.integers(5, 14))
            for spike in spikes:
                away = np.angle(np.exp(1j * (angle - spike)))
                radius += suspicion * rng.uniform(0.08, 0.45) * np.exp(-np.abs(away) / rng.uniform(0.04, 0.16))
        elif style == "angular":
            count = rng.integers(7, 13)
            corners = 2 * np.pi * (np.arange(count) + rng.uniform(-0.35, 0.35, count)) / count
            reach = 1 + 0.42 * suspicion * rng.uniform(-1, 1, count)
            radius *= np.interp(angle, corners, reach, period=2 * np.pi)
        else:
            phase = rng.integers(4, 8) * angle + rng.uniform(1, 2.5) * np.sin(angle + rng.uniform(0, 2 * np.pi))
            height = rng.uniform(0.12, 0.3) * suspicion * (1 + 0.7 * np.sin(angle + rng.uniform(0, 2 * np.pi)))
            radius *= 1 + height * (np.abs(np.sin(phase + rng.uniform(0, np.pi))) - 0.64)
        for order in range(7, 22):  # no tumour margin is as clean as its type
            radius += rng.normal(0, 0.16 * suspicion / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    radius = np.maximum(radius, 0.35)
    return radius / np.sqrt(np.mean(radius**2)), spikes


def place_lesion(
    rng: np.random.Generator, taken: Mask, area: float, suspicion: float, top: float, unit: float
) -> Lesion | None:
    """Draw an outline that covers the fraction `area` of the image, or None if there is no free place for it."""
    height, width = taken.shape
    contour, spikes = _outline(rng, suspicion)
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    ratio = np.exp(rng.normal(0.58 - 0.42 * suspicion, 0.22 + 0.06 * suspicion))  # width over height
    turn = rng.normal(0, 0.16 + 0.2 * suspicion)
    semi_x, semi_z = np.sqrt(area * height * width / np.pi * ratio), np.sqrt(area * height * width / np.pi / ratio)
    for _ in range(30):
        u, v = semi_x * contour * np.cos(angle), semi_z * contour * np.sin(angle)
        x, y = u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)
        room_x, room_z = 0.96 * width / np.ptp(x), (0.97 * height - top) / np.ptp(y)
        if min(room_x, room_z) < 1:  # does not fit: squeeze the side that is too long
            semi_x, semi_z = semi_x * min(0.99 * room_x, 1), semi_z * min(0.99 * room_z, 1)
            continue
        low_x, high_x = 0.02 * width - x.min(), 0.98 * width - x.max()
        low_y, high_y = top - y.min(), 0.985 * height - y.max()
        centre_x = np.clip(rng.uniform(0.15, 0.85) * width, low_x, high_x)
        centre_y = np.clip(rng.normal(0.33 + 0.03 * suspicion, 0.09) * height, low_y, high_y)
        dz, dx = np.arange(height)[:, None] - centre_y, np.arange(width)[None, :] - centre_x
        u = (dx * np.cos(turn) + dz * np.sin(turn)) / semi_x
        v = (-dx * np.sin(turn) + dz * np.cos(turn)) / semi_z
        theta = np.arctan2(v, u) % (2 * np.pi)
        radius = np.hypot(u, v) / np.interp(theta, angle, contour, period=2 * np.pi)
        mask = radius < 1
        labels, count = ndimage.label(mask)
        if count > 1:  # a spicule thinner than a pixel came apart
            mask = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
        if mask.any() and not (ndimage.binary_dilation(mask, iterations=int(6 * unit) + 1) & taken).any():
            distance = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
            return Lesion(mask, distance, theta, radius, spikes)
    return None


def insert_lesion(
    rng: np.random.Generator, lesion: Lesion, suspicion: float, kind: str, db: Array, coherence: Array, unit: float
) -> tuple[Array, Array, Array]:
    """Insert one lesion into the tissue; return echogenicity, coherence and the excess attenuation it causes.

    A lesion of low suspicion may be a cyst.
    """
    mask, d = lesion.mask, lesion.distance
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    tall, wide = len(rows), len(cols)
    surroundings = float(np.mean(db[(d < -2) & (d > -0.25 * tall - 8 * unit)]))
    cyst = suspicion < 0.3 and rng.random() < 0.45
    # Normal of the outline against the beam: walls that face the transducer reflect, side walls do not.
    facing = np.abs(np.gradient(ndimage.gaussian_filter(d, 1.5), axis=0)).clip(0, 1)
    attenuation = np.zeros_like(db)

    # Interior.
    grain = smooth_noise(rng, d.shape, 9 * unit, 16 * unit)
    if cyst:
        inner = surroundings - rng.uniform(22, 38) + 1.0 * grain
        inner = inner + 9 * np.exp(-d.clip(0) / (3 * unit)) * np.clip(-np.sin(lesion.theta), 0, 1)  # reverberation
    else:
        contrast = _CONTRAST[kind] * (rng.uniform(6, 15) + 5 * suspicion * rng.random())
        inner = surroundings - contrast + (1.5 + 3 * suspicion) * rng.uniform(0.5, 1.5) * grain
        inner = inner + (1.0 + 2 * suspicion) * smooth_noise(rng, d.shape, 3 * unit, 6 * unit)
        inner = inner + rng.uniform(-4, 4) * np.clip(1 - lesion.radius, 0, 1)
        if kind == "hilum":
            inner = inner + (contrast + 4) * soft_step((0.5 - lesion.radius) / 0.05)
    softness = unit * (0.7 + 3.5 * suspicion * rng.uniform(0.3, 1.0))
    ragged = unit * (0.3 + 2 * suspicion) * smooth_noise(rng, d.shape, 4 * unit, 6 * unit)
    inside = soft_step((d + ragged) / softness)

    # Surroundings: halo and strands for a suspicious lesion, a thin bright capsule for a benign one.
    if suspicion > 0.45 and rng.random() < 0.7:
        reach = rng.uniform(5, 12) * unit
        patchy = np.clip(0.8 + 0.5 * smooth_noise(rng, d.shape, 12 * unit, 12 * unit), 0, 1.6)
        db = db + rng.uniform(3, 8) * patchy * np.exp(-np.maximum(-d, 0) / reach)
    if len(lesion.spikes):  # the spicules run on, dark and fading, beyond the outline
        angle = np.linspace(-np.pi, np.pi, 720)
        away = np.angle(np.exp(1j * (angle - lesion.spikes[:, None])))
        fan = rng.uniform(2, 8, len(lesion.spikes)) @ np.exp(-((away / 0.05) ** 2))
        strands = np.interp(lesion.theta, angle, fan, period=2 * np.pi)
        db = db - strands * np.exp(-np.maximum(lesion.radius - 1, 0) / 0.22)
    db = db + (inner - db) * inside
    coherence = coherence * (1 - inside)
    rim = np.exp(-(((d + 0.8 * unit) / (1.3 * unit)) ** 2)) * facing**2
    strength = (1 - suspicion) ** 2 * rng.uniform(0.3, 1.0)
    db = db + 15 * strength * rim
    coherence = np.maximum(coherence, 0.85 * strength * rim)
    if suspicion > 0.5 and rng.random() < 0.25:  # microcalcifications
        candidates = np.argwhere(d > 0.12 * tall)
        for y, x in candidates[rng.integers(0, len(candidates), rng.integers(4, 16))] if len(candidates) else ():
            db[y : y + 2, x : x + 2] = surroundings + rng.uniform(4, 12)
            coherence[y : y + 2, x : x + 2] = 0.9

    # Posterior features, in dB through the full height of the lesion.
    if cyst:
        through = -rng.uniform(7, 14)
    elif rng.random() < 0.15 + 0.6 * suspicion:
        through = rng.uniform(4, 8 + 18 * suspicion)
    else:
        through = -rng.uniform(1, 10) * (1 - suspicion)
    through *= min(1.0, np.sqrt(tall / (70 * unit)))  # little tissue, little effect
    attenuation += through / tall * mask
    below = np.arange(d.shape[0])[:, None] - rows[-1]
    fading = np.exp(-below.clip(0) / (1.5 * tall + 40 * unit)) * (below > 0)
    fill = 0.6 if through < 0 else 0.3  # beams from other angles level the effect out with depth
    attenuation -= fill * attenuation.sum(axis=0) * fading / max(fading.sum(), 1.0)
    if through < 4 and rng.random() < 0.6:  # refraction at the side walls of a smooth lesion
        side = np.zeros(d.shape[1])
        side[[cols[0], cols[-1]]] = 1
        side = ndimage.gaussian_filter1d(side, max(1.0, 0.02 * wide + unit)) * (0.05 * wide + 2.5 * unit)
        z = np.arange(d.shape[0])[:, None] - rows.mean()
        attenuation += rng.uniform(2, 6) / tall * soft_step(z / (3 * unit)) * (z < tall) * side
    return db, coherence, attenuation
