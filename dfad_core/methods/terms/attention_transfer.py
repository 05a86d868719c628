"""Attention transfer on the matched spatial stages of both networks."""

from torch import Tensor

from dfad_core.losses.attention_transfer import attention_transfer
from dfad_core.methods.terms.base import StudentTerm, StudentView


class AttentionTransfer(StudentTerm):
    """The gap of both networks' attention maps."""

    name = "attention_transfer"
    weight_field = "attention_weight"
    needs_attention = True

    def value(self, view: StudentView) -> Tensor | None:
        """`losses.attention_transfer`; None where no spatial stage was matched."""
        if not view.batch.attention:
            return None
        return attention_transfer(view.student_attention, view.batch.attention)
