"""A small training whose every part matters: momentum under OneCycle, dropout, examples drawn anew in each epoch."""

import torch
from torch import nn

from regard.seeds import seed_for
from regard.training.steps import Settings

EXAMPLES, WIDTH, ANSWERS = 23, 5, 3


class Fit:
    """A small network learns a fixed one; with `norm`, batch norm in it. The second component keeps answers small."""

    components = ("error", "size")

    def __init__(self, norm=False, dropout=0.0, examples=EXAMPLES, kind=torch.float32):
        self.examples = examples
        draw = torch.Generator().manual_seed(1)
        layers = [nn.Linear(WIDTH, 8), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.Tanh(), nn.Dropout(dropout)]
        self.module = nn.Sequential(*layers, nn.Linear(8, ANSWERS)).to(kind)
        for parameter in self.module.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw, dtype=kind) / 2
        self.inputs = torch.randn(examples, WIDTH, generator=draw, dtype=kind)
        self.truth = torch.sin(2 * self.inputs @ torch.randn(WIDTH, ANSWERS, generator=draw, dtype=kind))

    def batch(self, indices, epoch):
        noise = [
            torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed_for(3, index, epoch))) for index in indices
        ]
        places = torch.tensor(indices)
        return self.inputs[places] + 0.1 * torch.stack(noise).to(self.inputs), self.truth[places]

    def losses(self, batch):
        inputs, truth = batch
        answers = self.module(inputs)
        error, size = (answers - truth).square().mean(dim=1), answers.square().mean(dim=1)
        return error + 0.1 * size, {"error": error, "size": size}


def settings(**changed):
    return Settings(**{"epochs": 3, "batch": 8, "checkpoint_every": 2, "seed": 7, **changed})


def descent(task, asked):
    """SGD with Nesterov momentum in two groups, as TAME's, under OneCycle that moves rate and momentum."""
    weights = [parameter for name, parameter in task.module.named_parameters() if name.endswith("weight")]
    biases = [parameter for name, parameter in task.module.named_parameters() if name.endswith("bias")]
    groups = [{"params": weights, "weight_decay": 5e-4}, {"params": biases, "lr": 0.2}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [0.1, 0.2], total_steps=asked.steps(task.examples))
    return optimizer, schedule


def bits(module):
    """All that a module is, as bytes by name."""
    return bits_of(module.state_dict())


def bits_of(state):
    """A module's saved state, as bytes by name."""
    return {name: value.numpy().tobytes() for name, value in state.items()}
