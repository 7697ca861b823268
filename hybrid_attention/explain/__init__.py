"""Where a network looks: Grad-CAM for masks and classes, as heat maps and pictures."""

from hybrid_attention.explain.grad_cam import grad_cam
from hybrid_attention.explain.handlers import evaluation_handlers
from hybrid_attention.explain.heat_overlay import heat_overlay
from hybrid_attention.explain.layers import layer_name
from hybrid_attention.explain.panels import draw_panels
from hybrid_attention.explain.save_grad_cam import SaveGradCAM, SaveGradCAMOverlays
from hybrid_attention.explain.save_panels import SavePanels
from hybrid_attention.explain.scores import NothingMarkedError
from hybrid_attention.explain.uncertainty_pictures import draw_uncertainty, write_uncertainty_pictures

__all__ = [
    "NothingMarkedError",
    "SaveGradCAM",
    "SaveGradCAMOverlays",
    "SavePanels",
    "draw_panels",
    "draw_uncertainty",
    "evaluation_handlers",
    "grad_cam",
    "heat_overlay",
    "layer_name",
    "write_uncertainty_pictures",
]
