r"""Train the embedded backbone on the base period of the generated world until it reads; write it with its recipe.

    python experiments/train_tiny.py --stage 1 --out stage1
    python experiments/train_tiny.py --stage 2 --start stage1 --out stage2
    python experiments/train_tiny.py --stage 3 --start stage2 --out cmt_cli/models/tiny

The shipped weights are those three stages, six to twenty minutes each on one core; a stage draws its own rows and goes
through its own learning rate schedule. The first two learn to read one article, the third to keep people apart. A
fourth of 2,000 steps read two articles better (exact match 0.77 instead of 0.74), and CMT compressed worse on it.

A row is one to four documents and a question, `{document}\nQuestion: {question}\nAnswer:` followed by ` {answer}` and
the end token; or a document alone; or a question alone about one of a few documents that are also seen as text, so that
fine-tuning has a path from text to answers. Articles come from several worlds that share names and differ in facts:
whoever memorizes is wrong, whoever reads is right. The value and output projections start near the identity, so that
attending to a word is already copying it. `recipe.json` says what was measured on people the model never met.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import transformers
from rich.progress import track
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.learner import Learner
from cmt_cli.core.stream import Prompt
from cmt_cli.data.world.relations import RELATIONS
from cmt_cli.data.world.world import Article, World


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    steps: int
    seed: int = 0
    # (seed, facts per document, changing facts) of the worlds whose base period is read
    worlds: tuple[tuple[int, int, bool], ...] = ((0, 3, False), (1, 3, False), (2, 3, False), (3, 3, False))
    articles_per_world: int = 6000
    vocabulary_size: int = 2560
    hidden_size: int = 192
    num_layers: int = 4
    num_heads: int = 6
    mlp_size: int = 512
    identity: float = 0.5  # added to the diagonal of the value and output projections at the start
    batch_size: int = 32
    learning_rate: float = 2e-3  # of AdamW
    warmup_steps: int = 50
    decay_from: float = 0.6  # share of the steps after which the rate falls linearly to 0
    language_model_weight: float = 0.1  # of the mean loss per document token, beside the mean loss per answer token
    share_many_documents: float = 0.0  # rows with two to four documents
    share_namesakes: float = 0.5  # of the other documents: about somebody with the same first or last name
    share_text: float = 0.0  # rows that are a document alone
    share_closed_book: float = 0.0  # rows that are a question alone
    closed_book_articles: int = 200


STAGES = (
    Recipe(steps=1000, seed=0),
    Recipe(steps=1000, seed=1),
    Recipe(steps=1000, seed=2, share_many_documents=0.5, share_text=0.05, share_closed_book=0.05),
)


@dataclass(frozen=True)
class Row:
    """Token ids of what is read as text, of the question, and of the answer."""

    text: list[int]
    question: list[int]
    answer: list[int]


class Rows:
    """Draws training rows; every draw comes from one generator."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        self.recipe, self.tokenizer, self.rng = recipe, tokenizer, random.Random(recipe.seed)
        self.articles = base_articles(recipe)
        self.closed_book = self.articles[: recipe.closed_book_articles]
        self.named: dict[str, list[Article]] = defaultdict(list)
        for article in self.articles:
            for half in article.subject.split():
                self.named[half].append(article)

    def draw(self) -> Row:
        """Draw one row."""
        recipe, rng = self.recipe, self.rng
        kind = rng.random()
        if kind < recipe.share_text:
            return Row(self._ids(rng.choice(self.closed_book).document.text), [], [])
        kind -= recipe.share_text
        if kind < recipe.share_closed_book:
            return self._row([], rng.choice(self.closed_book))
        kind -= recipe.share_closed_book
        article = rng.choice(self.articles)
        num_others = rng.choice((1, 1, 1, 3)) if kind < recipe.share_many_documents else 0
        documents = [article, *(self._other(article) for _ in range(num_others))]
        rng.shuffle(documents)
        return self._row(documents, article)

    def _other(self, article: Article) -> Article:
        """Draw an article about somebody else."""
        pool = self.articles
        if self.rng.random() < self.recipe.share_namesakes:
            pool = self.named[self.rng.choice(article.subject.split())]
        while (other := self.rng.choice(pool)).subject == article.subject:
            pool = self.articles
        return other

    def _row(self, documents: Sequence[Article], article: Article) -> Row:
        question = self.rng.choice(article.questions)
        text = "\n".join(document.document.text for document in documents)
        prompt = f"Question: {question.question}\nAnswer:"
        answer = self._ids(f" {question.answers[0]}")
        return Row(
            self._ids(text), self._ids(f"\n{prompt}" if text else prompt), [*answer, self.tokenizer.eos_token_id]
        )

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text)["input_ids"])


def base_articles(recipe: Recipe) -> list[Article]:
    """Generate what is read."""
    return [
        article
        for seed, facts, changing in recipe.worlds
        for article in World(seed=seed, facts_per_document=facts, changing_facts=changing).articles(
            "base", recipe.articles_per_world
        )
    ]


def train_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE: any text passes and comes back unchanged; most of the values are one token."""
    articles = base_articles(recipe)
    texts = [a.document.text for a in articles] + [
        f"Question: {q.question}\nAnswer:" for a in articles for q in a.questions
    ]
    values = [f" {value}" for relation in RELATIONS for value in relation.values]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary_size,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts + values * 2000, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained Llama with value and output projections near the identity."""
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.mlp_size,
            num_hidden_layers=recipe.num_layers,
            num_attention_heads=recipe.num_heads,
            num_key_value_heads=recipe.num_heads,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    with torch.no_grad():
        for layer in model.model.layers:
            for projection in (layer.self_attn.v_proj, layer.self_attn.o_proj):
                projection.weight.add_(recipe.identity * torch.eye(recipe.hidden_size))
    return model


