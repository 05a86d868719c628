"""One-hot term: rewards images that the teacher is confident about."""

from torch import Tensor

from dfad_core.losses.one_hot import one_hot
from dfad_core.methods.terms.base import GeneratorTerm, GeneratorView


class OneHot(GeneratorTerm):
    """Cross-entropy with the requested class, or with the teacher's largest one where none is requested."""

    name = "one_hot"
    weight_field = "one_hot_weight"

    def value(self, view: GeneratorView) -> Tensor:
        """`losses.one_hot` of the teacher's logits."""
        return one_hot(view.teacher_logits_BK, view.classes_B)
