"""Tables, figures and one self-contained page that compare evaluation runs."""

from hybrid_attention.report.compare import compare
from hybrid_attention.report.reliability_plot import reliability_figure, write_reliability_figure
from hybrid_attention.report.runs import Run, read_run

__all__ = ["Run", "compare", "read_run", "reliability_figure", "write_reliability_figure"]