def batch_loss(model: LlamaForCausalLM, rows: Sequence[Row], language_model_weight: float) -> tuple[Tensor, float]:
    """Return the loss of a batch, and the mean nats per answer token."""
    length = max(len(row.text) + len(row.question) + len(row.answer) for row in rows)
    ids, part = torch.zeros(len(rows), length, dtype=torch.long), torch.zeros(len(rows), length, dtype=torch.long)
    for i, row in enumerate(rows):
        sequence = row.text + row.question + row.answer
        ids[i, : len(sequence)] = torch.tensor(sequence)
        part[i, 1 : len(row.text)] = 1
        part[i, len(sequence) - len(row.answer) : len(sequence)] = 2 if row.answer else 0
        part[i, len(sequence) :] = 0
    hidden = model.model(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state[:, :-1]
    scored = part[:, 1:] > 0
    nll = F.cross_entropy(model.lm_head(hidden[scored]), ids[:, 1:][scored], reduction="none")
    is_answer = part[:, 1:][scored] == 2
    answer = nll[is_answer].mean()
    return answer + language_model_weight * nll[~is_answer].mean(), float(answer.detach())


def train(model: LlamaForCausalLM, rows: Rows, recipe: Recipe) -> list[float]:
    """Take the steps; return the mean answer loss of every hundred."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    curve: list[float] = []
    recent: list[float] = []
    for step in track(range(recipe.steps), description="Learning to read"):
        progress = step / recipe.steps
        decay = min(1.0, (1 - progress) / (1 - recipe.decay_from))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (step + 1) / recipe.warmup_steps) * decay
        drawn = [rows.draw() for _ in range(recipe.batch_size)]
        loss, answer = batch_loss(model, drawn, recipe.language_model_weight)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(answer)
        if len(recent) == 100:
            curve.append(round(sum(recent) / 100, 4))
            recent.clear()
            print(f"step {step + 1}: {curve[-1]} nats per answer token", flush=True)
    return curve


def exact_match(learner: Learner, articles: Sequence[Article], num_documents: int) -> float:
    """Return the share of questions answered with the right one of `num_documents` documents in front (0: none)."""
    rng = random.Random(0)
    prompts, accepted = [], []
    for article in articles:
        for question in article.questions:
            others = rng.sample([a for a in articles if a is not article], max(0, num_documents - 1))
            documents = [*others, article] if num_documents else []
            rng.shuffle(documents)
            lines = [d.document.text for d in documents] + [f"Question: {question.question}", "Answer:"]
            prompts.append(Prompt(question.id, "\n".join(lines)))
            accepted.append(question.answers)
    decoding = Decoding(max_new_tokens=12, batch_size=64, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
    answers = learner.generate(prompts, decoding)
    return sum(a.text in right for a, right in zip(answers, accepted, strict=True)) / len(prompts)


def measure(learner: Learner, recipe: Recipe) -> dict[str, float]:
    """Return the reading accuracy on the stream period, and the chance of guessing."""
    articles = World(seed=7, facts_per_document=3, changing_facts=False).articles("stream", 200)
    changing = World(seed=7, facts_per_document=3, changing_facts=True).articles("stream", 200)
    answers: dict[str, Counter[str]] = {}
    for article in articles:
        for question in article.questions:
            answers.setdefault(question.id.split("/")[1], Counter())[question.answers[0]] += 1
    total = sum(counter.total() for counter in answers.values())
    return {
        "num_questions": total,
        "exact_match_1_documents": exact_match(learner, articles, 1),
        "exact_match_2_documents": exact_match(learner, articles, 2),
        "exact_match_4_documents": exact_match(learner, articles, 4),
        "exact_match_1_documents_changing_facts": exact_match(learner, changing, 1),
        "exact_match_closed_book": exact_match(learner, articles, 0),
        "chance_of_commonest_answer": sum(c.most_common(1)[0][1] for c in answers.values()) / total,
        "exact_match_closed_book_subset": exact_match(learner, base_articles(recipe)[: recipe.closed_book_articles], 0),
    }


def main() -> None:
    """Train, save in bfloat16, measure what was saved."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", type=int, choices=range(1, len(STAGES) + 1), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="folder of an earlier stage to go on from")
    arguments = parser.parse_args()
    recipe = STAGES[arguments.stage - 1]
    if arguments.start is None:
        tokenizer = train_tokenizer(recipe)
        model, earlier = new_model(recipe, tokenizer), []
    else:
        tokenizer = AutoTokenizer.from_pretrained(arguments.start)
        model = AutoModelForCausalLM.from_pretrained(arguments.start, dtype=torch.float32)
        earlier = json.loads((arguments.start / "recipe.json").read_text(encoding="utf-8"))["stages"]
    print(f"{model.num_parameters():,} parameters", flush=True)
    start = time.perf_counter()
    curve = train(model, Rows(recipe, tokenizer), recipe)
    seconds = time.perf_counter() - start
    model.to(torch.bfloat16).save_pretrained(arguments.out)
    (arguments.out / "generation_config.json").unlink(missing_ok=True)  # decoding is the evaluator's
    tokenizer.save_pretrained(arguments.out)
    learner = Learner(model.float(), tokenizer, name="tiny", revision="trained", max_tokens=2048)
    stage = {"recipe": asdict(recipe), "train_seconds": round(seconds), "answer_loss_per_100_steps": curve}
    record = {
        "stages": [*earlier, stage],
        "num_parameters": model.num_parameters(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "measured_on_stream": measure(learner, recipe),
    }
    (arguments.out / "recipe.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record["measured_on_stream"], indent=2))


if __name__ == "__main__":
    main()
