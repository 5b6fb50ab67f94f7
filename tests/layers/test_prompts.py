"""Soft prompts and key/value prefixes: the same logits as peft's, as real tokens', and as an explicit prefix."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model
from torch import Tensor

from cmt_cli.core.batch import Batch, Row
from cmt_cli.core.decoding import Decoding, decode
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.method import Trainable
from cmt_cli.core.prefix import Prefix
from cmt_cli.core.stream import Prompt
from cmt_cli.layers.pooled_prompts import Pool, nearest, question_means
from cmt_cli.layers.prefixes import PrefixKeyValues
from cmt_cli.layers.prompts import SoftPrompt, drawn_tokens

TOLERANCE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-5}
ROWS = [Row("a", (31, 32, 33, 34, 35), 2), Row("b", (41, 42, 43), 1)]  # of different length: the second is padded
PROMPT = SoftPrompt(num_virtual=3, text=None, num_common=300, seed=0)
PREFIX = PrefixKeyValues(num_virtual=3, reparametrization=None, num_common=300, seed=0)
NETWORK = PrefixKeyValues(num_virtual=3, reparametrization=8, num_common=300, seed=0)
POOL = Pool(num_prompts=4, num_virtual=2, num_chosen=2, num_common=300, seed=0)
ALL = [PROMPT, PREFIX, NETWORK, POOL]
GREEDY = Decoding(max_new_tokens=4, batch_size=8, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
QUESTIONS = [Prompt("long", "Question: Where does Ada Lovelace work?\nAnswer:"), Prompt("short", "Who?")]


def drawn(learner: Learner) -> list[int]:
    return drawn_tokens(learner, 3, num_common=300, seed=0)


def disturbed(learner: Learner, trainable: Trainable) -> None:
    """Add the trainable and move it away from where it starts, so that it is not what real tokens would be."""
    generator = torch.Generator().manual_seed(1)
    for parameter in trainable.apply(learner):
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)


def rows_behind(ids: list[int]) -> list[Row]:
    return [Row(row.id, (*ids, *row.input_ids), len(ids) + row.num_prompt_tokens) for row in ROWS]


@pytest.mark.parametrize("trainable", [PROMPT, PREFIX], ids=["prompt", "prefix"])
def test_it_starts_as_the_drawn_tokens_do(any_learner: Learner, trainable: Trainable) -> None:
    expected = any_learner.forward(any_learner.collate(rows_behind(drawn(any_learner))))
    trainable.apply(any_learner)
    actual = any_learner.forward(any_learner.collate(ROWS))
    torch.testing.assert_close(actual.logits, expected.logits, **TOLERANCE)
    torch.testing.assert_close(actual.token_nll, expected.token_nll[:, 3:], **TOLERANCE)


def test_a_text_is_repeated_or_cut_to_the_prompt(tiny_llama: Learner) -> None:
    ids = tiny_llama.encode("a name")
    prompt = SoftPrompt(num_virtual=len(ids) + 1, text="a name", num_common=300, seed=0)
    (value,) = prompt.apply(tiny_llama)
    assert torch.equal(value, tiny_llama.model.get_input_embeddings().weight[torch.tensor([*ids, ids[0]])])


def test_special_tokens_are_never_drawn(tiny_llama: Learner) -> None:
    assert set(drawn_tokens(tiny_llama, 200, num_common=5, seed=0)) == {2, 3, 4}  # 0 and 1 open and close sequences


def peft_logits(model: Any, batch: Batch) -> Tensor:
    with torch.no_grad():
        return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_soft_prompt_is_pefts(make_learner: Callable[[str], Learner], family: str) -> None:
    ours, theirs = make_learner(family), make_learner(family)
    disturbed(ours, PROMPT)
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    wrapped = get_peft_model(theirs.model, config).eval()
    wrapped.prompt_encoder["default"].embedding.weight.data = ours.model.prefix_source.value(0).detach().clone()
    batch = ours.collate(ROWS)
    outputs = ours.forward(batch)
    expected = peft_logits(wrapped, batch)[:, 3:][:, outputs.kept]
    real = batch.attention_mask.bool()[:, outputs.kept]
    torch.testing.assert_close(outputs.logits[real], expected[real], **TOLERANCE)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])  # peft has no head width of its own, as Qwen 3's
@pytest.mark.parametrize("trainable", [PREFIX, NETWORK], ids=["values", "network"])
def test_a_key_value_prefix_is_pefts(make_learner: Callable[[str], Learner], family: str, trainable: Trainable) -> None:
    ours, theirs = make_learner(family), make_learner(family)
    disturbed(ours, trainable)
    wrapped = get_peft_model(theirs.model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    batch = ours.collate(ROWS)
    prefix = ours.model.prefix_source.prefix(batch.input_ids, batch.attention_mask.bool())
    pairs = torch.stack([torch.stack([key[0], value[0]]) for key, value in prefix.layers])  # [layers, 2, heads, 3, dim]
    wrapped.prompt_encoder["default"].embedding.weight.data = pairs.permute(3, 0, 1, 2, 4).flatten(1).detach().clone()
    outputs = ours.forward(batch)
    real = batch.attention_mask.bool()[:, outputs.kept]
    expected = peft_logits(wrapped, batch)[:, outputs.kept]
    torch.testing.assert_close(outputs.logits[real], expected[real], **TOLERANCE)


def test_the_network_makes_the_equations_keys_and_values(any_learner: Learner) -> None:
    NETWORK.apply(any_learner)
    source, config = any_learner.model.prefix_source, any_learner.model.config
    hidden = torch.tanh(source.inputs @ source.network.inner.weight.T + source.network.inner.bias)
    made = hidden @ source.network.outer.weight.T + source.network.outer.bias  # [virtual, layers * 2 * heads * dim]
    (first_key, _), (_, last_value) = source.prefix(torch.zeros(2, 1), torch.ones(2, 1)).layers
    num_heads, head_dim = first_key.shape[1], first_key.shape[3]
    assert num_heads == (config.get_text_config().to_dict().get("num_key_value_heads") or 4)
    torch.testing.assert_close(first_key[1, 0], made[:, :head_dim])
    torch.testing.assert_close(last_value[0, -1], made[:, -head_dim:])


@pytest.mark.parametrize("trainable", ALL, ids=["prompt", "prefix", "network", "pool"])
def test_gradients_reach_what_is_trained_and_nothing_else(any_learner: Learner, trainable: Trainable) -> None:
    parameters = trainable.apply(any_learner)
    any_learner.forward(any_learner.collate(ROWS)).token_nll.sum().backward()
    learns = [name for name, p in any_learner.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    expected = [name for name, _ in any_learner.model.prefix_source.named_parameters() if name != "keys"]
    assert learns == [f"prefix_source.{name}" for name in expected]  # keys learn by being pulled
    assert [id(p) for p in any_learner.trainable()] == [id(p) for p in parameters]
    assert set(any_learner.state_dict()) == {
        f"prefix_source.{n}" for n, _ in any_learner.model.prefix_source.named_parameters()
    }
    assert all(p.dtype == torch.float32 for p in parameters)


@pytest.mark.parametrize("trainable", ALL, ids=["prompt", "prefix", "network", "pool"])
def test_what_is_generated_is_what_is_likeliest(any_learner: Learner, trainable: Trainable) -> None:
    disturbed(any_learner, trainable)
    ids = [any_learner.prompt_ids(question.text) for question in QUESTIONS]
    width = max(map(len, ids))
    padded = torch.tensor([[any_learner.pad_id] * (width - len(row)) + row for row in ids])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
    own = any_learner.model.prefix_source.prefix(padded, mask.bool())
    with torch.no_grad():
        continuations = decode(any_learner.model, padded, mask, own, GREEDY, any_learner.end_ids)
    for prompt, tokens in zip(ids, continuations, strict=True):
        batch = any_learner.collate([Row("x", (*prompt, *tokens, any_learner.eos_id), len(prompt))])
        assert any_learner.forward(batch).logits[0, : len(tokens)].argmax(dim=-1).tolist() == tokens
    one_by_one = [any_learner.generate([question], GREEDY)[0] for question in QUESTIONS]
    assert any_learner.generate(QUESTIONS, GREEDY) == one_by_one


@pytest.mark.parametrize("trainable", ALL, ids=["prompt", "prefix", "network", "pool"])
def test_a_copy_answers_alike_with_its_own_parameters(any_learner: Learner, trainable: Trainable) -> None:
    trainable.apply(any_learner)
    batch = any_learner.collate(ROWS)
    before = any_learner.forward(batch).token_nll
    teacher = any_learner.frozen_copy()
    for parameter in any_learner.model.parameters():
        parameter.data += 0.5
    assert torch.equal(teacher.forward(teacher.collate(ROWS)).token_nll, before)
    assert not torch.allclose(any_learner.forward(any_learner.collate(ROWS)).token_nll, before)


@pytest.mark.parametrize("trainable", ALL, ids=["prompt", "prefix", "network", "pool"])
def test_a_model_in_half_precision_trains_it_in_float32(tiny_llama: Learner, trainable: Trainable) -> None:
    tiny_llama.model.to(torch.bfloat16)
    tiny_llama.dtype = torch.bfloat16
    parameters = trainable.apply(tiny_llama)
    tiny_llama.forward(tiny_llama.collate(ROWS)).token_nll.sum().backward()
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    assert all(parameter.grad is not None for parameter in parameters if parameter.shape != (4, 32))  # but the keys
    assert len(tiny_llama.generate(QUESTIONS, GREEDY)) == 2


def test_an_explicit_prefix_replaces_the_models_own(any_learner: Learner) -> None:
    batch = any_learner.collate(ROWS)
    given = Prefix(embeddings=any_learner.model.get_input_embeddings()(torch.tensor([[7, 8]] * 2)))
    expected = any_learner.forward(batch, prefix=given).token_nll
    PROMPT.apply(any_learner)
    assert torch.equal(any_learner.forward(batch, prefix=given).token_nll, expected)


def test_virtual_tokens_that_leave_no_room_are_refused(tiny_llama: Learner) -> None:
    for trainable in (
        SoftPrompt(num_virtual=65, text=None, num_common=300, seed=0),
        PrefixKeyValues(num_virtual=65, reparametrization=None, num_common=300, seed=0),
        Pool(num_prompts=8, num_virtual=10, num_chosen=7, num_common=300, seed=0),
    ):
        with pytest.raises(UserError, match="more than half of the 128 tokens"):
            trainable.apply(tiny_llama)


@pytest.mark.parametrize("wrong", [{"num_virtual": 0}, {"text": ""}, {"num_common": 2}])
def test_settings_that_give_no_prompt_are_refused(tiny_llama: Learner, wrong: dict[str, Any]) -> None:
    settings = {"num_virtual": 3, "text": None, "num_common": 300, "seed": 0}
    with pytest.raises(UserError):
        SoftPrompt(**(settings | wrong)).apply(tiny_llama)


def test_a_query_averages_the_questions_frozen_states(any_learner: Learner) -> None:
    model = any_learner.model
    with torch.no_grad():
        alone = [model(input_ids=torch.tensor([ids]), output_hidden_states=True) for ids in ([31, 32], [41])]
    expected = torch.stack([out.hidden_states[-1][0].mean(dim=0) for out in alone])
    POOL.apply(any_learner)
    answered = torch.tensor([[31, 32, 33, 34], [41, 42, 43, 1]])
    asked = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    torch.testing.assert_close(question_means(model, answered, asked), expected, rtol=1e-5, atol=1e-5)
    left = torch.tensor([[31, 32], [1, 41]])
    torch.testing.assert_close(
        question_means(model, left, torch.tensor([[1, 1], [0, 1]]).bool()), expected, rtol=1e-5, atol=1e-5
    )


def test_rows_get_the_prompts_of_their_nearest_keys(any_learner: Learner) -> None:
    POOL.apply(any_learner)
    pool, batch = any_learner.model.prefix_source, any_learner.collate(ROWS)
    asked = torch.tensor([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    queries = question_means(any_learner.model, batch.input_ids, asked)
    pool.keys.data = torch.stack([queries[0], -queries[0], queries[0] + 0.5 * queries[1], queries[1]])
    found = pool.prefix(batch.input_ids, asked).embeddings
    assert torch.equal(found[0], torch.cat([pool.prompts[0], pool.prompts[2]]))
    assert torch.equal(found[1, :2], pool.prompts[3])
    expected = any_learner.forward(batch, prefix=Prefix(embeddings=found)).token_nll
    assert torch.equal(any_learner.forward(batch).token_nll, expected)


def test_the_nearest_keys_by_hand() -> None:
    cosines = torch.tensor([[0.9, 0.8, -0.5], [0.0, 0.5, 0.6]])
    assert nearest(cosines, 2, None).tolist() == [[0, 1], [2, 1]]
    usage = torch.tensor([0.8, 0.1, 0.1])  # distances times use: .08 .02 .15 and .8 .05 .04
    assert nearest(cosines, 2, usage).tolist() == [[1, 0], [2, 1]]
