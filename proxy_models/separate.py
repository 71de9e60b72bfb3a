"""The same models one after another: the plain Transformer and torch's own optimizer, in one process that is compiled
once. What the stack is held to, and what trains where stacking does not pay."""

import torch
from torch import Tensor

from proxy_models.model import ModelConfig, Transformer
from proxy_models.optimization import AdamW
from proxy_models.stacked import Models


class Separate(Models):
    """One model, to be loaded with one run's state after another; a stack of one to its caller (K = 1)."""

    def __init__(
        self,
        config: ModelConfig,
        optimizer: AdamW,
        precision: str = "float32",
        device: str = "cpu",
        is_compiled: bool = False,
    ) -> None:
        super().__init__(config, 1, optimizer, precision, device)
        self.model = Transformer(config).to(self.device, self.precision.weights)
        means, squares = self.layout.views(self.means), self.layout.views(self.squares)
        # A float on the GPU would be part of a captured step for ever.
        rate_dtype = torch.float64 if self.device.type == "cpu" else torch.float32
        self.torch_optimizer = optimizer.of(self.model, torch.zeros((), dtype=rate_dtype, device=self.device))
        for name, parameter in self.model.named_parameters():
            # In place of its own memory: state and load_state are then those of any other Models.
            parameter.data = self.weights[name][0]
            self.torch_optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=self.device),
                "exp_avg": means[name][0],
                "exp_avg_sq": squares[name][0],
            }
        # torch's fused kernels leave everything as it is where this is 1, as for a gradient scaler.
        self.is_dead = torch.zeros((), dtype=torch.float32, device=self.device)
        self.torch_optimizer.found_inf = self.is_dead
        self._losses = (
            torch.compile(self.model.token_losses, fullgraph=True, dynamic=False)
            if is_compiled
            else self.model.token_losses
        )

    def train_step(self, sequences: Tensor, learning_rates: Tensor, clips: Tensor) -> Tensor:
        with self._autocast():
            loss = self._losses(sequences[0]).mean()
        self.torch_optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), clips[0])
            self.alive &= (loss < self.lost) & torch.isfinite(norm)
            self.is_dead.copy_(~self.alive[0])
            for group in self.torch_optimizer.param_groups:
                group["lr"].copy_(learning_rates[0] * group["factor"])
            for state in self.torch_optimizer.state.values():
                state["step"].copy_(self.steps_taken)
            self.torch_optimizer.step()
            self.steps_alive += self.alive
            self.steps_taken += 1
        return loss.detach()[None]

    @torch.no_grad()
    def token_losses(self, sequences: Tensor) -> Tensor:
        with self._autocast():
            return self.model.token_losses(sequences)[None]

    def _autocast(self) -> torch.autocast:
        """Casts of weights are not kept from one call to the next: a captured step would keep them for ever."""
        is_mixed = self.precision.products != self.precision.weights
        return torch.autocast(self.device.type, self.precision.products, enabled=is_mixed, cache_enabled=False)
