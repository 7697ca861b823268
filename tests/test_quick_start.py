import subprocess
import sys

HIDDEN = ("matplotlib", "sklearn", "pandas", "scipy.stats", "torch.distributed.optim")


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_hidden_packages_are_not_imported_and_can_be_afterwards():
    code = f"""
import sys
from hybrid_attention.quick_start import import_monai_quickly
import_monai_quickly()
print(*[name for name in {HIDDEN} if name in sys.modules], "monai.engines" in sys.modules)
import matplotlib.pyplot, sklearn.metrics, scipy.stats
from torch.distributed.optim import ZeroRedundancyOptimizer
print(issubclass(ZeroRedundancyOptimizer, __import__("torch").optim.Optimizer))
"""
    assert python(code) == ["True", "True"]


def test_what_is_imported_already_stays():
    code = """
import scipy.stats, monai
before = scipy.stats
from hybrid_attention.quick_start import import_monai_quickly
import_monai_quickly()
import scipy.stats
print(scipy.stats is before)
"""
    assert python(code) == ["True"]
