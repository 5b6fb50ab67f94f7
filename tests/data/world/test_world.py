"""The generated world: build one, read an article, ask its questions."""

from __future__ import annotations

import datetime
import re
from collections import Counter

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.world.world import PERIODS, Article, World

FULL_NAME = re.compile(r"\b[A-Z][a-z]+ [A-Z][a-z]+\b")


def plain_world(seed: int = 0) -> World:
    return World(seed=seed, facts_per_document=4, changing_facts=False)


def changing_world(seed: int = 0) -> World:
    return World(seed=seed, facts_per_document=4, changing_facts=True)


def subject(article: Article) -> str:
    """Return the longest sequence of words that the text and all of the article's questions share."""
    words = article.questions[0].question.replace("'s", "").replace("?", "").split()
    spans = [" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    everything = [article.document.text, *(question.question for question in article.questions)]
    shared = [span for span in spans if span[0].isupper() and all(span in text for text in everything)]
    return max(shared, key=len)


def test_same_arguments_give_the_same_articles() -> None:
    assert plain_world(3).articles("stream", 50) == plain_world(3).articles("stream", 50)
    assert plain_world(3).articles("stream", 50) != plain_world(4).articles("stream", 50)


@pytest.mark.parametrize("changing_facts", [False, True])
def test_shorter_requests_are_prefixes_of_longer_ones(changing_facts: bool) -> None:
    world = World(seed=5, facts_per_document=3, changing_facts=changing_facts)
    assert world.articles("meta", 300)[:130] == world.articles("meta", 130)


@pytest.mark.parametrize("changing_facts", [False, True])
def test_articles_have_a_subject_and_answers_from_their_text(changing_facts: bool) -> None:
    world = World(seed=1, facts_per_document=4, changing_facts=changing_facts)
    for article in world.articles("stream", 600):
        assert len(article.questions) == 4
        assert subject(article)
        for question in article.questions:
            assert question.answers[0] in article.document.text
            assert question.question.endswith("?")


def test_questions_and_documents_have_unique_ids_and_dates_rise() -> None:
    articles = changing_world().articles("base", 1000)
    assert len({article.document.id for article in articles}) == 1000
    ids = [question.id for article in articles for question in article.questions]
    assert len(set(ids)) == len(ids)
    dates = [datetime.date.fromisoformat(article.document.date or "") for article in articles]
    assert dates == sorted(dates)


def test_periods_share_no_subject_whatever_the_seeds() -> None:
    subjects = {p: {subject(a) for a in plain_world(seed).articles(p, 1500)} for seed, p in enumerate(PERIODS)}
    texts = {
        p: " ".join(a.document.text for a in plain_world(seed + 9).articles(p, 1500)) for seed, p in enumerate(PERIODS)
    }
    mentioned = {p: set(FULL_NAME.findall(text)) for p, text in texts.items()}
    for period in PERIODS:
        for other in set(PERIODS) - {period}:
            assert not subjects[period] & subjects[other]
            assert not subjects[period] & mentioned[other]


def test_articles_differ_in_subject_though_single_names_recur() -> None:
    subjects = [subject(article) for article in plain_world().articles("stream", 500)]
    assert len(set(subjects)) == 500
    people = [name.split() for name in subjects if len(name.split()) == 2]
    assert len({first for first, _ in people}) < 0.5 * len(people)
    assert len({last for _, last in people}) < 0.8 * len(people)


def test_articles_are_short_and_varied() -> None:
    texts = [article.document.text for article in plain_world().articles("stream", 500)]
    lengths = [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]
    assert min(lengths) >= 20 and max(lengths) <= 80
    assert 35 <= sum(lengths) / len(lengths) <= 60
    assert len({text.split()[0] for text in texts}) > 50


def test_each_relation_has_many_about_equally_frequent_answers() -> None:
    answers: dict[str, Counter[str]] = {}
    for article in plain_world().articles("stream", 12000):
        for question in article.questions:
            answers.setdefault(question.id.split("/")[1], Counter())[question.answers[0]] += 1
    assert len(answers) == 8
    for counts in answers.values():
        assert len(counts) == 40
        assert counts.most_common(1)[0][1] / counts.total() < 0.08


def test_a_changing_world_revises_facts_and_dates_the_questions() -> None:
    articles = changing_world().articles("stream", 600)
    queried: dict[tuple[str, str], list[tuple[str, tuple[str, ...]]]] = {}
    for article in articles:
        for question in article.questions:
            key = (subject(article), question.id.split("/")[1])
            queried.setdefault(key, []).append((question.question, question.answers))
    revised = [versions for versions in queried.values() if len(versions) > 1]
    assert len(revised) > 80
    for (old_question, old_answers), (new_question, new_answers) in revised:
        assert old_answers != new_answers
        dates = [re.match(r"As of (\d+ \w+ \d{4}), ", question) for question in (old_question, new_question)]
        assert dates[0] and dates[1] and dates[0].group(1) != dates[1].group(1)


def test_the_text_of_a_dated_question_carries_the_date() -> None:
    for article in changing_world().articles("stream", 100):
        for question in article.questions:
            date = re.match(r"As of (\d+ \w+ \d{4}), ", question.question)
            assert date is None or date.group(1) in article.document.text


def test_impossible_requests_are_refused_in_one_readable_sentence() -> None:
    with pytest.raises(UserError, match="facts_per_document=9"):
        World(seed=0, facts_per_document=9, changing_facts=False)
    with pytest.raises(UserError, match=r"no period 'test'.*base, meta"):
        plain_world().articles("test", 3)
    with pytest.raises(UserError, match="num_documents=20001"):
        plain_world().articles("base", 20_001)
