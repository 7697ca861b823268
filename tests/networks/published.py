"""Published weights without the internet: networks under the names of the published files, in which no value is new."""

import functools
import hashlib
import re

import torch
from monai.networks.nets import DenseNet121, EfficientNetBN, ResNet


@functools.cache
def network(name):
    """MONAI's whole network, with every batch norm changed so that no tensor has the value it is born with."""
    if name == "resnet18":
        net = ResNet("basic", [2, 2, 2, 2], [64, 128, 256, 512], 2, 3, conv1_t_stride=2, bias_downsample=False)
    else:
        net = DenseNet121(2, 3, 1000) if name == "densenet121" else EfficientNetBN(name, pretrained=False)
    torch.manual_seed(0)
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for tensor in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                tensor.uniform_(0.5, 1.5)
            part.num_batches_tracked.fill_(7)
    return net.eval()


def resnet18():
    state = network("resnet18").state_dict()
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def densenet121(old_format=True):
    """Torchvision's names: norm.1 and no batch counters in the published file, norm1 since."""
    state = {}
    for key, value in network("densenet121").state_dict().items():
        key = key.replace("class_layers.out", "classifier").replace(".layers.", ".")
        if old_format:
            key = re.sub(r"(denselayer\d+\.)(norm|conv)([12])", r"\1\2.\3", key)
        if not (old_format and key.endswith("num_batches_tracked")):
            state[key] = value
    return state


def efficientnet_b0():
    """The published file counts the blocks through."""
    state = network("efficientnet-b0").state_dict()
    return {re.sub(r"^_blocks\.\d+\.", "_blocks.", key): value for key, value in state.items()}


def save(name, state, folder):
    """Save as `<name>-<start of its SHA-256>.pth`, in the older container of published files."""
    plain = folder / "plain.pth"
    torch.save(state, plain, _use_new_zipfile_serialization=False)
    return plain.rename(folder / f"{name}-{hashlib.sha256(plain.read_bytes()).hexdigest()[:8]}.pth")
