"""Tables, figures and one self-contained page that compare evaluation runs; reports on trained networks."""

from hybrid_attention.report.compare import compare
from hybrid_attention.report.reliability_plot import reliability_figure, write_reliability_figure
from hybrid_attention.report.runs import Run, read_run
from hybrid_attention.report.stress import stress

__all__ = ["Run", "compare", "read_run", "reliability_figure", "stress", "write_reliability_figure"]
