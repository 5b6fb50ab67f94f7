"""New parameters beside the old ones that leave the model's function as it is: more decoder blocks, or wider MLPs.

    blocks  h <- h + 0 Attn(h),  h <- h + 0 MLP(h):  a copy of a block whose two output projections are 0, biases too
    width   MLP(h) = W_out f(W_in h) + 0 f(W'_in h):  further hidden units whose output weights are 0

LLaMA Pro (Wu et al. 2024, arXiv 2401.02415) cuts the blocks into groups and puts a copy of each group's top block
behind it; a later growth copies the same block again, behind the earlier copies. Widening follows ELLE (Qin et al.
2022, arXiv 2203.06311), which copies random units with their outputs and shares these out among the copies; here the
inputs alone are copied, so that no old weight changes and the new units can be trained alone.

Everything old is frozen; the new parameters are float32. A new block takes its place in the model's list of blocks: the
numbers of the blocks behind it, and so the names of their parameters, grow by one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.layer_checkpoints import decoder_blocks
from cmt_cli.core.learner import Learner
from cmt_cli.layers.architecture import OUTPUT_NAMES, linear_sizes

GROWTH = "growth_index"  # attribute of an added block


class Expansion(Protocol):
    """A way to grow a model; growths are numbered from 0."""

    @property
    def learning_rate(self) -> float | None:
        """Return the peak rate that suits the new parameters."""

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Grow once and return the new parameters."""

    def grow(self, learner: Learner, index: int) -> list[nn.Parameter]:
        """Add growth number `index`, freeze everything else and return the new parameters."""

    def remove(self, learner: Learner, index: int) -> None:
        """Take growth number `index`, the newest, out of the model."""

    def parameters(self, learner: Learner, index: int) -> list[nn.Parameter]:
        """Return the parameters of growth number `index`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """`num_new_blocks` more decoder blocks per growth, one behind each of as many groups of the old ones."""

    num_new_blocks: int
    learning_rate: float | None = None  # peak, for budgets that leave theirs open

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Grow once and return the new parameters."""
        return self.grow(learner, 0)

    def grow(self, learner: Learner, index: int) -> list[nn.Parameter]:
        """Insert the copies. Raises UserError where the model has fewer blocks, is quantized or not known."""
        model, blocks = learner.model, decoder_blocks(learner.model)
        old = [place for place, block in enumerate(blocks) if GROWTH not in vars(block)]
        order = list(range(len(blocks)))
        for top in reversed(group_tops(len(old), self.num_new_blocks)):  # the places below stay as they are
            place = old[top + 1] if top + 1 < len(old) else len(blocks)
            added = silent_copy(blocks[old[top]], shared=(model.config, model.config.get_text_config()))
            setattr(added, GROWTH, index)
            blocks.insert(place, added)
            order.insert(place, old[top])
        _renumber(model, blocks, order)
        return _train_only(learner, self.parameters(learner, index))

    def remove(self, learner: Learner, index: int) -> None:
        """Take the copies out again."""
        blocks = decoder_blocks(learner.model)
        places = [place for place, block in enumerate(blocks) if vars(block).get(GROWTH) == index]
        order = [place for place in range(len(blocks)) if place not in places]
        for place in reversed(places):
            del blocks[place]
        _renumber(learner.model, blocks, order)

    def parameters(self, learner: Learner, index: int) -> list[nn.Parameter]:
        """Return the parameters of growth number `index`, from the lowest block."""
        added = [block for block in decoder_blocks(learner.model) if vars(block).get(GROWTH) == index]
        return [parameter for block in added for parameter in block.parameters()]


@dataclass(frozen=True, kw_only=True, slots=True)
class Width:
    """`num_new_units` more hidden units in every MLP per growth, whose inputs are those of units drawn at random."""

    num_new_units: int
    seed: int
    learning_rate: float | None = None  # peak, for budgets that leave theirs open

    def apply(self, learner: Learner) -> list[nn.Parameter]:
        """Grow once and return the new parameters."""
        return self.grow(learner, 0)

    def grow(self, learner: Learner, index: int) -> list[nn.Parameter]:
        """Add the units. Raises UserError where the model is quantized or not known."""
        generator = torch.Generator().manual_seed(self.seed + index)
        for block in decoder_blocks(learner.model):
            mlp = _wider_mlp(block)
            mlp.added.append(_narrow_copy(mlp, self.num_new_units, generator))
        return _train_only(learner, self.parameters(learner, index))

    def remove(self, learner: Learner, index: int) -> None:
        """Take the units out again."""
        for module in _wider_mlps(learner.model):
            del module.added[index]

    def parameters(self, learner: Learner, index: int) -> list[nn.Parameter]:
        """Return the parameters of growth number `index`, from the lowest block."""
        return [p for module in _wider_mlps(learner.model) for p in module.added[index].parameters()]


class WiderMlp(nn.Module):
    """An MLP and further hidden units, one module for each growth; the sum of their outputs."""

    def __init__(self, base: nn.Module, output_name: str) -> None:
        """`output_name` is the base's layer that writes to the residual stream."""
        super().__init__()
        self.base = base
        self.added = nn.ModuleList()
        self.output_name = output_name

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """Return the outputs `[batch, seq, hidden]`."""
        output: Tensor = self.base(hidden)
        for units in self.added:
            output = output + units(hidden)
        return output


