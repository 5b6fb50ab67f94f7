"""What an out-of-memory error is, and that work cut into the parts that fit gives the same results."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.device_memory import MemoryParts, is_out_of_memory
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt
from cmt_cli.methods.replay.pseudo_examples import Generation, sampled_texts
from cmt_cli.training.gradient_projection import reference_gradient
from cmt_cli.training.importance import importance, mean_nll
from tests.methods.amortized_parts import Steps, cmt, episodes, task
from tests.methods.task_sequences import TASKS


def test_a_failed_cpu_allocation_is_recognized() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_each_devices_error_is_recognized(error: BaseException) -> None:
    assert is_out_of_memory(error)


def test_another_error_is_not() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def doubled(fits: int, tried: list[int]) -> Callable[[Sequence[int]], list[int]]:
    def work(part: Sequence[int]) -> list[int]:
        tried.append(len(part))
        if len(part) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.\nprocess list")
        return [2 * item for item in part]

    return work


@pytest.mark.parametrize("fits", [1, 2, 3, 7, 99])
def test_parts_give_the_whole_in_order(fits: int) -> None:
    found = MemoryParts().run(doubled(fits, []), range(7))
    assert [item for part in found for item in part] == [0, 2, 4, 6, 8, 10, 12]


def test_the_size_that_fits_is_remembered() -> None:
    tried: list[int] = []
    parts = MemoryParts()
    for _ in range(2):
        list(parts.run(doubled(2, tried), range(4)))
    assert tried == [4, 2, 2, 2, 2]


def test_what_cannot_be_cut_is_a_readable_error() -> None:
    with pytest.raises(UserError, match=r"1 sequence.*CUDA out of memory\..*model\.max_tokens"):
        list(MemoryParts().run(doubled(0, []), range(4)))
    with pytest.raises(UserError, match="4 sequences"):  # other ranks wait inside the pass
        list(MemoryParts().run(doubled(2, []), range(4), in_step=True))


def test_other_errors_travel() -> None:
    def fails(part: Sequence[int]) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(MemoryParts().run(fails, range(4)))


def limited(learner: Learner, fits: int) -> list[int]:
    """Make a model fail on more rows than fit; return the list of the sizes that it is given."""
    seen: list[int] = []

    def check(module: Any, args: Any, kwargs: Any) -> None:
        seen.append(len(kwargs["input_ids"]))
        if seen[-1] > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    learner.model.register_forward_pre_hook(check, with_kwargs=True)
    return seen


PROMPTS = [Prompt(str(i), "Question: Where?" + " Where?" * (i % 3)) for i in range(6)]
GREEDY = Decoding(max_new_tokens=4, batch_size=6, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)


def test_answers_do_not_depend_on_the_memory(any_learner: Learner) -> None:
    whole = any_learner.generate(PROMPTS, GREEDY)
    seen = limited(any_learner, 2)
    assert any_learner.generate(PROMPTS, GREEDY) == whole
    assert max(seen) > 2


@pytest.mark.parametrize("targets", [[" Oslo"] * 6, [" Oslo", " Accra", " Rome", " a", " b", " c"]])
@pytest.mark.parametrize("num_prompts", [1, 3, 6])
def test_scores_do_not_depend_on_the_memory(any_learner: Learner, targets: list[str], num_prompts: int) -> None:
    prompts = [PROMPTS[i % num_prompts] for i in range(6)]
    whole = any_learner.loglikelihood(prompts, targets)
    seen = limited(any_learner, 2)
    assert any_learner.loglikelihood(prompts, targets) == pytest.approx(whole, abs=1e-4)
    assert max(seen) > 2


def test_sampled_texts_do_not_depend_on_the_memory(any_learner: Learner) -> None:
    generation = Generation(ratio=1.0, top_k=20, batch_size=6, marker="Task a:\n", separator=None)

    def sampled() -> list[tuple[str, bool]]:
        seeds = [str(i) for i in range(6)]
        return list(sampled_texts(any_learner, "Task a:\n", seeds, max_new_tokens=5, generation=generation))

    whole = sampled()
    seen = limited(any_learner, 2)
    assert sampled() == whole
    assert seen[:3] == [6, 3, 1] and set(seen[3:]) == {1}


def test_the_reference_gradient_does_not_depend_on_the_memory(any_learner: Learner) -> None:
    any_learner.unfreeze()
    rows = [row for task in TASKS for example in task.train for row in any_learner.rows(example)]
    whole = reference_gradient(any_learner, rows, micro_batch_size=4)
    seen, parts = limited(any_learner, 2), MemoryParts()
    for _ in range(2):
        cut = reference_gradient(any_learner, rows, micro_batch_size=4, parts=parts)
        for one, other in zip(cut, whole, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert seen.count(4) == 1  # the second step knows


def test_documents_are_encoded_in_what_fits(tiny_llama: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = cmt(), cmt()
    for method in (whole, cut):
        method.before_stream(tiny_llama, episodes(), Steps(0))
    original = cut.encode
    seen: list[int] = []

    def encode(sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        seen.append(len(sequences))
        if len(sequences) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(sequences)

    monkeypatch.setattr(cut, "encode", encode)
    for method in (whole, cut):
        method.learn(tiny_llama, task(0, 1, 2), Steps(0))
    assert max(seen) > 1
    rows = torch.tensor([[0, 1, 2]])
    torch.testing.assert_close(cut.bank.memories(rows), whole.bank.memories(rows), rtol=1e-4, atol=1e-5)


def test_an_example_too_large_for_its_importance_is_named(tiny_llama: Learner) -> None:
    tiny_llama.unfreeze()
    limited(tiny_llama, 0)
    with pytest.raises(UserError, match=r"model\.max_tokens"):
        importance(tiny_llama, tiny_llama.rows(TASKS[0].train[0]), mean_nll, torch.square)
