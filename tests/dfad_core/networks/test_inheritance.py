import torch

from dfad_core.networks import build_classifier
from dfad_core.networks.inheritance import inherit

SHAPE = (3, 8, 8)


def test_a_shallower_network_of_the_family_begins_as_its_teacher() -> None:
    teacher, student = (
        build_classifier(n, num_classes=4, input_shape=SHAPE) for n in ("resnet20", "resnet8")
    )
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    assert inherit(student, teacher) == len(student.state_dict())
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, before[name])
    next(student.parameters()).data.zero_()
    assert torch.equal(next(teacher.parameters()), before["conv1.weight"])


def test_another_family_or_width_begins_at_its_own_weights() -> None:
    teacher = build_classifier("resnet20", num_classes=4, input_shape=SHAPE)
    for name, args in (("wrn_16_1", {}), ("resnet8", {"width": 8})):
        student = build_classifier(name, num_classes=4, input_shape=SHAPE, args=args)
        before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
        assert inherit(student, teacher) == 0
        assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())
