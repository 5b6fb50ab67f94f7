r"""Train the embedded backbone on the base period of the generated world until it reads, and write it with its recipe.

    python experiments/train_tiny.py --steps 3500 --out cmt_cli/models/tiny

A batch row holds one to four documents and then several questions. A mask lets every question see the documents and
itself only, so that each is exactly the prompt `{document}\nQuestion: {question}\nAnswer:` followed by ` {answer}`
and the end token, at a fraction of the cost of one row per question. Articles are drawn from several worlds whose
people have the same names and different facts: whoever memorizes is wrong, whoever reads is right.
The answer is in `recipe.json` beside the weights: exact match by number of documents in front, and closed-book.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import transformers
from rich.progress import Progress, TimeElapsedColumn, TimeRemainingColumn
from tiny_rows import IGNORED, Recipe, Row, RowSampler, encode
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cmt_cli.data.world import Article, World
from cmt_cli.data.world_relations import RELATIONS


def base_articles(recipe: Recipe) -> list[Article]:
    """Generate the articles of the recipe's worlds."""
    articles: list[Article] = []
    for seed, facts, changing in recipe.worlds:
        world = World(seed=seed, facts_per_document=facts, changing_facts=changing)
        articles += world.articles("base", recipe.articles_per_world)
    return articles