def group_tops(num_blocks: int, num_groups: int) -> list[int]:
    """Return the last block of each of `num_groups` groups, as equal as can be; raise UserError for too many."""
    if not 1 <= num_groups <= num_blocks:
        raise UserError(
            f"method.num_new_blocks={num_groups} does not fit a model of {counted(num_blocks, 'decoder block')}, each "
            f"of which is copied at most once per growth; give 1 to {num_blocks}."
        )
    return [(group + 1) * num_blocks // num_groups - 1 for group in range(num_groups)]


def silent_copy(block: nn.Module, *, shared: Iterable[object]) -> nn.Module:
    """Return a copy of a decoder block that adds nothing to the residual stream; `shared` objects are not copied."""
    _check_not_quantized(block)
    copied = copy.deepcopy(block, {id(part): part for part in shared})
    for name in output_layers(copied):
        for parameter in copied.get_submodule(name).parameters():
            nn.init.zeros_(parameter)
    return copied


def output_layers(block: nn.Module) -> tuple[str, str]:
    """Return the names of the layers with which a block's attention and its MLP write to the residual stream."""
    linear = [name for name, module in block.named_modules() if linear_sizes(module) is not None]
    for names in OUTPUT_NAMES:
        found = [name for name in linear if name.rsplit(".", 1)[-1] in names]
        if len(found) == 2:
            return found[0], found[1]
    raise UserError(
        f"The decoder block {type(block).__name__} does not have exactly one known output projection in its attention "
        f"and one in its MLP (its linear layers: {', '.join(linear) or 'none'}), so it cannot be grown without "
        "changing the model's function. Use a Llama-like model, GPT-2 or GPT-NeoX without adapters or experts in it."
    )


def _check_not_quantized(module: nn.Module) -> None:
    if not all(parameter.is_floating_point() for parameter in module.parameters()):
        raise UserError(
            "The model is quantized, and new blocks or units start as copies that are trained in float32. Load it with "
            "model.quantization=null, e.g. in bf16, or use a method with adapters, such as inc_lora."
        )


def _renumber(model: Any, blocks: nn.ModuleList, order: Sequence[int]) -> None:
    """Make the configuration and the blocks agree; `order` holds each block's place before, a copy its source's."""
    config = model.config.get_text_config()
    for key, values in list(vars(config).items()):
        if "layer" in key and isinstance(values, list) and len(values) == config.num_hidden_layers:  # `layer_types`
            setattr(config, key, [values[place] for place in order])
    config.num_hidden_layers = len(blocks)
    for place, block in enumerate(blocks):
        for module in block.modules():
            if "layer_idx" in vars(module):  # a layer's place in the cache of keys and values
                vars(module)["layer_idx"] = place


def _train_only(learner: Learner, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    learner.model.requires_grad_(False)
    chosen = {id(parameter) for parameter in parameters}
    return learner.unfreeze(name for name, parameter in learner.model.named_parameters() if id(parameter) in chosen)


def _wider_mlps(module: nn.Module) -> list[WiderMlp]:
    return [part for part in module.modules() if isinstance(part, WiderMlp)]


def _wider_mlp(block: nn.Module) -> WiderMlp:
    """Return the block's MLP, made able to hold further units."""
    known = _wider_mlps(block)
    if known:
        return known[0]
    path, _, output_name = output_layers(block)[1].rpartition(".")
    above, _, name = path.rpartition(".")
    wider = WiderMlp(block.get_submodule(path), output_name)
    block.get_submodule(above).add_module(name, wider)
    return wider


def _narrow_copy(mlp: WiderMlp, num_units: int, generator: torch.Generator) -> nn.Module:
    """Return an MLP of `num_units` hidden units, whose inputs are those of random units and whose outputs are 0."""
    _check_not_quantized(mlp.base)
    linear = {name: child for name, child in mlp.base.named_children() if linear_sizes(child) is not None}
    width, hidden = linear_sizes(linear[mlp.output_name]) or (0, 0)
    chosen = torch.randint(width, (num_units,), generator=generator)
    narrow = copy.copy(mlp.base)
    narrow.__dict__["_modules"] = dict(mlp.base._modules)  # the shallow copy shares the original's
    for name, layer in linear.items():
        is_output = name == mlp.output_name
        if not is_output and (linear_sizes(layer) or (0, 0))[1] != width:
            raise UserError(f"'{name}' of {type(mlp.base).__name__} does not make one value per hidden unit.")
        made = _silent(layer, num_units, hidden) if is_output else _rows(layer, chosen)
        setattr(narrow, name, made.to(next(layer.parameters()).device))
    return narrow


def _silent(layer: nn.Module, num_inputs: int, num_outputs: int) -> nn.Linear:
    """Return a float32 linear layer of zeros, with a bias where `layer` has one."""
    made = nn.Linear(num_inputs, num_outputs, bias=layer._parameters.get("bias") is not None)
    for parameter in made.parameters():
        nn.init.zeros_(parameter)
    return made


def _rows(layer: nn.Module, chosen: Tensor) -> nn.Linear:
    """Return a float32 linear layer that makes the outputs `chosen` `[units]` of a linear layer or a `Conv1D`."""
    weight, bias = layer.get_parameter("weight").detach(), layer._parameters.get("bias")
    weight = weight if isinstance(layer, nn.Linear) else weight.T
    made = nn.Linear(weight.shape[1], len(chosen), bias=bias is not None)
    with torch.no_grad():
        made.weight.copy_(weight[chosen.to(weight.device)])
        if bias is not None:
            made.bias.copy_(bias[chosen.to(bias.device)])
    return made
