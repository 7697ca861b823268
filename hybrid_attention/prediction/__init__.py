"""Predictions for arrays and files: the result for an image, its measurements and files. Needs neither torch nor MONAI."""
