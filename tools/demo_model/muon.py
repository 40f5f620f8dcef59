"""Muon for the matrices (Jordan et al., 2024): momentum, orthogonalised by Newton-Schulz."""

import torch

# Quintic iteration: these coefficients push singular values towards 1 within five steps.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalize(g, steps=5):
    """g: [n, rows, cols] -> the nearest semi-orthogonal matrices, roughly."""
    x = (g.mT if g.size(-2) > g.size(-1) else g).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    x = x.to(g.dtype)
    return x.mT if g.size(-2) > g.size(-1) else x


class Muon(torch.optim.Optimizer):
    """Matrices of one shape are stacked and orthogonalised together."""

    def __init__(self, params, lr=0.02, momentum=0.95, weight_decay=0.01):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                by_shape.setdefault(p.shape, []).append(p)
            for shape, params in by_shape.items():
                updates = orthogonalize(torch.stack([self._nesterov(p, group["momentum"]) for p in params]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for p, update in zip(params, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update, alpha=-group["lr"] * scale)

    def _nesterov(self, p, momentum):
        buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
        buffer.lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(buffer, momentum)
