"""Predictions for arrays and files, without torch and MONAI: results, their measurements and files."""
