"""One Adam step per document, in stream order."""

from __future__ import annotations

import torch

from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Document, Episodes, Task
from cmt_cli.methods.sequential.uniform import Uniform
from tests.training.sessions import MemorySession, budget, trainer

TEXTS = ["Ada works in London.", "Mara moved to Turin in 1987.", "Bo opened the bridge."]
BUDGET = budget(num_epochs=1, num_steps=None, batch_size=1, shuffle=False, learning_rate=1e-3, max_grad_norm=750.0)


def learn(learner: Learner, texts: list[str]) -> MemorySession:
    method, session = Uniform(budget=BUDGET), MemorySession()
    method.before_stream(learner, Episodes(), trainer().bind(learner, method, MemorySession()))
    task = Task("t", 0, [Document(str(i), text).as_example() for i, text in enumerate(texts)])
    method.learn(learner, task, trainer(log_every_steps=1).bind(learner, method, session))
    return session


def test_updates_are_torchs_adam_on_each_documents_mean_loss(tiny_llama: Learner) -> None:
    reference = tiny_llama.frozen_copy()
    parameters = reference.unfreeze()
    adam = torch.optim.Adam(parameters, lr=1e-3)
    for text in TEXTS:
        adam.zero_grad()
        ids = torch.tensor([tiny_llama.rows(Document("d", text).as_example())[0].input_ids])
        reference.model(input_ids=ids, labels=ids).loss.backward()  # transformers' own mean over tokens 1..n
        adam.step()
    learn(tiny_llama, TEXTS)
    for expected, actual in zip(parameters, tiny_llama.model.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-5)


def test_one_step_per_document_but_several_if_long(tiny_gpt2: Learner) -> None:
    long_text = " ".join(f"word{i}" for i in range(60))
    num_rows = len(tiny_gpt2.rows(Document("d", long_text).as_example()))
    assert num_rows > 1
    assert len(learn(tiny_gpt2, [*TEXTS, long_text]).logged) == len(TEXTS) + num_rows
