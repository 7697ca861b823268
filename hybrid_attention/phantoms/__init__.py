"""Synthetic breast-ultrasound images, for tests and demonstrations."""

from hybrid_attention.phantoms.dataset import Phantom, make_phantom, write_phantom_dataset

__all__ = ["Phantom", "make_phantom", "write_phantom_dataset"]
