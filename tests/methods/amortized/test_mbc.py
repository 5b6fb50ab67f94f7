"""MBC: a bank of code numbers, aggregated exactly from its histogram."""

import torch

from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt
from cmt_cli.methods.amortized.mbc import HistogramRecall, Mbc
from tests.methods.amortized_parts import Steps, episodes, parts, task


def mbc() -> Mbc:
    return Mbc(
        parts=parts(),
        num_codes=6,
        commitment=0.25,
        usage_decay=0.99,
        reset_below=1e-4,
        lora_rank=2,
        lora_alpha=2.0,
        lora_layers=1,
        encode_batch_size=3,
        seed=0,
    )


def test_histogram_gives_the_same_aggregate_as_the_dequantized_bank(tiny_llama: Learner) -> None:
    method = mbc()
    method.before_stream(tiny_llama, episodes(), Steps(4))
    method.learn(tiny_llama, task(0, 1, 2, 3, 4), Steps(0))
    codes = torch.stack(list(method.codes.values())).long()
    states = method.amortizer.encode_questions([[5, 6, 7], [8, 9]])
    bank = method.codebook.codes[codes]  # [docs, slots, width]
    expected = method.amortizer.aggregator(states, method.amortizer.aggregator.project(bank)[None])
    recalled, _ = HistogramRecall(method, method.codebook.histogram(codes))(states, [Prompt("", "")] * 2)
    assert torch.allclose(recalled, expected, atol=1e-5)


def test_state_round_trips(tiny_llama: Learner) -> None:
    method = mbc()
    method.before_stream(tiny_llama, episodes(), Steps(2))
    method.learn(tiny_llama, task(0, 1), Steps(0))
    resumed = mbc()
    resumed.before_stream(tiny_llama, episodes(), Steps(0))
    resumed.load_state_dict(method.state_dict())
    assert resumed.codes.keys() == method.codes.keys()
    assert torch.equal(resumed.codebook.codes, method.codebook.codes)
    assert resumed.storage_bytes() == method.storage_bytes() == 2 * 2 * 2 + 6 * tiny_llama.hidden_size * 4


def test_a_document_costs_two_bytes_per_slot(tiny_llama: Learner) -> None:
    method = mbc()
    method.before_stream(tiny_llama, episodes(), Steps(0))
    empty = method.storage_bytes()
    method.learn(tiny_llama, task(0, 1, 2), Steps(0))
    assert method.storage_bytes() - empty == 3 * 2 * 2  # documents * slots * int16
