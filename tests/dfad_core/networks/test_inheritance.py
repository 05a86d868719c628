import torch

from dfad_core.networks import build_classifier
from dfad_core.networks.folding import folded
from dfad_core.networks.inheritance import COPIED_SCALE, inherit

SHAPE = (3, 8, 8)
IMAGES = torch.randn(16, *SHAPE, generator=torch.Generator().manual_seed(0))


def network(name: str, args: dict[str, int] | None = None) -> torch.nn.Module:
    torch.manual_seed(0)
    built = build_classifier(name, num_classes=4, input_shape=SHAPE, args=args or {})
    with torch.no_grad():  # statistics that are not the trivial ones
        for _ in range(5):
            built(2 * IMAGES + 1)
    return built.eval()


def test_a_shallower_network_of_the_family_begins_as_its_teacher() -> None:
    teacher, student = network("resnet20"), network("resnet8")
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    assert inherit(student, teacher, IMAGES) == len(student.state_dict())
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, before[name])
    next(student.parameters()).data.zero_()
    assert torch.equal(next(teacher.parameters()), before["conv1.weight"])


def test_another_family_or_width_begins_at_its_own_weights() -> None:
    teacher = network("resnet20")
    for student in (network("wrn_16_1"), network("resnet8", {"width": 8})):
        before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
        assert inherit(student, teacher, IMAGES) == 0
        assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


def test_of_a_folded_teacher_the_student_has_the_same_function_on_a_batch() -> None:
    teacher, student = network("resnet20"), network("resnet20").train()
    folded_teacher = folded(teacher, IMAGES)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.normal_()
        assert inherit(student, folded_teacher, IMAGES) > 0
        assert student.training
        kernel = student.state_dict()["layer2.0.conv1.weight"]
        torch.testing.assert_close(
            kernel.square().mean((1, 2, 3)).sqrt(), torch.full((32,), COPIED_SCALE), atol=0.5, rtol=0
        )
        # BN by the batch of these images restores what folding took away.
        torch.testing.assert_close(student(IMAGES), teacher(IMAGES), rtol=0.05, atol=0.05)
