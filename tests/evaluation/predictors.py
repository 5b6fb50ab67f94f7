"""Predictors that say what a table says, and one row of the matrix for them."""

from collections.abc import Mapping, Sequence

from cmt_cli.core.decoding import Decoding
from cmt_cli.core.stream import Answer, Prompt, TestSet
from cmt_cli.evaluation.evaluator import Evaluator, TestScore


class TablePredictor:
    """Generates by a table from prompts to texts; finds the choice with the table's text likeliest."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        self.prompts_seen: list[Prompt] = []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Answer]:
        self.prompts_seen += prompts
        return [Answer(self.texts[prompt.text], ended=True) for prompt in prompts]

    def loglikelihood(self, prompts: Sequence[Prompt], targets: Sequence[str]) -> list[float]:
        self.prompts_seen += [prompt for prompt in prompts if prompt not in self.prompts_seen]
        return [float(self.texts[p.text] == target.strip()) for p, target in zip(prompts, targets, strict=True)]


def evaluate(predictor: TablePredictor, tests: Sequence[TestSet], *, row: int = 1, **limits: int) -> list[TestScore]:
    decoding = Decoding(max_new_tokens=4, batch_size=2, num_beams=1, num_beam_groups=1, diversity_penalty=0.0)
    evaluator = Evaluator(decoding=decoding, rows="all", max_examples_per_test=limits.get("limit"))
    return evaluator.evaluate(
        predictor, tests, row=row, progress=lambda what, done, total: None, stop_requested=lambda: False
    )
