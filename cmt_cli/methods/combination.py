"""Several methods as one: fine-tuning with the hooks of all its members, e.g. LoRA + L2 or O-LoRA + replay.

    loss = 1/N sum over labelled tokens of (product of the members' weights) * nll  +  sum of all members' penalties

Hooks are called in the order of `order`: batches are mixed and gradients adjusted by one member after the other,
factors on the learning rate are multiplied. What only one can do, at most one member may change: `learn`,
`param_groups`, `predictor`. The first member chooses what is trained; the others have trainable=unchanged. A member
that weighs the tokens of the batch it has mixed (der) counts its rows and must mix last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor
from typing_extensions import override

from cmt_cli.core.batch import Batch, Outputs, Predictor
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Fit, ParamGroup, State
from cmt_cli.core.stream import Episodes, Task
from cmt_cli.layers.trainable import Unchanged
from cmt_cli.methods.sequential.finetune import FineTune


class Combination(Method):
    """Calls every member's hooks in turn."""

    def __init__(self, *, methods: Mapping[str, FineTune], order: Sequence[str]) -> None:
        """`methods` are the members by name, `order` names each once. Raises UserError for members that cannot join."""
        if sorted(order) != sorted(methods):
            raise UserError(
                f"method.order={list(order)}, but the members are {sorted(methods)}: name each of them once."
            )
        self._members = {name: methods[name] for name in order}
        for name, member in self._members.items():
            if not isinstance(member, FineTune):
                raise UserError(
                    f"method.methods.{name}: {type(member).__name__} is not fine-tuning with something added, "
                    "so it cannot be joined with others."
                )
        self._check_trainable()
        self._check_kinds()
        self._check_mixing()
        self._check_names()
        self._learns = self._only("learn")
        self._groups = self._only("param_groups")
        self._answers = self._only("predictor")
        members = self._members.values()
        self.needs_labels = any(member.needs_labels for member in members)
        self.needs_task_id = any(member.needs_task_id for member in members)
        self.needs_hidden_states = any(member.needs_hidden_states for member in members)
        self.needs_documents = any(member.needs_documents for member in members)
        self.needs_episodes = any(member.needs_episodes for member in members)

    @property
    @override
    def learning_rate(self) -> float | None:
        """Return that of the first member, which chooses what is trained."""
        return next(iter(self._members.values())).learning_rate

    def _check_trainable(self) -> None:
        choosing = [name for name, member in self._members.items() if member.trainable != Unchanged()]
        if choosing != list(self._members)[:1]:
            others = " ".join(f"trainable@method.methods.{name}.trainable=unchanged" for name in choosing[1:])
            raise UserError(
                f"What is trained is chosen by {' and '.join(choosing) or 'no member'}, but the first member alone "
                f"({next(iter(self._members), 'there is none')}) must choose it. Let the others train what it chose: "
                f"{others or 'trainable@method.methods.NAME.trainable=unchanged'}."
            )

    def _check_names(self) -> None:
        """Raise UserError where values kept under a parameter's name would meet another parameter of that name."""
        renaming = [name for name, member in self._members.items() if member.renames_parameters]
        keeping = [name for name, member in self._members.items() if member.keeps_values_by_name]
        if renaming and keeping:
            raise UserError(
                f"{' and '.join(renaming)} gives parameters other names from task to task, under which "
                f"{' and '.join(keeping)} would find the values of others. Leave one of the two out, or let "
                f"{renaming[0]} grow once or in width."
            )

    def _check_kinds(self) -> None:
        """Raise UserError for two members of one kind that would add the same penalty."""
        kinds: dict[type[FineTune], str] = {}
        for name in self._changing("penalties"):
            other = kinds.setdefault(type(self._members[name]), name)
            if other != name:
                raise UserError(
                    f"method.methods.{other} and {name} are both {type(self._members[name]).__name__}, so that one "
                    "penalty would be added twice. Keep one of them; its weight says how much it counts."
                )

    def _check_mixing(self) -> None:
        """Raise UserError where rows would be added behind a member that has weighed the whole batch."""
        mixing = self._changing("mix_batch")
        early = [name for name in self._changing("token_weights") if name in mixing[:-1]]
        if early:
            raise UserError(
                f"method.methods.{early[0]} weighs the tokens of the batch that it has mixed, but {mixing[-1]} adds "
                f"rows behind it: in method.order={list(self._members)} put {early[0]} last."
            )

    def _only(self, hook: str) -> FineTune:
        """Return the one member that changes a hook, or the first where none does."""
        names = self._changing(hook)
        if len(names) > 1:
            raise UserError(f"Only one member of a combination may change '{hook}', but {' and '.join(names)} do.")
        return self._members[names[0]] if names else next(iter(self._members.values()))

    def _changing(self, hook: str) -> list[str]:
        """Return the members, in order, whose hook is not that of plain fine-tuning."""
        return [n for n, m in self._members.items() if getattr(type(m), hook) is not getattr(FineTune, hook)]

    @override
    def attach(self, folder: Path) -> None:
        """Give each member a folder of its own."""
        for name, member in self._members.items():
            (folder / name).mkdir(exist_ok=True)
            member.attach(folder / name)

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        for member in self._members.values():
            member.before_stream(learner, episodes, fit)

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        for member in self._members.values():
            member.before_task(learner, task)

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        self._learns.learn(learner, task, fit)

    @override
    def after_task(self, learner: Learner, task: Task) -> None:
        for member in self._members.values():
            member.after_task(learner, task)

    @override
    def mix_batch(self, learner: Learner, batch: Batch) -> Batch:
        for member in self._members.values():
            batch = member.mix_batch(learner, batch)
        return batch

    @override
    def token_weights(self, learner: Learner, batch: Batch, outputs: Outputs) -> Tensor | None:
        """Return the product of the members' weights `[batch, seq]`, None where all have none."""
        product: Tensor | None = None
        for member in self._members.values():
            weights = member.token_weights(learner, batch, outputs)
            if weights is not None:
                product = weights if product is None else product * weights
        return product

    @override
    def penalties(self, learner: Learner, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Return all members' penalties; raise UserError where two have the same name."""
        found: dict[str, Tensor] = {}
        for name, member in self._members.items():
            added = member.penalties(learner, batch, outputs)
            clashes = sorted(found.keys() & added)
            if clashes:
                raise UserError(
                    f"method.methods.{name} adds a penalty '{clashes[0]}', which another member has already: a method "
                    "cannot be joined with itself or with one of the same loss."
                )
            found |= added
        return found

    @override
    def adjust_gradients(self, learner: Learner) -> None:
        for member in self._members.values():
            member.adjust_gradients(learner)

    @override
    def param_groups(self, learner: Learner) -> Sequence[ParamGroup]:
        return self._groups.param_groups(learner)

    @override
    def lr_scale(self, step: int, num_steps: int) -> float:
        product = 1.0
        for member in self._members.values():
            product *= member.lr_scale(step, num_steps)
        return product

    @override
    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        return self._answers.predictor(learner, task_index)

    @override
    def model_alone(self, learner: Learner, task_index: int) -> Learner:
        return self._answers.model_alone(learner, task_index)

    @override
    def state_dict(self) -> State:
        """Return all members' states, each key behind its member's name."""
        return {f"{name}/{k}": value for name, m in self._members.items() for k, value in m.state_dict().items()}

    @override
    def load_state_dict(self, state: State) -> None:
        for name, member in self._members.items():
            prefix = f"{name}/"
            member.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})

    @override
    def storage_bytes(self) -> int:
        return sum(member.storage_bytes() for member in self._members.values())
