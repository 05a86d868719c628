"""Vision transformers (Dosovitskiy et al. 2021, arXiv 2010.11929), with torchvision's and with timm's names.

Shapes: B images, N tokens (one for each patch, and one for the class), C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 16
"""Side of a patch; height and width are multiples of it."""
LAYERS = 12
EPS = 1e-6


def num_tokens(input_shape: tuple[int, int, int]) -> int:
    """One for each patch, and one for the class."""
    return 1 + (input_shape[1] // PATCH) * (input_shape[2] // PATCH)


def tokens(patches: Tensor, class_token: Tensor, positions: Tensor) -> Tensor:
    """(B, N, C) from patches (B, C, H, W), the class's token (1, 1, C) and positions (1, N, C)."""
    x_BNC = patches.flatten(2).transpose(1, 2)
    first = class_token.expand(x_BNC.shape[0], -1, -1)
    return torch.cat((first, x_BNC), 1) + positions


def attend(qkv: Tensor, heads: int) -> Tensor:
    """Each head's means of values (B, N, C), from queries, keys and values (B, N, 3 C).

    Written out, because costs are counted by operation and a fused one is not counted on every device.
    """
    count, num, _ = qkv.shape
    q, k, v = qkv.reshape(count, num, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    weights: Tensor = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def initialise(network: nn.Module) -> None:
    """Normal weights of deviation 0.02 without biases, tokens and positions included."""
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            nn.init.trunc_normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


class _Attention(nn.Module):
    """Under the names of `nn.MultiheadAttention`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        y: Tensor = self.out_proj(attend(qkv, self.heads))
        return y


class _Layer(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(channels, eps=EPS)
        self.self_attention = _Attention(channels, heads)
        self.ln_2 = nn.LayerNorm(channels, eps=EPS)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Identity(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attention(self.ln_1(x))
        y: Tensor = x + self.mlp(self.ln_2(x))
        return y


class _Encoder(nn.Module):
    def __init__(self, count: int, channels: int, heads: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, count, channels))
        self.layers = nn.Sequential()
        for number in range(LAYERS):
            self.layers.add_module(f"encoder_layer_{number}", _Layer(channels, heads))
        self.ln = nn.LayerNorm(channels, eps=EPS)


class TorchvisionViT(nn.Module):
    """ViT-B/16 as torchvision names its tensors."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels = 768
        self.class_token = nn.Parameter(torch.empty(1, 1, channels))
        self.conv_proj = nn.Conv2d(input_shape[0], channels, PATCH, PATCH)
        self.encoder = _Encoder(num_tokens(input_shape), channels, heads=12)
        self.heads = nn.ModuleDict({"head": nn.Linear(channels, num_classes)})
        initialise(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        x = tokens(self.conv_proj(x_BCHW), self.class_token, self.encoder.pos_embedding)
        x = self.encoder.ln(self.encoder.layers(x))
        logits: Tensor = self.heads["head"](x[:, 0])
        return logits


class _TimmAttention(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(attend(self.qkv(x), self.heads))
        return y


class _TimmLayer(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=EPS)
        self.attn = _TimmAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=EPS)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(channels, 4 * channels), "fc2": nn.Linear(4 * channels, channels)}
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
        return y


class TimmViT(nn.Module):
    """ViT/16 of `heads` times 64 channels as timm names its tensors: 3 is tiny, 6 is small."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], *, heads: int) -> None:
        super().__init__()
        channels = 64 * heads
        self.cls_token = nn.Parameter(torch.empty(1, 1, channels))
        self.pos_embed = nn.Parameter(torch.empty(1, num_tokens(input_shape), channels))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(input_shape[0], channels, PATCH, PATCH)})
        self.blocks = nn.Sequential(*(_TimmLayer(channels, heads) for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.head = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        x = tokens(self.patch_embed["proj"](x_BCHW), self.cls_token, self.pos_embed)
        logits: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return logits
