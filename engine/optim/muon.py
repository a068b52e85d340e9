"""Muon: momentum whose update of a matrix is made orthogonal, for batches of matrices of one shape."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.plan.memory_timeline import MUON_GROUP_BYTES
from engine.plan.work import NEWTON_SCHULZ_STEPS

NEWTON_SCHULZ = (3.4445, -4.775, 2.0315)  # Jordan 2024: steepest at 0; singular values end in about 0.7 .. 1.2
SMALLEST_NORM = 1e-7


@torch.no_grad()
def muon_step(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    momenta: Sequence[Tensor],
    learning_rate: float,
    momentum: float,
    *,
    dtype: torch.dtype = torch.float32,
    group_bytes: int = MUON_GROUP_BYTES,
) -> None:
    """Update float32 matrices and their momenta in place (Jordan et al. 2024, Nesterov form).

    m = momentum m + (1 - momentum) g; w -= learning_rate sqrt(max(1, rows / columns)) orthogonal(momentum m +
    (1 - momentum) g). Orthogonalises in `dtype`, `group_bytes` of float32 matrices at a time.
    """
    for group in groups_of_one_shape(weights, group_bytes):
        chosen_gradients = [gradients[i] for i in group]
        chosen_momenta = [momenta[i] for i in group]
        chosen_weights = [weights[i] for i in group]
        rows, columns = chosen_weights[0].shape
        torch._foreach_lerp_(chosen_momenta, chosen_gradients, 1 - momentum)
        update = torch.stack(torch._foreach_lerp(chosen_gradients, chosen_momenta, momentum)).to(dtype)
        update = orthogonalize(update).float()
        scale = math.sqrt(max(1.0, rows / columns))
        torch._foreach_add_(chosen_weights, list(update.unbind()), alpha=-learning_rate * scale)
        del update  # otherwise it stays allocated together with the next group's


def orthogonalize(matrices: Tensor) -> Tensor:
    """U V^T, roughly, of each matrix U S V^T in (k, rows, columns): Newton-Schulz in the dtype given.

    Singular values come out near 1 rather than at it; the optimizer does not mind. Zero stays zero.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices  # so that the Gram matrix is the small one
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=SMALLEST_NORM)  # no singular value above 1
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


def groups_of_one_shape(matrices: Sequence[Tensor], group_bytes: int) -> list[list[int]]:
    """Indices of matrices to update together: same shape, at most `group_bytes`, but at least one in each group."""
    by_shape: dict[torch.Size, list[int]] = {}
    for index, matrix in enumerate(matrices):
        by_shape.setdefault(matrix.shape, []).append(index)
    groups = []
    for shape, indices in by_shape.items():
        size = max(1, group_bytes // (4 * shape.numel()))
        groups += [indices[i : i + size] for i in range(0, len(indices), size)]
    return groups
