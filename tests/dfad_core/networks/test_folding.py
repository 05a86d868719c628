import pytest
import torch
from torch import nn

from dfad_core.networks import build_classifier
from dfad_core.networks.folding import folded


def _awake(module: nn.Module) -> nn.Module:
    """With BN statistics that are not the trivial ones."""
    with torch.no_grad():
        module.train()
        for _ in range(3):
            module(torch.randn(16, 3, 32, 32))
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg11_bn", "mobilenet_v2", "resnet18"])
def test_the_copy_answers_alike_with_fewer_layers(name: str) -> None:
    torch.manual_seed(0)
    teacher = _awake(build_classifier(name, num_classes=10, input_shape=(3, 32, 32)))
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    x = torch.randn(4, 3, 32, 32)
    copy = folded(teacher, x)
    assert copy is not teacher
    torch.testing.assert_close(copy(x), teacher(x), rtol=1e-3, atol=1e-3)
    kinds = [sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) for net in (copy, teacher)]
    assert kinds[0] < kinds[1]
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())


def test_what_cannot_be_folded_stays_itself(tiny) -> None:
    class Moody(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    x = torch.zeros(2, 1, 8, 8)
    for module in (Moody(), tiny.classifier(4, bn=False).eval()):
        assert folded(module, x) is module
