"""Tiny networks whose every weight counts, and slow replicas of what is explained."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import regard
from regard.compat import import_optional

vision_transformer = import_optional("timm.models.vision_transformer", "timm")
CLASSES, WIDTH = 5, 24
TOKENS_ALIKE = pytest.mark.filterwarnings("ignore:all places are about equally active", "ignore:norms vary by less")
"""For tests that look for representatives among tokens of random weights, which are about equally long."""


def loud(network, seed=0):
    """Random weights, biases and norms large enough that no term of a formula is lost in another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            if parameter.dim() == 3:  # class token, registers, positions
                parameter.copy_(noise)
            elif parameter.dim() > 1:
                parameter.copy_(noise * 1.5 / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(1 + 0.3 * noise if name.endswith(("weight", "gamma")) else 0.7 * noise)
    return network.eval()


def vit(seed=0, kind=vision_transformer.VisionTransformer, **changes):
    plain = {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": WIDTH,
        "depth": 2,
        "num_heads": 3,
        "mlp_ratio": 2,
        "num_classes": CLASSES,
    }
    return loud(kind(**plain | changes), seed)


def cnn(seed=0):
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return loud(nn.Sequential(*layers, nn.Linear(8, CLASSES)), seed)


def mlp_head(classes=CLASSES, width=WIDTH, seed=5):
    return loud(nn.Sequential(nn.Linear(width, 11), nn.Tanh(), nn.Linear(11, classes)), seed)


def classifier_of(network, size=32, **settings):
    preparation = regard.Preparation(size=size, mean=(0.5,) * 3, std=(0.5,) * 3)
    return regard.Classifier(network, preparation, **settings)


def pixels_of(images=2, size=(32, 32), seed=1):
    return torch.randn(images, 3, *size, generator=torch.Generator().manual_seed(seed))


def same(maps, others, tolerance=1e-5):
    """Equal shape, and equal values to a share of the largest."""
    assert maps.shape == others.shape
    maps, others = maps.detach(), others.detach()
    largest = others.abs().max().clamp(min=1e-12)
    assert float((maps - others).abs().max() / largest) <= tolerance
    return True


def token_products(network, pixels, score, layer, at="output"):
    """tensor · gradient summed over channels, (B, N), from one graph of the whole network, pixels included.

    "input" differentiates only what goes through that layer, not a residual that carries the same tensor.
    """
    kept = []

    def keep(tensor):
        kept.append(tensor.clone())
        kept[0].retain_grad()
        return kept[0]

    module = network.get_submodule(layer)
    if at == "output":
        handle = module.register_forward_hook(lambda _, __, output: keep(output))
    else:
        handle = module.register_forward_pre_hook(lambda _, arguments: (keep(arguments[0]), *arguments[1:]))
    try:
        score(network(pixels.clone().requires_grad_())).sum().backward()
    finally:
        handle.remove()
        network.zero_grad(set_to_none=True)
    return (kept[0] * kept[0].grad).sum(-1).detach()


def definition(network, pixels, score, last=1):
    """CDAM as defined, (B, N): at the output of norm1 of the last block."""
    return token_products(network, pixels, score, f"blocks.{last}.norm1")


def class_maps(network, pixels, prefix=1):
    """The definition for every class, on the grid of square frames: (B, C, h, w)."""
    flat = torch.stack([definition(network, pixels, lambda out, c=c: out[:, c]) for c in range(CLASSES)], dim=1)
    return flat[..., prefix:].unflatten(-1, (4, 4))


def loops(network, entering, target, with_biases=False):
    """The closed form for one image (N, D), token by token and head by head, as the paper's section 2.1 has it.

    `with_biases` makes the mistake that the section warns of.
    """
    block = network.blocks[-1]
    attention, tokens = block.attn, range(len(entering))
    heads, width = attention.num_heads, entering.shape[1]
    channels = width // heads
    read = block.norm1(entering)

    def project(part, head, token, biased):
        rows = slice(part * width + head * channels, part * width + (head + 1) * channels)
        plain = attention.qkv.weight[rows] @ read[token]
        return plain + attention.qkv.bias[rows] if biased else plain

    routing, weights, attended = [], [], []
    for head in range(heads):
        query = project(0, head, 0, True) * channels**-0.5
        routing.append(torch.stack([query @ project(1, head, token, with_biases) for token in tokens]))
        weights.append(torch.stack([query @ project(1, head, token, True) for token in tokens]).softmax(0))
        attended.append(sum(weights[head][token] * project(2, head, token, True) for token in tokens))
    joined = torch.cat(attended).detach().requires_grad_()
    middle = entering[0] + block.ls1(attention.proj(joined))
    embedding = network.norm(middle + block.ls2(block.mlp(block.norm2(middle))))
    (gradient,) = torch.autograd.grad(network.head(embedding)[target], joined)
    gradient = gradient.view(heads, channels)
    omega = [
        torch.stack([gradient[head] @ project(2, head, token, with_biases) for token in tokens])
        for head in range(heads)
    ]
    value = sum(weights[head] * omega[head] for head in range(heads))
    means = [(weights[head] * omega[head]).sum() for head in range(heads)]
    routed = sum(weights[head] * (omega[head] - means[head]) * routing[head] for head in range(heads))
    return SimpleNamespace(
        value=value.detach(),
        routing=routed.detach(),
        scores=(value + routed).detach(),
        weights=torch.stack(weights).detach(),
        lambdas=torch.stack(routing).detach(),
        omegas=torch.stack(omega).detach(),
        gradient=gradient,
        attended=torch.stack(attended).detach(),
    )
