"""The state of a training: all that the rest of it depends on, besides its data and settings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from simplenet.model import SimpleNet

    Found = dict[str, float]


@dataclass
class State:
    """A network in the midst of its training."""

    net: SimpleNet
    epoch: int = 0  #: epochs that are complete
    step: int = 0  #: batches of the next one that are done
    best_epoch: int = 0  #: of the lowest validation loss; 0 as long as there is none
    best_loss: float = math.inf
    history: list[Found] = field(default_factory=list)  #: the metrics of each epoch

    def __post_init__(self) -> None:
        """Begin with AdamW's moments at zero, and the first weights as the best so far."""
        self.net.requires_grad_()
        self.weights: list[torch.Tensor] = [*self.net.parameters()]
        device = self.net.mean.device
        # The functional AdamW: an Optimizer object imports torch._dynamo, a second for nothing.
        self.moments = [torch.zeros_like(weight) for weight in self.weights]
        self.squares = [torch.zeros_like(weight) for weight in self.weights]
        self.steps = [torch.zeros((), device=device) for _ in self.weights]
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.best = [weight.detach().clone() for weight in self.weights]

    @property
    def untrained(self) -> bool:
        """Whether no step was taken: the weights are those that were drawn, or given."""
        return not self.epoch and not self.step

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every number of the state but the history, by name; tensors are not copied."""
        counters = [self.epoch, self.step, self.best_epoch, self.best_loss]
        named = {
            "counters": torch.tensor(counters, dtype=torch.float64),
            "loss_sum": self.loss_sum,
            "correct": self.correct,
        }
        for name, buffer in self.net.named_buffers():
            named[f"net.{name}"] = buffer
        for number, (name, weight) in enumerate(self.net.named_parameters()):
            named[f"net.{name}"] = weight.detach()
            named[f"moment.{name}"] = self.moments[number]
            named[f"square.{name}"] = self.squares[number]
            named[f"steps.{name}"] = self.steps[number]
            named[f"best.{name}"] = self.best[number]
        return named

    def restore(self, tensors: dict[str, torch.Tensor], history: list[Found]) -> None:
        """Take over what `tensors` gave, in place."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        epoch, step, best_epoch, self.best_loss = tensors["counters"].tolist()
        self.epoch, self.step, self.best_epoch = int(epoch), int(step), int(best_epoch)
        self.history = history

    def finite(self) -> bool:
        """Return whether all weights are numbers still."""
        return all(bool(torch.isfinite(weight).all()) for weight in self.weights)

    def result(self) -> SimpleNet:
        """Return the network to keep: the best on the validation channel, or the latest."""
        if self.best_epoch:
            with torch.no_grad():
                for weight, best in zip(self.weights, self.best, strict=True):
                    weight.copy_(best)
        return self.net
