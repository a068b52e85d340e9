"""The optimizer of the whole model: AdamW for embedding and head, Muon for the blocks' matrices."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engine.config.schema import OptimConfig
from engine.core.errors import NanosoloError
from engine.optim.muon import muon_step

ADAM_EPS = 1e-10
TUNED_WIDTH = 768  # the width at which the AdamW rates of the configuration hold
_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


class Optimizer:
    """All of the state is allocated at the start, so that memory use does not grow later.

    AdamW rates are those of the configuration x (width / 768)^-0.5.
    """

    def __init__(self, model: nn.Module, config: OptimConfig, width: int) -> None:
        parameters = dict(model.named_parameters())
        self._adam_parameters = {name: parameters.pop(name) for name in ("embedding.weight", "head.weight")}
        self._muon_parameters = parameters
        self._momenta = {name: torch.zeros_like(weight) for name, weight in parameters.items()}
        self._matrix_lr = config.matrix_lr
        # that of the activations: bfloat16 on CUDA, float32 on a CPU, which has no fast bfloat16
        self._muon_dtype = self._adam_parameters["embedding.weight"].dtype
        width_scale = (width / TUNED_WIDTH) ** -0.5
        self._adam_rates = [config.embedding_lr * width_scale, config.head_lr * width_scale]
        self._adam = torch.optim.AdamW(
            [{"params": [parameter]} for parameter in self._adam_parameters.values()],
            betas=(config.adam_beta1, config.adam_beta2),
            eps=ADAM_EPS,
            weight_decay=config.weight_decay,
            fused=True,
        )
        for parameter in self._adam_parameters.values():
            self._adam.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def step(self, learning_rate_scale: float, muon_momentum: float) -> None:
        """Update every weight by its gradient, with all rates multiplied by `learning_rate_scale`."""
        for group, rate in zip(self._adam.param_groups, self._adam_rates, strict=True):
            group["lr"] = rate * learning_rate_scale
        self._adam.step()
        names = [name for name, weight in self._muon_parameters.items() if weight.grad is not None]
        muon_step(
            [self._muon_parameters[name] for name in names],
            [gradient for name in names if (gradient := self._muon_parameters[name].grad) is not None],
            [self._momenta[name] for name in names],
            self._matrix_lr * learning_rate_scale,
            muon_momentum,
            dtype=self._muon_dtype,
        )

    def zero_grad(self) -> None:
        """Drop the gradients and their memory."""
        for parameter in (*self._adam_parameters.values(), *self._muon_parameters.values()):
            parameter.grad = None

    def state_tensors(self) -> dict[str, Tensor]:
        """The state itself (not copies), as `<parameter>.<what>`: momentum, or step, exp_avg and exp_avg_sq."""
        tensors = {f"{name}.momentum": momentum for name, momentum in self._momenta.items()}
        for name, parameter in self._adam_parameters.items():
            tensors |= {f"{name}.{key}": self._adam.state[parameter][key] for key in _ADAM_STATE}
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over, bit for bit, what `state_tensors` gave. Raises NanosoloError where names or shapes differ."""
        own = self.state_tensors()
        different = sorted(own.keys() ^ tensors.keys()) or [
            name for name, tensor in own.items() if tensor.shape != tensors[name].shape
        ]
        if different:
            raise NanosoloError(
                f"optimizer state {different[0]}: the checkpoint belongs to a different model. "
                "Resume it with the run.toml of its own run."
            )
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def clip_gradients(model: nn.Module, max_norm: float) -> Tensor:
    """Scale all gradients so that their global norm is at most `max_norm` (0: leave them), without a host sync.

    Returns the norm before, a scalar on the model's device.
    """
    parameters = list(model.parameters())
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if max_norm > 0:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm
