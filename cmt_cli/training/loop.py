"""The one gradient loop: accumulate, check, adjust, clip, step, save.

    for each step:  gradient of the effective batch -> method's adjustment -> clipping -> AdamW at the scheduled rate

Guarantees: a resumed fit continues bit for bit on a CPU. Where memory runs out, the same step is repeated with half the
micro-batch and the same random numbers, so the effective batch stays. A loss or gradient that is not finite stops the
run; no state that it touched is ever saved. On a CPU that is checked before every update. On other devices the flags
are collected there and read at each log and before each checkpoint, because reading them costs a synchronization.
Several ranks stay in step: whether memory ran out, a number is not finite, a stop was requested or a checkpoint is due
on one of them is agreed on by all, and the gradient is the whole batch's on each before it is adjusted.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cmt_cli.core.device_memory import free_memory, is_out_of_memory
from cmt_cli.core.exceptions import CmtWarning, Interrupted, NonFiniteLoss, UserError, counted
from cmt_cli.core.layer_checkpoints import decoder_blocks
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.mixed_precision import num_parameters
from cmt_cli.core.objectives import TOKENS, Budget, Objective, State
from cmt_cli.training.batching import BatchPlan
from cmt_cli.training.gradient_sync import broadcast_parameters, clip_gradients, sync_gradients
from cmt_cli.training.method_state import MethodState
from cmt_cli.training.optimizer import Optimizer
from cmt_cli.training.precision import forward_dtype
from cmt_cli.training.schedules import lr_factor, peak_rate
from cmt_cli.training.seeding import generator_state, restore_generators, seed_generators

if TYPE_CHECKING:
    from cmt_cli.training.trainer import FitSession

MAX_SAVING_SHARE = 0.05  # of the time that a fit may spend on checkpoints; those of a large model take minutes
GRADIENT_NORM = "gradient_norm"  # before clipping; logged beside the terms of the loss


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopSettings:
    """What all fits of a run share; see `Trainer`."""

    micro_batch_size: int | None
    precision: str
    max_steps: int | None
    log_every_steps: int
    checkpoint_every_seconds: float
    checkpoint_layers: bool
    seed: int


class GradientLoop:
    """One fit, from its first step or from a saved state."""

    def __init__(
        self,
        objective: Objective,
        budget: Budget,
        *,
        settings: LoopSettings,
        method: Method,
        session: FitSession,
        learner: Learner,
    ) -> None:
        """Plan the steps; parameters and optimizer are taken up in `run`."""
        if settings.checkpoint_layers:
            decoder_blocks(learner.model)  # an error where there are none, ahead of the first step
        self._objective = objective
        self._budget = budget
        self._settings = settings
        self._method = method
        self._session = session
        self._device = learner.device
        self._mixed_precision = learner.mixed_precision
        self._layer_checkpoints = learner.layer_checkpoints
        self._forward_dtype = forward_dtype(settings.precision, learner.device, num_parameters(learner.model))
        self._process_group = learner.processes
        self._plan = BatchPlan(
            objective.num_items, objective.lengths(), budget=budget, max_steps=settings.max_steps, seed=settings.seed
        )
        self._step = 0
        self._num_tokens = torch.zeros((), dtype=torch.long, device=self._device)
        self._micro_batch_size = min(settings.micro_batch_size or budget.batch_size, budget.batch_size)
        self._not_finite = torch.zeros((), dtype=torch.bool, device=self._device)
        self._window: list[dict[str, Tensor]] = []
        self._saved_at = 0.0
        self._save_seconds = 0.0  # of the last save

    def run(
        self,
        description: str,
        *,
        adjust_gradients: Callable[[], None],
        lr_scale: Callable[[int, int], float],
        between_steps: Callable[[int], None] | None = None,
    ) -> None:
        """Take all steps; raise Interrupted on a requested stop, NonFiniteLoss, or UserError when memory runs out.

        `between_steps` is called with the number of steps taken, before each step but the first. Where it raises
        Interrupted, a resumed fit calls it again.
        """
        if self._plan.num_steps == 0:
            return
        self._start()
        self._peak_rate = peak_rate(self._budget, self._method)
        self._saved_at = time.monotonic()
        self._session.progress(description, self._step, self._plan.num_steps)
        while self._step < self._plan.num_steps:
            if between_steps is not None and self._step > 0:
                self._call(between_steps)
            with self._layer_checkpoints.using(self._settings.checkpoint_layers):
                terms = self._accumulate()
                self._num_tokens += terms.pop(TOKENS, self._plan.num_tokens(self._step) or 0)  # read only at a log
                adjust_gradients()
            norm = clip_gradients(self._optimizer.parameters, self._budget.max_grad_norm, self._process_group)
            self._note(terms, norm)
            rate = self._learning_rate() * lr_scale(self._step, self._plan.num_steps)
            self._update(rate)
            self._report(description, rate)
            if self._session.stop_requested():
                self._save()
                raise Interrupted(f"after step {self._step} of {self._plan.num_steps}")
            if not any(self._process_group.any(self._is_too_early())):
                self._save()
        self._check_finite()
        self._optimizer.zero_grad()

    def _call(self, between_steps: Callable[[int], None]) -> None:
        try:
            between_steps(self._step)
        except Interrupted:
            self._save()
            raise

    def _start(self) -> None:
        seed_generators(self._settings.seed)
        self._method_state = MethodState(self._method)
        saved = self._session.load()
        if saved is None:
            self._optimizer = Optimizer(self._objective.param_groups(), self._budget)
            broadcast_parameters(self._optimizer.parameters, self._process_group)
            return
        if (saved["num_steps"], saved["num_items"]) != (self._plan.num_steps, self._objective.num_items):
            raise RuntimeError(
                f"The checkpoint is of a fit with {counted(saved['num_items'], 'item')} and "
                f"{counted(saved['num_steps'], 'step')}; this one has {self._objective.num_items} and "
                f"{self._plan.num_steps}."
            )
        self._method_state.restore(_part(saved, "method."), saved.get("method_without", []))
        self._objective.load_state_dict(_part(saved, "objective."))
        self._optimizer = Optimizer(self._objective.param_groups(), self._budget)
        self._optimizer.load_state_dict(_part(saved, "optimizer."))
        self._step = saved["step"]
        self._num_tokens += saved["num_tokens"]
        self._micro_batch_size = saved["micro_batch_size"]
        restore_generators(_part(saved, "generators."))

    def _is_too_early(self) -> bool:
        pause = self._settings.checkpoint_every_seconds
        if pause > 0:  # 0 saves after every step
            pause = max(pause, self._save_seconds / MAX_SAVING_SHARE)
        return time.monotonic() - self._saved_at < pause

    def _save(self) -> None:
        started = time.monotonic()
        self._check_finite()
        changed, gone = self._method_state.changes()
        self._session.save(
            {
                "step": self._step,
                "num_steps": self._plan.num_steps,
                "num_items": self._objective.num_items,
                "num_tokens": int(self._num_tokens),
                "micro_batch_size": self._micro_batch_size,
                **_prefixed(self._optimizer.state_dict(), "optimizer."),
                **_prefixed(self._objective.state_dict(), "objective."),
                **_prefixed(changed, "method."),
                "method_without": gone,
                **_prefixed(generator_state(), "generators."),
            }
        )
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - started

    def _accumulate(self) -> dict[str, Tensor]:
        items = self._plan.items(self._step)
        generators = generator_state()
        while True:
            self._optimizer.zero_grad()
            terms, failure = self._backward(items)
            parameters = self._optimizer.parameters
            failed, *has_gradient = self._process_group.any(
                failure is not None, *(parameter.grad is not None for parameter in parameters)
            )
            if not failed:
                is_data_parallel = self._objective.is_data_parallel
                sync_gradients(parameters, has_gradient, self._process_group, is_data_parallel=is_data_parallel)
                return terms
            # Outside the handler, so that the error's traceback no longer holds the failed pass's activations.
            self._halve_micro_batch(failure or "on another rank")
            restore_generators(generators)

    def _backward(self, items: Sequence[int]) -> tuple[dict[str, Tensor], str | None]:
        """Return the terms, or how the device said that memory ran out."""
        try:
            with self._mixed_precision.using(self._forward_dtype):
                terms = self._objective.backward(
                    items,
                    micro_batch_size=self._micro_batch_size,
                    step=self._step,
                    num_steps=self._plan.num_steps,
                )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = str(error).partition("\n")[0]
            together = self._process_group.is_sharded or self._objective.has_collectives
            if together and self._process_group.world_size > 1:  # the others wait inside the pass
                raise UserError(
                    f"Memory ran out in step {self._step + 1} ({message}). Several ranks cannot repeat this step "
                    "with smaller parts: lower trainer.micro_batch_size, or start more processes."
                ) from error
            return {}, message
        return terms, None

    def _halve_micro_batch(self, message: str) -> None:
        self._optimizer.zero_grad()
        free_memory()
        if self._micro_batch_size == 1:
            raise UserError(
                f"Memory ran out in step {self._step + 1} although the batch was already cut into single items "
                f"({message}). Set trainer.checkpoint_layers=true, lower model.max_tokens, load the model in bf16 or 4 "
                "bit, take a smaller model or use a larger device."
            )
        self._micro_batch_size //= 2
        warnings.warn(
            f"Memory ran out in step {self._step + 1}: from here on a batch is read in parts of "
            f"{self._micro_batch_size}, which changes numbers by rounding alone.",
            CmtWarning,
            stacklevel=2,
        )

    def _learning_rate(self) -> float:
        budget = self._budget
        factor = lr_factor(
            self._step, self._plan.num_steps, schedule=budget.schedule, warmup_fraction=budget.warmup_fraction
        )
        return self._peak_rate * factor

    def _note(self, terms: dict[str, Tensor], gradient_norm: Tensor) -> None:
        self._window.append({**terms, GRADIENT_NORM: gradient_norm})
        self._not_finite = self._not_finite | ~torch.isfinite(terms["loss"] + gradient_norm)
        if self._device.type == "cpu":
            self._check_finite()

    def _check_finite(self) -> None:
        if any(self._process_group.any(bool(self._not_finite))):
            terms = {name: float(value) for name, value in self._window[-1].items()} if self._window else {}
            shown = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
            raise NonFiniteLoss(
                f"The loss or its gradient stopped being a finite number at or before step {self._step + 1} of "
                f"{self._plan.num_steps} ({shown}). The last checkpoint is kept. Usual remedies: a lower "
                "learning rate, more warm-up, tighter clipping, fp32."
            )

    def _update(self, rate: float) -> None:
        self._optimizer.step(rate)
        self._objective.after_step(self._step, self._plan.num_steps)
        self._step += 1

    def _report(self, description: str, rate: float) -> None:
        self._session.progress(description, self._step, self._plan.num_steps)
        if self._step % self._settings.log_every_steps and self._step < self._plan.num_steps:
            return
        self._check_finite()
        values = {"learning_rate": rate, "tokens": float(self._num_tokens), **self._whole(_means(self._window))}
        self._session.log(values, self._step)
        self._window = []

    def _whole(self, means: dict[str, float]) -> dict[str, float]:
        """Return the terms of whole batches; the norm is that of the whole gradient on every rank."""
        if not self._objective.is_data_parallel:
            return means
        shares: list[dict[str, float]] = self._process_group.gather(means)
        names = list(dict.fromkeys(name for share in shares for name in share))
        sums = {name: sum(share.get(name, 0.0) for share in shares) for name in names}
        return {**sums, GRADIENT_NORM: means[GRADIENT_NORM]}


def _means(window: list[dict[str, Tensor]]) -> dict[str, float]:
    """Return each term's mean over the steps that have it, read from the device in one transfer."""
    names = list(dict.fromkeys(name for terms in window for name in terms))
    means = [torch.stack([terms[name].float() for terms in window if name in terms]).mean() for name in names]
    return dict(zip(names, torch.stack(means).tolist(), strict=True))


def _prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def _part(state: State, prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
