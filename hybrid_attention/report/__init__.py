"""Tables, figures and one self-contained page that compare evaluation runs; reports on trained networks."""

from hybrid_attention.report.calibration_figure import write_calibration_figure
from hybrid_attention.report.compare import compare
from hybrid_attention.report.stress import stress

__all__ = ["compare", "stress", "write_calibration_figure"]
