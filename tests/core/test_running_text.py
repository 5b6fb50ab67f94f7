"""Running text is read and scored by the conventions of lm-evaluation-harness: as it stands, without an end token."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.prompt_format import RunningText, collected_cuts
from cmt_cli.core.stream import Prompt

TEXT = RunningText(lambda text: [ord(letter) for letter in text], (1,), 2)


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def test_a_target_is_what_both_have_beyond_the_text() -> None:
    assert TEXT.pieces("q", "ab", " c", 9) == [([1, *letters("ab c")], 3)]
    merging = RunningText(lambda text: letters(text.replace("bc", "X")), (), 2)
    assert merging.pieces("q", "ab", "cd", 9) == [(letters("ab") + letters("d"), 2)]  # "aXd" has one token beyond two
    with pytest.raises(UserError, match="'c' of 'q' adds no token to its text, which ends with 'ab'"):
        merging.pieces("q", "ab", "c", 9)


def test_what_is_too_long_loses_its_beginning() -> None:
    with collected_cuts() as cut:
        assert TEXT.pieces("q", "abc", "de", 4) == [(letters("bcde"), 2)]
        assert TEXT.pieces("long", "a", "bcde", 3) == [(letters("cde"), 1)]
        TEXT.pieces("fits", "ab", "c", 4)
    assert cut == {"q", "long"}


def test_each_token_of_a_text_is_scored_once() -> None:
    pieces = TEXT.pieces("q", "", "abcdefgh", 4)
    assert pieces == [([2, *letters("abc")], 1), (letters("cdef"), 1), (letters("efgh"), 2)]
    assert "".join(chr(i) for ids, num_read in pieces for i in ids[num_read:]) == "abcdefgh"


def test_likelihoods_are_the_models_own(any_learner: Learner) -> None:
    prompts = [Prompt("q", "The sky is", is_running_text=True), Prompt("t", "", is_running_text=True)]
    found = any_learner.loglikelihood(prompts, [" blue today", "The sky"])
    tokenizer: Any = any_learner.tokenizer
    read, both = tokenizer("The sky is")["input_ids"], tokenizer("The sky is blue today")["input_ids"]
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    cases = [(read, both[len(read) :]), ([start], any_learner.encode("The sky"))]
    for value, (context, target) in zip(found, cases, strict=True):
        with torch.no_grad():
            logits = any_learner.model(torch.tensor([[*context, *target]])).logits[0].double()
        scores = logits.log_softmax(dim=-1)[len(context) - 1 : -1]
        expected = scores[torch.arange(len(target)), torch.tensor(target)].sum().item()
        assert value == pytest.approx(expected, rel=1e-5)


def test_a_running_text_is_continued_as_it_stands(any_learner: Learner) -> None:
    decoding = Decoding(
        max_new_tokens=4, batch_size=2, num_beams=1, num_beam_groups=1, diversity_penalty=0.0, stop_text="\n"
    )
    (answer,) = any_learner.generate([Prompt("q", "Say: ", is_running_text=True)], decoding)
    ids = any_learner.tokenizer("Say: ", return_tensors="pt")["input_ids"]
    new = any_learner.model.generate(ids, max_new_tokens=4, do_sample=False)[0, ids.shape[1] :]
    whole = any_learner.decode(new.tolist())
    assert answer.text == whole  # white space and all lines are kept


def test_generation_may_stop_at_a_text(any_learner: Learner) -> None:
    decoding = Decoding(max_new_tokens=12, batch_size=4, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
    texts = ["Say: ", "The sky is", "One two three four", "x"]
    whole = any_learner.generate([Prompt(text, text, is_running_text=True) for text in texts], decoding)
    stops = [answer.text[1:2] for answer in whole]
    asked = [Prompt(t, t, is_running_text=True, until=(stop,)) for t, stop in zip(texts, stops, strict=True)]
    for found, full, stop in zip(any_learner.generate(asked, decoding), whole, stops, strict=True):
        assert found.text.split(stop)[0] == full.text.split(stop)[0] and full.text.startswith(found.text)
        assert stop in found.text and found.ended
    (alone,) = any_learner.generate(asked[:1], decoding)
    assert len(any_learner.encode(alone.text)) < len(any_learner.encode(whole[0].text))
