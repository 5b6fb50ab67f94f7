"""A learner that keeps the prompts it is given."""

from __future__ import annotations

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Answer, Prompt


class Recorder:
    """A learner that keeps the prompts it is given."""

    def __init__(self, learner: Learner) -> None:
        self.learner, self.max_tokens = learner, learner.max_tokens
        self.encode, self.decode = learner.encode, learner.decode
        self.encode_answer, self.prompt_length = learner.encode_answer, learner.prompt_length
        self.seen: list[str] = []

    def generate(self, prompts: list[Prompt], decoding: Decoding) -> list[Answer]:
        self.seen += [prompt.text for prompt in prompts]
        return self.learner.generate(prompts, decoding)

    def loglikelihood(self, prompts: list[Prompt], targets: list[str]) -> list[float]:
        self.seen += [prompt.text for prompt in prompts]
        return self.learner.loglikelihood(prompts, targets)
