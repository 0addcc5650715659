"""Layers, a model and a trainer whose activations are offloaded without a context around them."""

from __future__ import annotations

import torch
from torch import nn

from . import _C

__all__ = ["StormLayer", "StormModel", "StormTrainer", "convert"]

_storm_forward = torch.ops.pamiq_storm.storm_forward.default
_NO_ID = -1


class StormLayer(nn.Linear):
    """A drop-in for ``nn.Linear``: (..., in_features) -> (..., out_features), the same numbers to the last bit.

    On an accelerator the input it saves for backward leaves the device, through the innermost ``with offload(...)``
    or, outside any, through the device's default engine. Other layers save for themselves: a ReLU in front keeps
    the same bytes on the device unless it runs inside ``offload`` too.

    Args:
        in_features: Size of each input.
        out_features: Size of each output.
        layer_id: A label for traces; two layers may carry the same.
        bias: Whether to add a learned bias.
        device: Where the parameters are.
        dtype: Of the parameters, floating or complex.

    Raises:
        ValueError: ``layer_id`` is negative.
        RuntimeError: In forward, when the input fits the weight in neither shape, dtype nor device.
    """

    layer_id: int | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        layer_id: int | None = None,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if layer_id is not None and (isinstance(layer_id, bool) or layer_id < 0):
            raise ValueError(f"layer_id must be None or a number from 0, got {layer_id!r}")
        super().__init__(in_features, out_features, bias, device, dtype)
        self.layer_id = layer_id

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (nn.Linear's own name)
        layer_id = _NO_ID if self.layer_id is None else self.layer_id
        return _storm_forward(input, self.weight, self.bias, layer_id)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, layer_id={self.layer_id}"


class StormModel(nn.Module):
    """Three ``StormLayer`` with ReLU between: (..., input_size) -> (..., output_size).

    What the ReLUs save is offloaded too, through the same engine as the layers.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            StormLayer(input_size, hidden_size, 0, device=device),
            nn.ReLU(),
            StormLayer(hidden_size, hidden_size, 1, device=device),
            nn.ReLU(),
            StormLayer(hidden_size, output_size, 2, device=device),
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (as in torch's modules)
        if torch.compiler.is_compiling():
            return self.layers(input)
        with _C.DefaultScope(input):
            return self.layers(input)


class StormTrainer:
    """A ``StormModel`` trained on the mean squared error with Adam."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        learning_rate: float,
        *,
        device: torch.device | str | None = None,
    ) -> None:
        self.model = StormModel(input_size, hidden_size, output_size, device=device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=learning_rate)

    def train_step(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """One step of Adam.

        Args:
            input: (..., input_size), on the model's device.
            target: (..., output_size), likewise.

        Returns:
            The loss before the step: a scalar on the device, without history. Does not synchronise.

        Raises:
            ValueError: The target has not the output's shape or device.
        """
        self.optimizer.zero_grad()
        output = self.model(input)
        if target.shape != output.shape:
            raise ValueError(
                f"train_step needs a target of the output's shape {list(output.shape)}, got {list(target.shape)}"
            )
        if target.device != output.device:
            raise ValueError(
                f"train_step needs a target on {output.device}, where the model is, got one on {target.device}"
            )
        loss = nn.functional.mse_loss(output, target)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def convert(model: nn.Module) -> nn.Module:
    """Turn every ``nn.Linear`` of ``model`` into a ``StormLayer``, in place, and return the model.

    The very modules stay, under a new class: parameters, tied weights, hooks, modes and every reference to them
    are untouched. Subclasses of ``nn.Linear`` are left alone, since they may compute something else. Layers are
    numbered in module order; those that are StormLayers already keep their number.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"convert takes an nn.Module, got {type(model).__name__}")
    layers = [module for module in model.modules() if type(module) in (nn.Linear, StormLayer)]
    for index, layer in enumerate(layers):
        if type(layer) is nn.Linear:
            layer.__class__ = StormLayer
            layer.__dict__["layer_id"] = index
    return model
