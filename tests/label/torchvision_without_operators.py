"""Let torchvision be imported beside a torch that its compiled operators were not built for.

PyPI's torchvision for Linux is built for CUDA. Beside a CPU build of torch its operators can't be loaded, and
`import torchvision` ends with "operator torchvision::nms does not exist", though MONAI Label only draws grids of
images with it. Here the two modules that describe these operators stay empty; whoever calls one still gets
torchvision's own error. `make test-label` copies this file, and the `.pth` that loads it, into an environment of that
kind.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

DESCRIPTIONS = ("torchvision._meta_registrations", "torchvision._autograd_registrations")


class _LeaveEmpty(MetaPathFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        if name not in DESCRIPTIONS:
            return None
        from torchvision.extension import _has_ops

        return None if _has_ops() else ModuleSpec(name, self)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, _LeaveEmpty())
