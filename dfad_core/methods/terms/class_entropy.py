"""Class-balance term: rewards batches whose images spread over all classes (DAFL)."""

from torch import Tensor

from dfad_core.losses.class_entropy import class_entropy
from dfad_core.methods.terms.base import GeneratorTerm, GeneratorView


class ClassEntropy(GeneratorTerm):
    """The gap of the batch's class entropy from its maximum."""

    name = "class_entropy_gap"
    weight_field = "class_entropy_weight"

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.class_entropy` of the teacher's logits."""
        return class_entropy(view.teacher_logits_BK)
