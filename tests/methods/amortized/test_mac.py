"""MAC: every document takes part in the aggregate, in groups too."""

import torch

from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt
from cmt_cli.methods.amortized.mac import BankRecall, Mac
from tests.methods.amortized_parts import Steps, episodes, mac, task
from tests.present import present


def recalled(method: Mac, states: torch.Tensor, window: int | None) -> torch.Tensor:
    recall = BankRecall(method.amortizer, method.bank, window)
    return present(recall(states, [Prompt("", "")] * len(states))[0])


def test_cached_keys_and_values_equal_projecting_the_memories_again(tiny_llama: Learner) -> None:
    method = mac()
    method.before_stream(tiny_llama, episodes(), Steps(3))
    method.learn(tiny_llama, task(0, 1, 2, 3, 4), Steps(0))
    states = method.amortizer.encode_questions([[5, 6, 7], [8, 9]])
    memories = method.bank.memories(torch.arange(5))
    direct = method.amortizer.aggregator(states, method.amortizer.aggregator.project(memories)[None])
    assert torch.allclose(recalled(method, states, None), direct, atol=1e-5)


def test_hierarchical_aggregation_depends_on_every_document(tiny_llama: Learner) -> None:
    method = mac(hierarchy_window=2)
    method.before_stream(tiny_llama, episodes(), Steps(3))
    method.learn(tiny_llama, task(0, 1, 2, 3, 4), Steps(0))
    states = method.amortizer.encode_questions([[5, 6, 7]])
    whole = recalled(method, states, 2)
    for index in range(5):
        other = mac(hierarchy_window=2)
        other.before_stream(tiny_llama, episodes(), Steps(3))
        other.learn(tiny_llama, task(*(i for i in range(5) if i != index)), Steps(0))
        assert not torch.allclose(recalled(other, states, 2), whole, atol=1e-7)


def test_a_window_of_the_whole_bank_is_plain_aggregation(tiny_llama: Learner) -> None:
    method = mac()
    method.before_stream(tiny_llama, episodes(), Steps(2))
    method.learn(tiny_llama, task(0, 1, 2), Steps(0))
    states = method.amortizer.encode_questions([[5, 6, 7]])
    assert torch.equal(
        recalled(method, states, 3),
        recalled(method, states, None),
    )
