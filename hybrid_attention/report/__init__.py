"""Tables, figures and one self-contained page that compare evaluation runs; reports on trained networks."""

from hybrid_attention.report.compare import compare
from hybrid_attention.report.model_reports import stress, write_calibration_figure

__all__ = ["compare", "stress", "write_calibration_figure"]
