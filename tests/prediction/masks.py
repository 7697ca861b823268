"""Masks drawn by hand."""

import numpy as np


def box(width, height, shape=(40, 60), left=10, top=5):
    mask = np.zeros(shape, dtype=np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask
