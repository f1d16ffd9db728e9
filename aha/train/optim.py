"""AdamW over float32 masters, by parameter name.

The module's parameters are the working copy that engine and trainer read. In float32 they are their
own masters; in bfloat16 the optimizer keeps a float32 master of each, accumulates gradients in
float32 as they appear (the bfloat16 gradient is freed at once), and writes the rounded master back
after the step. Memory of a trained bfloat16 parameter: 2 + 4 + 4 + 4 + 4 = 18 bytes.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from aha.config import OptimConfig


def learning_rate(step: int, total: int, config: OptimConfig) -> float:
    """Rate of optimizer step `step` (0-based) of `total`."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    done = min(max(done, 0.0), 1.0)
    left = 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return config.lr * (config.min_lr_share + (1 - config.min_lr_share) * left)


class Optimizer:
    """Accumulate gradients over micro-batches, then one clipped AdamW step.

    Args:
        module: its trainable parameters are updated, named as in `named_parameters()`.
        total_steps: length of the learning-rate schedule.
    """

    def __init__(self, module: nn.Module, config: OptimConfig, total_steps: int) -> None:
        self.config, self.total = config, total_steps
        self.parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError("the model has no trainable parameter")
        self.masters: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            if parameter.dtype == torch.float32:
                self.masters[name] = parameter
                continue
            master = parameter.detach().float().clone()
            self.masters[name] = master

            room = torch.empty_like(master)  # kept: allocating it anew each step fragments memory

            def keep(p: Tensor, master: Tensor = master, room: Tensor = room) -> None:
                assert p.grad is not None
                if master.grad is None:
                    master.grad = room.copy_(p.grad)
                else:
                    master.grad.add_(p.grad)
                p.grad = None

            parameter.register_post_accumulate_grad_hook(keep)
        decayed: list[Tensor] = []
        plain: list[Tensor] = []
        for name, master in self.masters.items():
            matrix = master.dim() >= 2 and "embed" not in name
            (decayed if matrix else plain).append(master)
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(
            [g for g in groups if g["params"]],
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            fused=True,
        )

    def step(self, number: int) -> tuple[float, float, bool]:
        """Clip and update with the accumulated gradients, then forget them.

        Returns:
            gradient norm before clipping, learning rate, and whether the update was made: a norm
            that is not finite skips it and leaves everything as it was.
        """
        lr = learning_rate(number, self.total, self.config)
        gradients = [m.grad for m in self.masters.values() if m.grad is not None]
        if not gradients:  # nothing informative in the whole step
            return 0.0, lr, True
        total = torch.nn.utils.get_total_norm(gradients)
        norm = float(total)
        made = math.isfinite(norm)
        if made:
            clip = self.config.grad_clip
            torch.nn.utils.clip_grads_with_norm_(self.masters.values(), clip, total)
            for group in self.adam.param_groups:
                group["lr"] = lr
            self.adam.step()
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    if self.masters[name] is not parameter:
                        parameter.copy_(self.masters[name])
        self.forget()
        return norm, lr, made

    def forget(self) -> None:
        """Drop accumulated gradients."""
        for master in self.masters.values():
            master.grad = None

    def state(self) -> dict[str, Tensor]:
        """Masters and moments, float32, by parameter name."""
        tensors = {}
        for name, master in self.masters.items():
            tensors[f"master/{name}"] = master.detach()
            moments = self.adam.state.get(master)
            if moments:
                tensors[f"exp_avg/{name}"] = moments["exp_avg"]
                tensors[f"exp_avg_sq/{name}"] = moments["exp_avg_sq"]
                tensors[f"step/{name}"] = moments["step"].reshape(1)
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave; every tensor is copied into fresh, aligned memory.

        Raises:
            ValueError: names or shapes differ from this model's.
        """
        wanted = {f"master/{name}" for name in self.masters}
        found = {name for name in tensors if name.startswith("master/")}
        if wanted != found:
            odd = sorted(wanted ^ found)[:3]
            raise ValueError(f"optimizer state is of another model: {', '.join(odd)}")
        for name, master in self.masters.items():
            saved = tensors[f"master/{name}"]
            if saved.shape != master.shape:
                raise ValueError(
                    f"optimizer state of another model: {name} is {tuple(saved.shape)}, "
                    f"the model has {tuple(master.shape)}"
                )
            master.copy_(saved)
            if self.parameters[name] is not master:
                self.parameters[name].copy_(saved)
            self.adam.state.pop(master, None)
            if f"exp_avg/{name}" in tensors:
                moments = {
                    key: tensors[f"{key}/{name}"].to(master.device, copy=True)
                    for key in ("exp_avg", "exp_avg_sq", "step")
                }
                self.adam.state[master] = moments | {"step": moments["step"].reshape(())}
