"""In-context learning: the frozen model reads demonstrations of the tasks learned so far in front of each question.

    demonstration_1, separator, ..., demonstration_n, separator, question          a demonstration is prompt and target

Few-shot prompting (Brown et al. 2020, arXiv 2005.14165). Demonstrations come from the question's task, where the stream
tells it and it has been learned, else from all tasks: drawn at random for each question, or those most similar to it
(Liu et al. 2022, arXiv 2101.06804) by BM25, which stands in for the paper's sentence encoder. The most similar one
stands next to the question; where there is a chat template, all of it is one user turn. What does not fit is left out
by whole demonstrations from the front: one without its answer would teach the model to leave questions open. A control
without training that a trained method should beat.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Method
from cmt_cli.core.objectives import Fit, State
from cmt_cli.core.setting_checks import not_negative, one_of
from cmt_cli.core.stream import Answer, Episodes, Example, Prompt, Task
from cmt_cli.core.tokens import longest_answers
from cmt_cli.memory.example_buffer import ExampleBuffer
from cmt_cli.memory.lexical_index import Bm25 as Bm25Index
from cmt_cli.methods.replay.rehearsal import pooled_features

RANDOM, SIMILAR = "random", "similar"


class InContext(Method):
    """Keeps examples and puts some of them into the prompt."""

    needs_labels = True
    answers_with = "examples that it keeps and puts in front of each question"

    def __init__(
        self,
        *,
        buffer: ExampleBuffer,
        num_demonstrations: int,
        choice: str,
        separator: str,
        k1: float,
        b: float,
        seed: int,
    ) -> None:
        """`choice` is "random", drawn by `seed` and the question, or "similar", by BM25 with `k1` and `b`."""
        self._buffer = buffer
        self._num = int(not_negative(num_demonstrations, "method.num_demonstrations"))
        self._is_random = one_of(choice, (RANDOM, SIMILAR), "method.choice") == RANDOM
        self._separator = separator
        self._k1, self._b = k1, b
        self._seed = seed
        self._indices: dict[int | None, Bm25Index] = {}  # of a task's examples, None: of all; made when needed

    @override
    def before_stream(self, learner: Learner, episodes: Episodes, fit: Fit) -> None:
        """Leave the weights frozen."""

    @override
    def before_task(self, learner: Learner, task: Task) -> None:
        self._buffer.check(task.train)

    @override
    def learn(self, learner: Learner, task: Task, fit: Fit) -> None:
        self._buffer.add(task.train, task=task.index, features=lambda examples: pooled_features(learner, examples))
        self._indices = {}

    @override
    def predictor(self, learner: Learner, task_index: int) -> Predictor:
        return DemonstrationPredictor(learner, self._separator, self._demonstrations)

    def _demonstrations(self, prompt: Prompt) -> Sequence[str]:
        task = prompt.task
        examples = self._examples(task)
        if not examples:
            task, examples = None, self._examples(None)
        if self._is_random:
            generator = random.Random(f"demonstrations {self._seed} {prompt.id} {prompt.text}")
            chosen = generator.sample(range(len(examples)), min(self._num, len(examples)))
        else:
            chosen = [int(number) for number, _ in self._index(task, examples).search(prompt.text, self._num)]
            chosen.reverse()
        return [examples[i].prompt + examples[i].target for i in chosen]

    def _examples(self, task: int | None) -> list[Example]:
        return [entry.example for entry in self._buffer.entries if task in (None, entry.task)]

    def _index(self, task: int | None, examples: Sequence[Example]) -> Bm25Index:
        if task not in self._indices:
            index = self._indices[task] = Bm25Index(k1=self._k1, b=self._b)
            for number, example in enumerate(examples):
                index.add(str(number), example.prompt)
        return self._indices[task]

    @override
    def state_dict(self) -> State:
        return self._buffer.state_dict()

    @override
    def load_state_dict(self, state: State) -> None:
        self._buffer.load_state_dict(state)
        self._indices = {}

    @override
    def storage_bytes(self) -> int:
        return self._buffer.storage_bytes()


class DemonstrationPredictor(Predictor):
    """Puts the demonstrations that `choose` returns, the most useful last, in front of each prompt."""

    def __init__(self, learner: Learner, separator: str, choose: Callable[[Prompt], Sequence[str]]) -> None:
        """`separator` stands behind every demonstration."""
        self._learner = learner
        self._separator = separator
        self._choose = choose

    @override
    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        reserves = longest_answers(
            self._learner.encode_answer, [prompt.choices for prompt in prompts], [""] * len(prompts)
        )
        most = decoding.max_new_tokens
        extended = [self._extended(p, max(reserve, most)) for p, reserve in zip(prompts, reserves, strict=True)]
        return self._learner.generate(extended, decoding)

    @override
    def loglikelihood(self, prompts: Sequence[Prompt], targets: Sequence[str]) -> list[float]:
        """Return log p(target | demonstrations, prompt) in nats, summed over the target's tokens and the end token."""
        # Room for the longest choice, so that all choices of a question are read behind the same text.
        reserves = longest_answers(self._learner.encode_answer, [prompt.choices for prompt in prompts], targets)
        pairs = list(zip(prompts, reserves, strict=True))
        extended = {pair: self._extended(*pair) for pair in dict.fromkeys(pairs)}
        return self._learner.loglikelihood([extended[pair] for pair in pairs], targets)

    def _extended(self, prompt: Prompt, reserve: int) -> Prompt:
        room = self._learner.num_positions - reserve
        pieces = [*self._choose(prompt), prompt.text]
        while len(pieces) > 1 and self._learner.prompt_length(self._separator.join(pieces)) > room:
            pieces.pop(0)
        return replace(prompt, text=self._separator.join(pieces))
