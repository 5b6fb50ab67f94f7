"""Training rows of the embedded backbone: documents, then questions that see the documents and themselves only.

The five kinds of rows and their shares are fields of `Recipe`, the one home of every setting of `train_tiny.py`.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from cmt_cli.data.world import Article

IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    steps: int
    seed: int = 0
    # (seed, facts per document, changing facts) of the worlds, and articles of the base period drawn from each
    worlds: tuple[tuple[int, int, bool], ...] = (
        (0, 4, False),
        (1, 4, True),
        (2, 3, False),
        (3, 5, False),
        (4, 4, False),
    )
    articles_per_world: int = 12_000
    vocabulary_size: int = 2560
    value_repeats: int = 2000  # times that every value is shown to the tokenizer, so that most become one token
    hidden_size: int = 192
    num_layers: int = 4
    num_heads: int = 4
    head_size: int = 64
    num_key_value_heads: int = 2
    mlp_size: int = 512
    max_positions: int = 2048
    initializer_range: float = 0.04
    tokens_per_step: int = 1_600  # upper bound; a row is never split
    matrix_learning_rate: float = 0.02  # of Muon, which trains the weight matrices
    learning_rate: float = 3e-3  # of AdamW, which trains embeddings and norms
    weight_decay: float = 0.01  # of AdamW
    warmup_steps: int = 50
    decay_from: float = 0.3  # share of the steps after which the rates fall linearly, to a hundredth
    language_model_weight: float = 0.25  # of the mean loss per document token, beside the mean loss per answer token
    # shares of the steps: questions behind one document, one behind a document of one fact, questions behind two to
    # four documents, documents only, questions only
    share_one_document: float = 0.55
    share_one_fact: float = 0.10
    share_many_documents: float = 0.20
    share_language_model: float = 0.08
    share_closed_book: float = 0.07
    one_fact_until: float = 0.08  # share of the steps that see documents of one fact only: copying is learned there
    many_documents_from: float = 0.35  # share of the steps after which rows with several documents begin
    one_fact_articles: int = 12_000
    closed_book_articles: int = 100  # first articles of the first world; also half of the documents-only rows
    namesake_rate: float = 0.5  # of the documents beside the one asked about, in rows with several
    gap_rate: float = 0.3  # of rows in which positions jump between documents and questions ...
    max_gap: int = 400  # ... by up to this many


@dataclass(frozen=True)
class Encoded:
    """One article as token ids: the document, and (question, answer) pairs without the line break in front."""

    document: list[int]
    pairs: list[tuple[list[int], list[int]]]
    names: tuple[str, str]


@dataclass
class Row:
    """One training row under construction: ids, positions, targets, and segments (0 = seen by all that follows)."""

    ids: list[int]
    positions: list[int]
    targets: list[int]
    segments: list[int]

    def add(self, ids: list[int], *, segment: int, start: int, num_scored: int) -> None:
        """Append ids at positions from `start`, scoring the last `num_scored` of them."""
        first_scored = len(ids) - num_scored
        self.targets += [IGNORED if i < first_scored else token for i, token in enumerate(ids)]
        self.ids += ids
        self.positions += range(start, start + len(ids))
        self.segments += [segment] * len(ids)


def encode(articles: Sequence[Article], tokenizer: PreTrainedTokenizerFast) -> list[Encoded]:
    """Tokenize articles; the parts of a prompt tokenize independently because no token spans a line break."""
    documents = tokenizer([article.document.text for article in articles])["input_ids"]
    questions = [f"Question: {question.question}\nAnswer:" for a in articles for question in a.questions]
    answers = [f" {question.answers[0]}" for a in articles for question in a.questions]
    pairs = iter(zip(tokenizer(questions)["input_ids"], tokenizer(answers)["input_ids"], strict=True))
    eos = tokenizer.eos_token_id
    encoded = []
    for article, document in zip(articles, documents, strict=True):
        own = [(question, [*answer, eos]) for question, answer in (next(pairs) for _ in article.questions)]
        words = [w for w in article.questions[0].question.replace("'s", "").split() if w[0].isupper()]
        encoded.append(Encoded(document, own, (words[-2], words[-1].rstrip("?"))))
    return encoded


class RowSampler:
    """Draws training rows of the five kinds."""

    def __init__(self, recipe: Recipe, articles: list[Encoded], one_fact: list[Encoded], newline: int) -> None:
        self.recipe, self.one_fact, self.newline = recipe, one_fact, newline
        self.rng = random.Random(recipe.seed)
        self.closed_book = articles[: recipe.closed_book_articles]
        self.open_book = articles[recipe.closed_book_articles :]
        self.namesakes: dict[str, list[Encoded]] = defaultdict(list)
        for article in self.open_book:
            for name in article.names:
                self.namesakes[name].append(article)
        self.unread: Iterator[Encoded] = iter(())

    def rows(self, progress: float) -> list[Row]:
        """Draw one step's rows, all of one kind; `progress` in [0, 1] is the share of training that is over."""
        recipe = self.recipe
        kinds = {
            self._one_fact: recipe.share_one_fact,
            self._one_document: recipe.share_one_document,
            self._many_documents: recipe.share_many_documents if progress > recipe.many_documents_from else 0.0,
            self._language_model: recipe.share_language_model,
            self._closed_book: recipe.share_closed_book,
        }
        draw = self._one_fact
        if progress > recipe.one_fact_until:
            (draw,) = self.rng.choices(list(kinds), list(kinds.values()))
        rows: list[Row] = [draw()]
        while (len(rows) + 1) * max(len(row.ids) for row in rows) <= recipe.tokens_per_step:
            rows.append(draw())
        return rows

    def _next_unread(self) -> Encoded:
        article = next(self.unread, None)
        if article is None:
            self.unread = iter(self.rng.sample(self.open_book, len(self.open_book)))
            article = next(self.unread)
        return article

    def _row(self, documents: list[Encoded], pairs: Sequence[tuple[list[int], list[int]]]) -> Row:
        gaps = self.rng.random() < self.recipe.gap_rate
        row, position = Row([], [], [], []), 0
        for document in documents:
            ids = document.document if not row.ids else [self.newline, *document.document]
            row.add(ids, segment=0, start=position, num_scored=len(ids) - 1)
            position += len(ids) + (self.rng.randrange(self.recipe.max_gap) if gaps else 0)
        for segment, (question, answer) in enumerate(pairs, start=1):
            ids = [*question, *answer] if not documents else [self.newline, *question, *answer]
            row.add(ids, segment=segment, start=position, num_scored=len(answer))
        return row

    def _one_fact(self) -> Row:
        article = self.rng.choice(self.one_fact)
        return self._row([article], article.pairs)

    def _one_document(self) -> Row:
        article = self._next_unread()
        return self._row([article], article.pairs)

    def _many_documents(self) -> Row:
        documents = [self._next_unread()]
        for _ in range(self.rng.randrange(1, 4)):
            namesakes = self.namesakes[self.rng.choice(documents[0].names)]
            pool = namesakes if self.rng.random() < self.recipe.namesake_rate else self.open_book
            other = self.rng.choice(pool)
            if all(other.names != document.names for document in documents):
                documents.append(other)
        self.rng.shuffle(documents)
        return self._row(documents, [pair for document in documents for pair in document.pairs])

    def _language_model(self) -> Row:
        article = self.rng.choice(self.closed_book) if self.rng.random() < 0.5 else self._next_unread()
        return self._row([article], ())

    def _closed_book(self) -> Row:
        return self._row([], self.rng.choice(self.closed_book).pairs)
