"""Explanations of predictions: Grad-CAM heat maps, and pictures of heat maps and uncertainty."""

from hybrid_attention.explain.grad_cam import EmptyMaskError, grad_cam
from hybrid_attention.explain.handlers import SaveGradCAM, SaveGradCAMOverlays, SavePanels, evaluation_handlers
from hybrid_attention.explain.panels import draw_panels, draw_uncertainty, heat_overlay, write_uncertainty_pictures

__all__ = [
    "EmptyMaskError",
    "SaveGradCAM",
    "SaveGradCAMOverlays",
    "SavePanels",
    "draw_panels",
    "draw_uncertainty",
    "evaluation_handlers",
    "grad_cam",
    "heat_overlay",
    "write_uncertainty_pictures",
]
