"""The recipe for a network that is not in the catalogue: each such refusal ends in it. Torch-free."""

from __future__ import annotations

FILE = "teacher.onnx"
# Weights in the one file, and batch norm as it is, not folded into convolutions.
CALL = f'torch.onnx.export(model.eval(), (x,), "{FILE}", external_data=False, optimize=False)'
PACK = f"dfad pack model.py:build --weights w.pt --input 3x224x224 -o {FILE}"
OWN_NETWORK = (
    f"A network of your own comes in as ONNX. In Python, with x = torch.zeros(1, 3, 224, 224) in the "
    f"size of its images: {CALL}. Or as a command, with a function build() in model.py: {PACK}"
)
"""The whole recipe, as the end of a refusal."""
ANY_BATCH = (
    f"export it for batches of any size, with an x of two images: "
    f'{CALL[:-1]}, dynamic_shapes=({{0: "batch"}},))'
)
"""The end of a refusal of a graph that was written for one batch size."""
