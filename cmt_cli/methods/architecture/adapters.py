"""AdapterCL: one set of bottleneck adapters per task, chosen by perplexity where the task is not told.

    h <- h + W_up,t relu(W_down,t LN(h) + b_down,t) + b_up,t    behind every decoder block, trained on task t alone
    t* = argmin_t perplexity of the question under the adapters of task t

Madotto et al. 2021, "Continual Learning in Task-Oriented Dialogue Systems" (arXiv 2012.15504), with the adapters of
`layers/bottleneck.py`. The model holds the adapters of one task; those of past tasks are kept on the CPU and put in
their place for a task's questions (`controls/single_task.py`), so that all but one are inactive by construction and
cost no device memory. Before the first task the base model answers, and every new task starts from it.

The authors' loss covers the question's tokens like the answer's, and their choice of a task rests on it: an adapter
that never learned to predict questions has no say about them. `learns_questions` does that; it changes nothing on
documents. Of a chat template's tokens none is learned but the end of the answer.
Deviations: up-projections and biases start at exactly 0, and every task's adapter at the same W_down.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from typing_extensions import override

from cmt_cli.core.batch import Batch
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.objectives import Fit
from cmt_cli.core.prompt_format import PromptFormat
from cmt_cli.core.stream import Example, Task
from cmt_cli.methods.controls.single_task import SingleTask


class Adapters(SingleTask):
    """Trains one adapter per task, from the same start."""

    def __init__(self, *, trainable: Trainable, learns_questions: bool) -> None:
        """`trainable` is the adapter; `learns_questions` lets the loss cover the tokens of prompts as well."""
        super().__init__(trainable=trainable)
        self._learns_questions = learns_questions

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        """Learn the examples, their prompts as well if set so."""
        is_text = self._learns_questions and learner.prompt_format.is_plain
        fit.on_examples([as_text(example) for example in task.train] if is_text else task.train)

    @override
    def mix_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Return the batch with the texts of prompts as labels where they are learned and stand in a template."""
        batch = super().mix_batch(learner, batch)
        in_turns = self._learns_questions and not learner.prompt_format.is_plain
        return with_prompts(batch, learner.prompt_format) if in_turns else batch


def as_text(example: Example) -> Example:
    """Return an example whose prompt is a part of what is learned."""
    return replace(example, prompt="", target=example.prompt + example.target)


def with_prompts(batch: Batch, prompt_format: PromptFormat) -> Batch:
    """Return a batch whose labels are the prompts' own texts, too, without the tokens of a template around them."""
    num_read = batch.is_prompt.sum(dim=1, keepdim=True)
    place = torch.arange(batch.labels.shape[1], device=batch.labels.device)
    first, last = len(prompt_format.head_ids), num_read - len(prompt_format.tail_ids)
    is_text = batch.is_prompt & (place >= first) & (place < last)
    return replace(batch, labels=torch.where(is_text, batch.input_ids, batch.labels))
