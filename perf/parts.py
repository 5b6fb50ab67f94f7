"""Methods, streams and learners for the benchmarks, from the configuration that `cmt run` uses, and random models."""

from __future__ import annotations

from typing import Any

import torch
from reporting import machine
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from cmt_cli.config.check import Request, check
from cmt_cli.core.learner import Learner
from cmt_cli.core.objectives import Budget, Objective
from cmt_cli.core.stream import Episodes, Example
from cmt_cli.methods.amortized.episodic_objective import EpisodicObjective
from cmt_cli.running.allocation import keep_freed_memory
from cmt_cli.running.job import Job

DISTILGPT2 = {"vocab_size": 50257, "n_embd": 768, "n_layer": 6, "n_head": 12}
GENERATED = ("data=streamingqa", "data.source=generated", "model=tiny", "logger=none")


def set_up(num_threads: int) -> dict[str, Any]:
    """Set up the process as `cmt run` does; return the facts of the machine."""
    torch.set_num_threads(num_threads)
    keep_freed_memory()
    return machine(num_threads)


def configured(*overrides: str) -> Job:
    """Return what `cmt run` would build from overrides."""
    return Job.of(check(Request(overrides)))


def word_tokenizer(num_words: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of the words w0, w1, ...; token i is the word wi. w0 is unknown, w1 ends, w2 pads."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(num_words)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w1", pad_token="w2")


def random_words(count: int, num_words: int, generator: torch.Generator) -> str:
    """Return a text of drawn words, one token each."""
    return " ".join(f"w{i}" for i in torch.randint(3, num_words, (count,), generator=generator).tolist())


def random_distilgpt2(tokenizer: Any = None) -> Learner:
    """Return a learner of distilgpt2's shape with random weights; speed does not depend on them."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**DISTILGPT2))
    return Learner(
        model,
        tokenizer or word_tokenizer(DISTILGPT2["vocab_size"]),
        name="distilgpt2-shape",
        revision="random",
        max_tokens=960,
    )


class NoTraining:
    """A fit that trains nothing and keeps the objective it was given."""

    objective: Objective

    def on_examples(self, examples: Any, budget: Budget | None = None) -> None:
        """Do nothing."""

    def on_objective(self, objective: Objective, budget: Budget | None = None) -> None:
        """Keep the objective."""
        self.objective = objective


def training_examples(job: Job) -> list[Example]:
    """Return the documents of all tasks as examples to fine-tune on."""
    return [example for task in job.build("data").tasks for example in task.train]


def meta_objective(job: Job, learner: Learner, num_episodes: int) -> EpisodicObjective:
    """Return what the job's amortized method minimizes before the stream, on the first questions alone."""
    kept = NoTraining()
    episodes = Episodes(train=job.build("data").episodes.train[:num_episodes])
    job.build("method").before_stream(learner, episodes, kept)
    if not isinstance(kept.objective, EpisodicObjective):
        raise TypeError(f"{type(kept.objective).__name__} is not the objective of an amortized method.")
    return kept.objective
