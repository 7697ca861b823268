"""Masks drawn with characters."""

import torch


def drawn(text):
    """A mask of shape (1, rows, columns) from rows of `#` and `.`."""
    return torch.tensor([[[1.0 if mark == "#" else 0.0 for mark in row] for row in text.split()]])
