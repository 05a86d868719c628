"""Networks for images of 64 to 224 pixels, with the names of tensors that torchvision and timm give them.

A state dict of theirs loads into ours and ours into theirs, with equal outputs in eval mode. Dropout and
stochastic depth are left out: a student here never sees an image twice.
"""
