"""Model expansion: new decoder blocks, or wider MLPs, are trained while everything old stays frozen.

LLaMA Pro (Wu et al. 2024, arXiv 2401.02415) adds the blocks once, before it is trained on further data; widening is
that of ELLE (Qin et al. 2022, arXiv 2203.06311). `layers/expansion.py` has both. A growth leaves the model's function
as it is, so forgetting comes only from what the new parameters learn. With grows=each_task every task gets parameters
of its own on top of the frozen ones of the tasks before, all of which act in every answer, whatever its task.

Deviations from ELLE: no domain prompts, no replay of old texts (a combination with `replay` has it), and the old
weights are frozen. With grows=each_task blocks change their numbers, so that a combination with a member that keeps
values by the parameters' names (`l2`, `ewc`, `mas`, a teacher) is refused; grows=once and expansion=width fit.
"""

from __future__ import annotations

from typing_extensions import override

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.parameter_values import num_bytes
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import Episodes, Task
from cmt_cli.layers.expansion import Blocks, Expansion, Width
from cmt_cli.methods.sequential.finetune import FineTune

EXPANSIONS = ("blocks", "width")
TIMES = ("once", "each_task")


class ModelExpansion(FineTune):
    """Grows the model and trains the newest growth."""

    def __init__(
        self,
        *,
        expansion: str,
        num_new_blocks: int,
        num_new_units: int,
        grows: str,
        learning_rate: float | None = None,
        seed: int,
    ) -> None:
        """`expansion` is one of `EXPANSIONS`, `grows` one of `TIMES`; the numbers are per growth, units per MLP.

        `learning_rate` is the peak of budgets that leave theirs open.
        """
        self._expansion: Expansion = Blocks(num_new_blocks=num_new_blocks, learning_rate=learning_rate)
        if one_of(expansion, EXPANSIONS, "method.expansion") == "width":
            if num_new_units < 1:
                raise UserError(f"method.num_new_units={num_new_units}, but a growth has at least one unit.")
            self._expansion = Width(num_new_units=num_new_units, seed=seed, learning_rate=learning_rate)
        elif num_new_blocks < 1:
            raise UserError(f"method.num_new_blocks={num_new_blocks}, but a growth has at least one block.")
        super().__init__(trainable=self._expansion)
        self._grows_each_task = one_of(grows, TIMES, "method.grows") == "each_task"
        self.renames_parameters = self._grows_each_task and expansion == "blocks"
        self._num_growths = 0
        self._learner: Learner | None = None

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Grow, unless each task brings its own growth."""
        self._learner = learner
        self.device = learner.device
        if not self._grows_each_task:
            self._grow(learner)

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        """Add the task's growth and freeze the older ones."""
        super().before_task(learner, task)
        if self._grows_each_task:
            self._grow(learner)

    @override
    def state_dict(self) -> State:
        """Return the number of growths; the learner saves their values."""
        return {**super().state_dict(), "num_growths": self._num_growths}

    @override
    def load_state_dict(self, state: State) -> None:
        """Grow, or take newer growths away, until there are as many as were saved."""
        super().load_state_dict(state)
        assert self._learner is not None, "before_stream comes first"
        while self._num_growths < state["num_growths"]:
            self._grow(self._learner)
        while self._num_growths > state["num_growths"]:
            self._num_growths -= 1
            self._expansion.remove(self._learner, self._num_growths)

    @override
    def storage_bytes(self) -> int:
        """Return the bytes of the frozen growths of past tasks: all but the newest."""
        if self._learner is None:
            return 0
        learner, past = self._learner, range(self._num_growths - 1)
        return super().storage_bytes() + num_bytes(p for i in past for p in self._expansion.parameters(learner, i))

    def _grow(self, learner: Learner) -> None:
        self._expansion.grow(learner, self._num_growths)
        self._num_growths += 1
