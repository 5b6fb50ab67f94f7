"""A predictor as a model of lm-evaluation-harness: its three kinds of requests, asked as running text.

Requests with the same context go to the predictor together, which then reads it once. Whether a target is what the
model would say by itself (`is_greedy`) is found by generating, and only for tasks that use it: the greedy
continuation begins with the target. The harness looks at tokens there, so that a model which spells a target by
other tokens than the tokenizer counts as right here only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from lm_eval.api.model import LM
from typing_extensions import override

from cmt_cli.core.batch import Predictor
from cmt_cli.core.decoding import Decoding
from cmt_cli.core.exceptions import Interrupted, UserError
from cmt_cli.core.learner import Learner
from cmt_cli.core.process_group import SINGLE_PROCESS, ProcessGroup
from cmt_cli.core.stream import Prompt

T = TypeVar("T")
DEFAULT_NEW_TOKENS = 256  # where a task names no number; the harness's own
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # the first that is given counts
_TAKEN = {*_LENGTHS, "until", "do_sample", "temperature", "num_beams", "top_p", "top_k"}


class HarnessModel(LM):
    """What the harness asks, answered by a predictor."""

    def __init__(
        self,
        predictor: Predictor,
        learner: Learner,
        *,
        batch_size: int,
        asks_greedy: Callable[[str], bool],
        progress: Callable[[str, int, int], None],
        stop_requested: Callable[[], bool],
        processes: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """`asks_greedy` says of a task's name whether it uses `is_greedy`; `batch_size` counts contexts."""
        super().__init__()
        self._predictor = predictor
        self._learner = learner
        self._batch_size = batch_size
        self._asks_greedy = asks_greedy
        self._progress = progress
        self._stop_requested = stop_requested
        self._divided = SINGLE_PROCESS if processes.is_sharded else processes

    @override
    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Return log p(continuation | context) in nats and whether it is the greedy one, for each request."""
        pairs = [_scored_pair(request) for request in requests]
        values = self._scores(pairs)
        greedy = [i for i, request in enumerate(requests) if self._asks_greedy(request.task_name or "")]
        said = dict(zip(greedy, self._are_greedy([pairs[i] for i in greedy]), strict=True))
        return [(value, said.get(i, False)) for i, value in enumerate(values)]

    @override
    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Return the log-likelihood in nats of each text, its first token included."""
        return self._scores([(Prompt(_id(request), "", is_running_text=True), request.args[0]) for request in requests])

    @override
    def generate_until(self, requests: list[Any]) -> list[str]:
        """Return the greedy continuation of each context up to the first of its stop texts."""
        settings = [_generation(request) for request in requests]
        prompts = [
            Prompt(_id(request), request.args[0], is_running_text=True, until=stops)
            for request, (_, stops) in zip(requests, settings, strict=True)
        ]
        texts = self._generated(prompts, [max_new_tokens for max_new_tokens, _ in settings])
        return [_until(text, stops) for text, (_, stops) in zip(texts, settings, strict=True)]

    def _scores(self, pairs: Sequence[tuple[Prompt, str]]) -> list[float]:
        def answer(chosen: Sequence[int]) -> list[float]:
            return self._predictor.loglikelihood([pairs[i][0] for i in chosen], [pairs[i][1] for i in chosen])

        return self._in_batches([prompt.text for prompt, _ in pairs], answer)

    def _are_greedy(self, pairs: Sequence[tuple[Prompt, str]]) -> list[bool]:
        drops_space = not self._learner.decode(self._learner.encode(" a")).startswith(" ")
        # One more than the target takes by itself: behind a text its tokens may be cut otherwise.
        lengths = [len(self._learner.encode(target)) + 1 for _, target in pairs]
        texts = self._generated([prompt for prompt, _ in pairs], lengths)
        return [
            text.startswith(target) or (drops_space and text.startswith(target.lstrip(" ")))
            for text, (_, target) in zip(texts, pairs, strict=True)
        ]

    def _generated(self, prompts: Sequence[Prompt], lengths: Sequence[int]) -> list[str]:
        texts = [""] * len(prompts)
        for length in sorted(set(lengths)):
            members = [i for i, own in enumerate(lengths) if own == length]
            found = self._continued([prompts[i] for i in members], length)
            for i, text in zip(members, found, strict=True):
                texts[i] = text
        return texts

    def _continued(self, prompts: Sequence[Prompt], max_new_tokens: int) -> list[str]:
        decoding = Decoding(
            max_new_tokens=max_new_tokens,
            batch_size=self._batch_size,
            num_beams=1,
            num_beam_groups=1,
            diversity_penalty=0.0,
        )

        def answer(chosen: Sequence[int]) -> list[str]:
            return [given.text for given in self._predictor.generate([prompts[i] for i in chosen], decoding)]

        return self._in_batches([prompt.text for prompt in prompts], answer)

    def _in_batches(self, texts: Sequence[str], answer: Callable[[Sequence[int]], list[T]]) -> list[T]:
        """Answer questions by their numbers, those of one context together; ranks take whole batches in turn."""
        contexts: dict[str, list[int]] = {}
        for i, text in enumerate(texts):
            contexts.setdefault(text, []).append(i)
        order = sorted(contexts, key=lambda text: (len(text), text))
        size = self._batch_size
        batches = [
            [i for text in order[start : start + size] for i in contexts[text]] for start in range(0, len(order), size)
        ]
        found: dict[int, T] = {}
        for start in range(0, len(batches), self._divided.world_size):
            if self._stop_requested():
                raise Interrupted("while answering probes")
            together = batches[start : start + self._divided.world_size]
            own = answer(together[self._divided.rank]) if self._divided.rank < len(together) else []
            for chosen, given in zip(together, self._divided.gather(own)[: len(together)], strict=True):
                found |= dict(zip(chosen, given, strict=True))
            self._progress("answering probes", len(found), len(texts))
        return [found[i] for i in range(len(texts))]


def _id(request: Any) -> str:
    return question_id(request.task_name, request.doc_id)


def question_id(task: str | None, number: int | None) -> str:
    """Return the name of a question of a task in a run's predictions."""
    return f"{task}:{number}"


def _scored_pair(request: Any) -> tuple[Prompt, str]:
    """Return context and continuation; white space at the end of the context counts as the continuation's."""
    context, continuation = request.args
    text = context.rstrip()
    return Prompt(_id(request), text, is_running_text=True), context[len(text) :] + continuation


def _generation(request: Any) -> tuple[int, tuple[str, ...]]:
    """Return how many tokens are generated and what ends them; raise UserError for what is not greedy."""
    settings: Mapping[str, Any] = request.args[1]
    beams, samples = settings.get("num_beams", 1), settings.get("do_sample")
    sampled = samples or (samples is None and float(settings.get("temperature", 0.0)) > 0)
    unknown = sorted(set(settings) - _TAKEN)
    if beams != 1 or sampled or unknown:
        raise UserError(
            f"The task '{request.task_name}' generates with {dict(settings)}"
            f"{', of which is not known: ' + ', '.join(unknown) if unknown else ''}. Probes are answered greedily, so "
            "that a repeated run has the same scores. Leave the task out, or give a task file of your own that "
            "includes its file and has generation_kwargs with do_sample: false, until and max_gen_toks only."
        )
    lengths = (settings[key] for key in _LENGTHS if settings.get(key) is not None)
    until = settings.get("until") or ()
    return int(next(lengths, DEFAULT_NEW_TOKENS)), (until,) if isinstance(until, str) else tuple(until)


def _until(text: str, stops: Sequence[str]) -> str:
    for stop in filter(None, stops):
        text = text.split(stop, 1)[0]
    return text
