"""The shipped weights: load them, let them read an article of a period that they never saw."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import cmt_cli.models
from cmt_cli.data.world.world import World, WorldQuestion

FOLDER = Path(cmt_cli.models.__file__).parent / "tiny"


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER)


@torch.no_grad()
def exact_match(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], questions: list[WorldQuestion]
) -> float:
    """Return the share of prompts whose greedy answer is an accepted one."""
    right = 0
    for start in range(0, len(prompts), 64):
        inputs = tokenizer(prompts[start : start + 64], padding=True, padding_side="left", return_tensors="pt")
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        output = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=10, do_sample=False)
        texts = tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
        for text, question in zip(texts, questions[start : start + 64], strict=True):
            right += text.strip() in question.answers
    return right / len(prompts)


def stream(num_articles: int) -> tuple[list[str], list[WorldQuestion]]:
    """Return for every question of the stream the text of its article, and the question."""
    world = World(seed=11, facts_per_document=3, changing_facts=False)
    pairs = [(a.document.text, question) for a in world.articles("stream", num_articles) for question in a.questions]
    return [text for text, _ in pairs], [question for _, question in pairs]


def test_the_folder_is_small_and_holds_no_pickle() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors"}


def test_the_model_reads_articles_about_people_it_never_met(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    texts, questions = stream(100)
    prompts = [f"{text}\nQuestion: {q.question}\nAnswer:" for text, q in zip(texts, questions, strict=True)]
    assert exact_match(model, tokenizer, prompts, questions) >= 0.95


def test_without_the_article_it_is_at_chance(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    _, questions = stream(150)
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for question in questions:
        answers[question.id.rsplit("/", 1)[1]][question.answers[0]] += 1
    chance = sum(counts.most_common(1)[0][1] for counts in answers.values()) / len(questions)
    prompts = [f"Question: {question.question}\nAnswer:" for question in questions]
    assert exact_match(model, tokenizer, prompts, questions) <= chance + 0.05


def test_the_wrong_article_does_not_help(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    texts, questions = stream(50)
    wrong = texts[4:] + texts[:4]
    prompts = [f"{text}\nQuestion: {q.question}\nAnswer:" for text, q in zip(wrong, questions, strict=True)]
    assert exact_match(model, tokenizer, prompts, questions) <= 0.1


def test_absolute_positions_do_not_matter(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    texts, questions = stream(2)
    prompt = f"{texts[0]}\nQuestion: {questions[0].question}\nAnswer:"
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    positions = torch.arange(ids.shape[1])[None]
    with torch.no_grad():
        first = model(input_ids=ids, position_ids=positions).logits
        moved = model(input_ids=ids, position_ids=positions + 500).logits
    assert torch.allclose(first, moved, atol=1e-3)


def test_any_text_passes_the_tokenizer_and_comes_back(tokenizer: PreTrainedTokenizerBase) -> None:
    rng = random.Random(0)
    code_points = [rng.randrange(0x20, 0x11000) for _ in range(2000)]
    drawn = "".join(chr(point) for point in code_points if not 0xD800 <= point < 0xE000)
    for text in ("Beyoncé's “Déjà Vu”\n\t 1,5 km² ", "北京 москва नमस्ते 🎻\u200d", "  two  spaces ", drawn):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_a_prompt_and_its_answer_tokenize_independently(tokenizer: PreTrainedTokenizerBase) -> None:
    texts, questions = stream(20)
    for text, question in zip(texts, questions, strict=True):
        parts = (text, f"\nQuestion: {question.question}\nAnswer:", f" {question.answers[0]}")
        joined = tokenizer("".join(parts))["input_ids"]
        assert joined == [token for part in parts for token in tokenizer(part)["input_ids"]]


def test_special_tokens_are_three_different_ones(tokenizer: PreTrainedTokenizerBase) -> None:
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3
    assert None not in {tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}


def test_the_recipe_states_what_was_measured(model: PreTrainedModel) -> None:
    recipe = json.loads((FOLDER / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["num_parameters"] == model.num_parameters()
    assert recipe["measured_on_stream"]["exact_match_1_documents"] >= 0.95
