"""Steps of one size, by the sign of the momentum: Lion (Chen et al., 2023, arXiv:2302.06675)."""

import attrs
import torch


@attrs.frozen
class Options:
    #: The step's size as a share of learning_rate, which is AdamW's.
    scale: float = attrs.field(default=0.3, validator=attrs.validators.gt(0))


class Lion(torch.optim.Optimizer):
    def __init__(self, groups, lr, betas):
        super().__init__(groups, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(torch.lerp(weight.grad, momentum, first).sign_(), alpha=group["lr"])
                momentum.lerp_(weight.grad, 1 - second)
        return loss


def build(options, context):
    groups = [
        {"params": list(context.decayed), "weight_decay": context.weight_decay},
        {"params": list(context.undecayed), "weight_decay": 0.0},
    ]
    return Lion(groups, options.scale * context.learning_rate, (0.9, 0.99))
