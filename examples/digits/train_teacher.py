"""Train the teacher of the demo: `python -m examples.digits.train_teacher`.

It writes teacher.safetensors beside this file; the accuracy in the file's metadata is the one printed.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from dfad_core.contract.config import InputConfig
from dfad_core.evaluation.accuracy import accuracy
from dfad_core.formats.safetensors import save_student
from dfad_core.networks import build_classifier
from examples.digits.data import MEAN, SHAPE, STD, digits

TEACHER = Path(__file__).parent / "teacher.safetensors"
EPOCHS, BATCH, PEAK_RATE = 60, 64, 5e-3


def main() -> None:
    """Train on two thirds of the digits, score on the rest, write the file."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the same sums in the same order on every machine of one kind
    (x, y), held_out = digits()
    model = build_classifier("cnn8", num_classes=10, input_shape=SHAPE)
    steps = EPOCHS * (len(y) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        model.train()
        for rows in torch.randperm(len(y))[: len(y) // BATCH * BATCH].split(BATCH):
            # One pixel of jitter: 1,198 images are few.
            dx, dy = torch.randint(-1, 2, (2,)).tolist()
            images = torch.roll(x[rows], (dx, dy), (2, 3))
            loss = F.cross_entropy(model(images), y[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    score = accuracy(model, *held_out)
    scale = 16.0  # pixel range of the source: mean and std are told for pixels from 0 to 1
    save_student(
        TEACHER,
        model,
        architecture="cnn8",
        num_classes=10,
        input=InputConfig(SHAPE, (MEAN / scale,), (STD / scale,)),
        extra={"trained_on": "scikit-learn load_digits", "held_out_accuracy": round(score, 4)},
    )
    print(f"TEACHER accuracy={score:.4f} bytes={TEACHER.stat().st_size}")


if __name__ == "__main__":
    main()