def train_tokenizer(texts: Sequence[str], vocabulary_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE: any text passes and comes back unchanged."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def batch_loss(model: LlamaForCausalLM, rows: list[Row], language_model_weight: float) -> tuple[torch.Tensor, float]:
    """Return the loss to minimize and the mean loss per answer token (0 without answers)."""
    length = max(len(row.ids) for row in rows)

    def padded(values: list[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([v + [fill] * (length - len(v)) for v in values])

    ids, positions = padded([r.ids for r in rows], 0), padded([r.positions for r in rows], 0)
    targets, segments = padded([r.targets for r in rows], IGNORED), padded([r.segments for r in rows], -1)
    shared = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])  # [batch, seq, seq]
    mask = shared & torch.ones(length, length, dtype=torch.bool).tril()
    hidden = model.model(input_ids=ids, position_ids=positions, attention_mask=mask[:, None]).last_hidden_state
    # the token after a document is the first of a question, which is never scored: a plain shift by one is right
    scored = targets[:, 1:] != IGNORED
    logits = model.lm_head(hidden[:, :-1][scored])  # [scored, vocab]: the other positions never meet the vocabulary
    token_nll = F.cross_entropy(logits, targets[:, 1:][scored], reduction="none")
    is_answer = segments[:, 1:][scored] > 0
    answer = token_nll[is_answer].mean() if is_answer.any() else token_nll.new_zeros(())
    text = token_nll[~is_answer].mean() if (~is_answer).any() else token_nll.new_zeros(())
    return answer + language_model_weight * text, float(answer.detach())


def make_optimizers(model: LlamaForCausalLM, recipe: Recipe) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Return Muon for the weight matrices and AdamW for embeddings and norms."""
    named = list(model.named_parameters())
    matrices = [parameter for name, parameter in named if parameter.ndim == 2 and "embed" not in name]
    rest = [parameter for name, parameter in named if parameter.ndim != 2 or "embed" in name]
    muon = torch.optim.Muon(matrices, lr=recipe.matrix_learning_rate, momentum=0.95, weight_decay=0.0)
    adam = torch.optim.AdamW(rest, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
    return muon, adam


def train(model: LlamaForCausalLM, sampler: RowSampler, recipe: Recipe) -> list[float]:
    """Run the gradient steps; return the mean loss per answer token of every 100 steps, questions-only steps aside."""

    def scale(step: int) -> float:
        decay = (recipe.steps - step) / (recipe.steps * (1 - recipe.decay_from))
        return max(0.01, min((step + 1) / recipe.warmup_steps, 1.0, decay))

    optimizers = make_optimizers(model, recipe)
    schedulers = [torch.optim.lr_scheduler.LambdaLR(optimizer, scale) for optimizer in optimizers]
    curve: list[float] = []
    recent: list[float] = []
    columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("training", total=recipe.steps)
        model.train()
        for step in range(recipe.steps):
            rows = sampler.rows(step / recipe.steps)
            loss, answer_loss = batch_loss(model, rows, recipe.language_model_weight)
            model.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
                optimizer.step()
                scheduler.step()
            if rows[0].segments[0] == 0 and rows[0].segments[-1] > 0:
                recent.append(answer_loss)
            if (step + 1) % 100 == 0:
                curve.append(round(sum(recent) / max(1, len(recent)), 4))
                recent.clear()
                bar.console.print(f"step {step + 1}: answer loss {curve[-1]}")
            bar.advance(task)
    return curve


@torch.no_grad()
def answer(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str]) -> list[str]:
    """Answer prompts greedily, 64 at a time."""
    answers: list[str] = []
    for start in range(0, len(prompts), 64):
        inputs = tokenizer(prompts[start : start + 64], padding=True, return_tensors="pt")
        output = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=12, do_sample=False
        )
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        answers += [text.strip() for text in texts]
    return answers


def measure(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, num_articles: int) -> dict[str, float]:
    """Measure exact match on stream articles, whose people the model has not met, and the chance level."""
    rng = random.Random(1)
    scores: dict[str, float] = {"num_articles": num_articles}
    for name, changing in (("", False), ("_changing_facts", True)):
        articles = World(seed=7, facts_per_document=4, changing_facts=changing).articles("stream", num_articles)
        texts = [article.document.text for article in articles]
        asked = [(index, question) for index, a in enumerate(articles) for question in a.questions]
        scores["num_questions" + name] = len(asked)
        prompt = "Question: {}\nAnswer:"
        for num_documents in (0, 1, 2, 4):
            prompts = []
            for index, question in asked:
                others = rng.sample([i for i in range(len(texts)) if i != index], max(0, num_documents - 1))
                front = rng.sample([index, *others], num_documents) if num_documents else []
                prompts.append("\n".join([*(texts[i] for i in front), prompt.format(question.question)]))
            got = answer(model, tokenizer, prompts)
            right = sum(text in question.answers for text, (_, question) in zip(got, asked, strict=True))
            label = f"exact_match_{num_documents}_documents" if num_documents else "exact_match_closed_book"
            scores[label + name] = round(right / len(asked), 4)
        by_relation: dict[str, Counter[str]] = defaultdict(Counter)
        for _, question in asked:
            by_relation[question.id.rsplit("/", 1)[1]][question.answers[0]] += 1
        commonest = sum(counts.most_common(1)[0][1] for counts in by_relation.values())
        # what always naming each relation's commonest answer of this very sample would score
        scores["chance_of_commonest_answer" + name] = round(commonest / len(asked), 4)
    return scores


def measure_closed_book_subset(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> float:
    """Measure exact match without a document on the base articles that were also trained closed-book."""
    seed, facts, changing = recipe.worlds[0]
    world = World(seed=seed, facts_per_document=facts, changing_facts=changing)
    asked = [q for article in world.articles("base", recipe.closed_book_articles) for q in article.questions]
    got = answer(model, tokenizer, [f"Question: {question.question}\nAnswer:" for question in asked])
    return round(sum(text in q.answers for text, q in zip(got, asked, strict=True)) / len(asked), 4)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def main() -> None:
    """Train, save as bf16, reload what was saved, measure it and write the recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--out", type=Path, default=Path("cmt_cli/models/tiny"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measured-articles", type=int, default=150)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = Recipe(steps=arguments.steps)
    torch.manual_seed(recipe.seed)
    start = time.monotonic()

    articles = base_articles(recipe)
    one_fact = World(seed=20, facts_per_document=1, changing_facts=False).articles("base", recipe.one_fact_articles)
    sample = [f"{a.document.text}\nQuestion: {q.question}\nAnswer:" for a in articles[::8] for q in a.questions]
    values = sorted({value for relation in RELATIONS for value in relation.values})
    tokenizer = train_tokenizer([*sample, *[f" {' '.join(values)}"] * recipe.value_repeats], recipe.vocabulary_size)
    encoded = encode(articles, tokenizer)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.mlp_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        num_key_value_heads=recipe.num_key_value_heads,
        head_dim=recipe.head_size,
        max_position_embeddings=recipe.max_positions,
        initializer_range=recipe.initializer_range,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    (newline,) = tokenizer("\n")["input_ids"]
    print(
        f"{model.num_parameters():,} parameters, {len(encoded):,} articles, {time.monotonic() - start:.0f} s to prepare"
    )
    curve = train(model, RowSampler(recipe, encoded, encode(one_fact, tokenizer), newline), recipe)
    train_seconds = round(time.monotonic() - start)

    arguments.out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    (arguments.out / "model.safetensors").chmod(0o644)
    (arguments.out / "generation_config.json").unlink(missing_ok=True)  # it would only repeat config.json
    saved = AutoModelForCausalLM.from_pretrained(arguments.out, dtype=torch.float32).eval()
    saved_tokenizer = AutoTokenizer.from_pretrained(arguments.out)
    measured = measure(saved, saved_tokenizer, arguments.measured_articles)
    measured["exact_match_closed_book_subset"] = measure_closed_book_subset(saved, saved_tokenizer, recipe)
    content = {
        "command": f"python experiments/train_tiny.py --steps {recipe.steps}",
        "recipe": asdict(recipe),
        "num_parameters": saved.num_parameters(),
        "measured_on_stream": measured,
        "answer_loss_per_100_steps": curve,
        "train_seconds": train_seconds,
        "threads": arguments.threads,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    write_json(arguments.out / "recipe.json", content)
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
