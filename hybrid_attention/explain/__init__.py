"""Explanations of predictions: Grad-CAM heat maps, attention maps, and pictures of heat maps and uncertainty."""

from hybrid_attention.explain.attention_maps import attention_maps, attention_numbers
from hybrid_attention.explain.grad_cam import EmptyMaskError, grad_cam
from hybrid_attention.explain.handlers import (
    SaveAttention,
    SaveAttentionNumbers,
    SaveGradCAM,
    SaveGradCAMOverlays,
    SavePanels,
    evaluation_handlers,
)
from hybrid_attention.explain.pictures import (
    draw_attention,
    draw_panels,
    draw_uncertainty,
    heat_overlay,
    write_uncertainty_pictures,
)

__all__ = [
    "EmptyMaskError",
    "SaveAttention",
    "SaveAttentionNumbers",
    "SaveGradCAM",
    "SaveGradCAMOverlays",
    "SavePanels",
    "attention_maps",
    "attention_numbers",
    "draw_attention",
    "draw_panels",
    "draw_uncertainty",
    "evaluation_handlers",
    "grad_cam",
    "heat_overlay",
    "write_uncertainty_pictures",
]
