"""A chat template stands around every prompt, the same in training, answering and scoring, or is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import cmt_cli.core.learner as learner_module
from cmt_cli.core.batch import Row
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.losses import IGNORED
from cmt_cli.core.prefix import Prefix
from cmt_cli.core.prompt_format import collected_cuts
from cmt_cli.core.stream import Document, Example, Prompt, Task
from cmt_cli.layers.bottleneck import Bottleneck
from cmt_cli.layers.prompts import SoftPrompt
from cmt_cli.methods.architecture.adapters import Adapters, with_prompts
from cmt_cli.methods.controls.per_task import text_nll
from cmt_cli.methods.replay.pseudo_examples import PseudoExample, marked_row
from cmt_cli.models.chat import prompt_format
from cmt_cli.models.huggingface import local_prompt_format
from tests.methods.task_sequences import learn, same, started
from tests.models.chat_learners import chat_learner, tokenizer_with
from tests.models.checkpoints import CHAT_TEMPLATE, TURN_TOKENS

GREEDY = Decoding(max_new_tokens=4, batch_size=4, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
QUESTION = Example("q", "Where does Ada Lovelace work?\nAnswer:", " London", choices=(" London", " Lagos", " Turin"))
PROMPT = Prompt("q", QUESTION.prompt, QUESTION.choices)
SYSTEM = "Be brief."
BLOCKS = Bottleneck(width=4, places=["block"], layer_norm=True, seed=0)

# As published templates are: with a start token and stripped texts, with the system text inside the user's turn and
# spaces around the answer, with an opening of the answer that a generation prompt leaves out, without special tokens.
STRIPPED = (
    "{{ bos_token }}{% for message in messages %}<|turn|>{{ message['role'] }}\n\n"
    "{{ message['content'] | trim }}<|end|>{% endfor %}{% if add_generation_prompt %}<|turn|>assistant\n\n{% endif %}"
)
INSTRUCTION = (
    "{% if messages[0]['role'] == 'system' %}{% set system = '<<SYS>>' + messages[0]['content'] + '<</SYS>> ' %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + system + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
THINKING = (
    "{% for message in messages %}<|turn|>{{ message['role'] }}\n{% if message['role'] == 'assistant' %}"
    "<think>\n\n</think>\n\n{% endif %}{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
WORDS = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
TEMPLATES = {
    "turns": CHAT_TEMPLATE,
    "stripped": STRIPPED,
    "instruction": INSTRUCTION,
    "thinking": THINKING,
    "words": WORDS,
}


def plain_learner(base: Learner) -> Learner:
    return Learner(base.model, tokenizer_with(None), name="tiny", revision="test", max_tokens=128)


def conversation(learner: Learner, question: str, answer: str, system_text: str | None) -> list[int]:
    turns = [("user", question), ("assistant", answer)]
    turns = [("system", system_text), *turns] if system_text is not None else turns
    messages = [{"role": role, "content": text} for role, text in turns]
    return list(learner.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))


def test_the_tokens_around_a_prompt_are_the_templates(tiny_llama: Learner) -> None:
    learner = chat_learner(tiny_llama)
    turn, end = learner.tokenizer.convert_tokens_to_ids(list(TURN_TOKENS))
    opening = [turn, *learner.encode("user\n")]
    closing = [end, *learner.encode("\n"), turn, *learner.encode("assistant\n")]
    (row,) = learner.rows(QUESTION)
    prompt = [*opening, *learner.encode(QUESTION.prompt), *closing]
    assert list(row.input_ids) == [*prompt, *learner.encode("London"), end]
    assert row.num_prompt_tokens == len(prompt)


@pytest.mark.parametrize("system_text", [None, SYSTEM])
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_row_is_the_whole_conversation(tiny_llama: Learner, template: str, system_text: str | None) -> None:
    learner = chat_learner(tiny_llama, TEMPLATES[template], system_text=system_text)
    for choices in ((), QUESTION.choices):
        (row,) = learner.rows(replace(QUESTION, choices=choices))
        whole = conversation(learner, QUESTION.prompt, "London", system_text)
        ids = list(row.input_ids)
        if template == "words":  # nothing marks the end of a turn, so the end token closes it
            assert (ids[:-1], ids[-1]) == (whole[: len(ids) - 1], learner.eos_id)
            assert learner.decode(whole[len(ids) - 1 :]) == "\n"
        else:
            assert ids == whole[: len(ids)]
            assert "".join(learner.tokenizer.convert_ids_to_tokens(whole[len(ids) :])) in ("", "Ċ")
        scored = learner.tokenizer.decode(ids[row.num_prompt_tokens :])
        end = {"words": "</s>", "instruction": " </s>"}.get(template, "<|end|>")
        assert scored.strip() == f"London{end}"


@pytest.mark.parametrize("template", TEMPLATES)
def test_training_answers_and_choices_read_the_same_prompt(
    tiny_llama: Learner, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    learner = chat_learner(tiny_llama, TEMPLATES[template], system_text=SYSTEM)
    read: list[list[int]] = []
    scored: list[Row] = []

    def decoded(model: Any, ids: torch.Tensor, *rest: Any) -> list[list[int]]:
        read.append(ids[0].tolist())
        return [[]]

    def shared(self: Learner, rows: list[Row]) -> dict[int, float]:
        scored.extend(rows)
        return {}

    monkeypatch.setattr(learner_module, "decode", decoded)
    monkeypatch.setattr(Learner, "_shared_loglikelihoods", shared)
    learner.generate([PROMPT], GREEDY)
    learner.loglikelihood([PROMPT] * 3, QUESTION.choices)
    trained = [learner.rows(replace(QUESTION, target=target))[0] for target in QUESTION.choices]
    assert [row.input_ids for row in scored] == [row.input_ids for row in trained]
    prompts = {row.input_ids[: row.num_prompt_tokens] for row in (*trained, *scored)}
    assert prompts == {tuple(read[0])} == {tuple(learner.prompt_ids(QUESTION.prompt, choices=QUESTION.choices))}


@pytest.mark.parametrize("template", ["stripped", "instruction"])
def test_the_templates_start_token_is_the_only_one(tiny_llama: Learner, template: str) -> None:
    learner = chat_learner(tiny_llama, TEMPLATES[template])
    (row,) = learner.rows(QUESTION)
    bos = learner.tokenizer.bos_token_id
    assert [i for i, token in enumerate(row.input_ids) if token == bos] == [0]
    assert chat_learner(tiny_llama).rows(QUESTION)[0].input_ids.count(bos) == 0  # that template has none


@pytest.mark.parametrize("template", ["turns", "stripped", "instruction"])
def test_white_space_around_a_text_is_the_templates_choice(tiny_llama: Learner, template: str) -> None:
    learner = chat_learner(tiny_llama, TEMPLATES[template])
    (row,) = learner.rows(Example("q", "\n Where is <b>Ada</b>?  ", "  in London\n"))
    whole = conversation(learner, "\n Where is <b>Ada</b>?  ", " in London\n", None)
    assert list(row.input_ids) == whole[: len(row.input_ids)]


def test_a_long_prompt_loses_no_part_of_the_template(tiny_llama: Learner) -> None:
    whole = chat_learner(tiny_llama, system_text=SYSTEM, max_tokens=512)
    learner = chat_learner(tiny_llama, system_text=SYSTEM, max_tokens=64)
    text = "First the instruction. " + "filler " * 60 + "Last the question?"
    head, tail = learner.prompt_format.head_ids, learner.prompt_format.tail_ids
    with collected_cuts() as cut:
        answers = learner.generate([Prompt("long", text)], GREEDY)
    assert (len(answers), cut) == (1, {"long"})
    ids = learner.prompt_ids(text, reserve=4)
    assert len(ids) == 60
    assert (tuple(ids[: len(head)]), tuple(ids[-len(tail) :])) == (head, tail)
    inner, front = learner.encode(text), (60 - len(head) - len(tail)) // 2
    kept = ids[len(head) : -len(tail)]
    assert kept == [*inner[:front], *inner[len(inner) - (len(kept) - front) :]]
    assert len(whole.prompt_ids(text)) == len(head) + len(inner) + len(tail)
    (row,) = learner.rows(Example("long", text, " London"))
    assert len(row.input_ids) == 64
    assert row.input_ids[: len(head)] == head
    assert row.input_ids[row.num_prompt_tokens - len(tail) : row.num_prompt_tokens] == tail


def test_the_end_of_a_turn_ends_an_answer(tiny_llama: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = chat_learner(tiny_llama)
    end = learner.tokenizer.convert_tokens_to_ids("<|end|>")
    assert learner.end_ids == (learner.eos_id, end)
    head = learner.model.get_output_embeddings()
    monkeypatch.setattr(head, "forward", lambda states: torch.nn.functional.one_hot(
        torch.full(states.shape[:-1], end), head.out_features).float())  # fmt: skip
    (answer,) = learner.generate([PROMPT], GREEDY)
    assert (answer.text, answer.ended) == ("", True)
    monkeypatch.setattr(learner, "prompt_format", plain_learner(tiny_llama).prompt_format)
    assert learner.generate([PROMPT], GREEDY)[0].ended is False


def test_documents_are_read_as_plain_text(tiny_llama: Learner) -> None:
    learner, plain = chat_learner(tiny_llama, system_text=SYSTEM), plain_learner(tiny_llama)
    document = Document("d", "Mara Oduya moved to Turin. " * 20).as_example()
    assert learner.rows(document) == plain.rows(document)
    prompts, texts = [Prompt("d", "")], ["Mara moved."]
    assert learner.loglikelihood(prompts, texts) == plain.loglikelihood(prompts, texts)


def test_pseudo_examples_are_plain_when_written(tiny_llama: Learner) -> None:
    learner, plain = chat_learner(tiny_llama), plain_learner(tiny_llama)
    example = replace(QUESTION, choices=())
    assert marked_row(learner, "places: ", example) == marked_row(plain, "places: ", example)
    (row,) = PseudoExample("places: ", QUESTION.prompt, QUESTION.target, ended=True).rows(learner, "p")
    assert row.input_ids == learner.rows(example)[0].input_ids


def test_a_questions_perplexity_leaves_the_template_out(tiny_llama: Learner) -> None:
    learner = chat_learner(tiny_llama, system_text=SYSTEM)
    ids, inner = learner.prompt_ids(QUESTION.prompt), len(learner.encode(QUESTION.prompt))
    head = len(learner.prompt_format.head_ids)
    logits = learner.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    scored = range(head, head + inner)
    expected = -sum(float(logits[i - 1, ids[i]]) for i in scored) / inner
    assert text_nll(learner, [QUESTION.prompt]).tolist() == pytest.approx([expected])


def test_adapters_learn_questions_without_the_template(make_learner: Any) -> None:
    learner = chat_learner(make_learner("qwen2"))
    rows = [learner.rows(Example(text, text, " Oslo"))[0] for text in ("Where does Ada work?", "Who?")]
    learned = with_prompts(learner.collate(rows), learner.prompt_format).labels
    for row, labels in zip(rows, learned.tolist(), strict=True):
        inner, answer = learner.encode(row.id), list(row.input_ids[row.num_prompt_tokens :])
        assert [token for token in labels if token != IGNORED] == [*inner, *answer]
        start = len(learner.prompt_format.head_ids)
        assert labels[start : start + len(inner)] == inner
    task = Task("t", 0, [Example("a", "Where does Ada work?", " Oslo")])
    learn(learner, started(learner, Adapters(trainable=BLOCKS, learns_questions=True)), task)
    others = chat_learner(make_learner("qwen2"))
    learn(others, started(others, Adapters(trainable=BLOCKS, learns_questions=False)), task)
    assert not same(learner.state_dict(), others.state_dict())


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_answers_behind_a_prefix_equal_those_alone(make_learner: Any, family: str) -> None:
    base = make_learner(family)
    prompts = [Prompt(str(i), text) for i, text in enumerate(("Who?", QUESTION.prompt, "Where is Mara Oduya now?"))]
    for system_text in (None, SYSTEM):
        learner = chat_learner(base, STRIPPED, system_text=system_text)
        width = learner.hidden_size
        memory = Prefix(embeddings=torch.randn(3, 5, width, generator=torch.Generator().manual_seed(0)))
        together = learner.generate(prompts, GREEDY, memory)
        alone = [learner.generate([p], GREEDY, memory.rows(torch.tensor([i])))[0] for i, p in enumerate(prompts)]
        assert together == alone
    SoftPrompt(num_virtual=4, text=None, num_common=200, seed=0).apply(learner)
    assert learner.generate(prompts, GREEDY) == [learner.generate([prompt], GREEDY)[0] for prompt in prompts]


def test_virtual_tokens_stand_in_front_of_the_template(tiny_llama: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = chat_learner(tiny_llama, STRIPPED)
    SoftPrompt(num_virtual=4, text=None, num_common=200, seed=0).apply(learner)
    seen: list[torch.Tensor] = []
    forward = learner.model.model.forward

    def recorded(**inputs: Any) -> Any:
        seen.append(inputs["inputs_embeds"])
        return forward(**inputs)

    monkeypatch.setattr(learner.model.model, "forward", recorded)
    (row,) = learner.rows(QUESTION)
    learner.forward(learner.collate([row]))
    embedded = learner.model.get_input_embeddings()(torch.tensor(row.input_ids))
    assert torch.equal(seen[0][0, 4:], embedded)


def test_a_templates_date_is_the_same_on_every_day(tiny_llama: Learner) -> None:
    dated = "Today is {{ strftime_now('%d %b %Y') }}.\n" + CHAT_TEMPLATE
    assert chat_learner(tiny_llama, dated).prompt_format.head.startswith("Today is 26 Jul 2024.\n")


def test_without_a_template_nothing_stands_around_a_prompt(tiny_llama: Learner) -> None:
    tokenizer = tokenizer_with(CHAT_TEMPLATE)
    found = prompt_format(tokenizer, chat_template="none", system_text=None, name="tiny", max_tokens=128)
    learner = Learner(tiny_llama.model, tokenizer, name="tiny", revision="test", max_tokens=128, prompt_format=found)
    (row,) = learner.rows(QUESTION)
    assert list(row.input_ids) == [*tokenizer(QUESTION.prompt + QUESTION.target)["input_ids"], learner.eos_id]
    assert learner.prompt_format.record is None


def test_the_record_names_template_and_system_text(tiny_llama: Learner) -> None:
    record = chat_learner(tiny_llama, system_text=SYSTEM).prompt_format.record
    other = chat_learner(tiny_llama, STRIPPED, system_text=SYSTEM).prompt_format.record
    assert record is not None and other is not None
    assert record["system_text"] == SYSTEM
    assert record["form"].startswith("<|turn|>system\nBe brief.<|end|>\n<|turn|>user\n{prompt}<|end|>")
    assert record["sha256"] != other["sha256"]


@pytest.mark.parametrize(
    ("template", "system_text", "message"),
    [
        (None, None, r"model\.chat_template=auto, but the tokenizer of 'tiny' has no chat template"),
        ("{{ raise_exception('System role not supported') }}", SYSTEM, "System role not supported"),
        (
            "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHAT_TEMPLATE,
            SYSTEM,
            r"model\.system_text is set.*does not write a system turn \(no system\)",
        ),
        (
            "{% set messages = messages | selectattr('role', 'ne', 'system') | list %}" + CHAT_TEMPLATE,
            SYSTEM,
            r"does not write a system turn\.",
        ),
        (CHAT_TEMPLATE.replace("message['content']", "message['content'] | upper"), None, "writes the prompt 0 times"),
        (CHAT_TEMPLATE.replace("message['content']", "message['content'] | e"), None, "changes the text of the prompt"),
        (CHAT_TEMPLATE + CHAT_TEMPLATE, None, "writes the prompt 2 times"),
        (CHAT_TEMPLATE.replace("assistant\n", "assistant\n<think>\n"), None, r"opens an answer with .*<think>"),
        ("{% for message in messages %}", None, "stops with TemplateSyntaxError"),
        (CHAT_TEMPLATE, "long " * 200, r"Raise model\.max_tokens, or shorten model\.system_text"),
    ],
)
def test_templates_that_cannot_be_used_are_refused(template: str | None, system_text: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prompt_format(
            tokenizer_with(template), chat_template="auto", system_text=system_text, name="tiny", max_tokens=128
        )


def test_settings_that_would_be_ignored_are_refused() -> None:
    for settings, message in (
        (
            {"chat_template": "none", "system_text": SYSTEM},
            r"Set model\.chat_template=auto, or model\.system_text=null",
        ),
        (
            {"chat_template": "yes", "system_text": None},
            r"model\.chat_template='yes' is not known; allowed: auto, none",
        ),
    ):
        with pytest.raises(UserError, match=message):
            prompt_format(tokenizer_with(CHAT_TEMPLATE), name="tiny", max_tokens=128, **settings)
        with pytest.raises(UserError, match=message):  # also where the model is not here yet
            local_prompt_format("ORG/absent", revision="main", max_tokens=128, trust_remote_code=False, **settings)
