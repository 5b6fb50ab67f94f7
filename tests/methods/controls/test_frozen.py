"""The floor of a comparison changes nothing and stores nothing."""

import torch

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Document, Episodes, Prompt, Task
from cmt_cli.methods.controls.frozen import Frozen
from tests.training.sessions import MemorySession, trainer

DECODING = Decoding(max_new_tokens=4, batch_size=2, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)


def test_learning_leaves_every_weight_and_every_answer_alone(tiny_llama: Learner) -> None:
    method, session, prompts = Frozen(), MemorySession(), [Prompt("q", "Question: Where?\nAnswer:")]
    before = {name: p.clone() for name, p in tiny_llama.model.named_parameters()}
    answers = tiny_llama.generate(prompts, DECODING)
    fit = trainer().bind(tiny_llama, method, session)
    document = Document("d", "Ada works in London.")
    method.before_stream(tiny_llama, Episodes(), fit)
    method.learn(tiny_llama, Task("t", 0, [document.as_example()], documents=[document]), fit)
    assert all(torch.equal(before[name], p) for name, p in tiny_llama.model.named_parameters())
    assert method.predictor(tiny_llama, 0).generate(prompts, DECODING) == answers
    assert not tiny_llama.trainable() and not method.state_dict() and not session.shown
