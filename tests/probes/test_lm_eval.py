"""Scores of lm-evaluation-harness through a predictor equal those of the harness's own model of transformers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")

import evaluate
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from cmt_cli.core.batch import Predictor
from cmt_cli.core.exceptions import Interrupted, UserError
from cmt_cli.core.learner import Learner
from cmt_cli.evaluation.evaluator import TestScore
from cmt_cli.evaluation.probes import Facts
from cmt_cli.probes.harness_code import no_downloaded_code
from cmt_cli.probes.lm_eval_probes import LmEval
from tests.probes.harness_files import KINDS, PERPLEXITIES, task_file

SETTINGS: dict[str, Any] = {
    "include_path": None,
    "num_fewshot": None,
    "limit": None,
    "metric": None,
    "rows": "all",
    "batch_size": 64,
    "seed": 1234,
    "trust_code": False,
}


def probes(tasks: Sequence[str], **settings: Any) -> LmEval:
    return LmEval(tasks=tasks, **{**SETTINGS, **settings})


def facts(tasks: Sequence[str], **settings: Any) -> Facts:
    return probes(tasks, **settings).prepare()


def asked(
    learner: Learner, tasks: Sequence[str], predictor: Predictor | None = None, row: int = 0, **settings: Any
) -> dict[str, TestScore]:
    own = probes(tasks, **settings)
    own.prepare()
    scores = own.evaluate(
        predictor or learner, learner, row=row, num_rows=3, progress=lambda *_: None, stop_requested=lambda: False
    )
    return {score.test: score for score in scores}


@pytest.mark.parametrize("num_fewshot", [None, 2])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_numbers_are_those_of_the_harnesss_own_model(
    family: str, num_fewshot: int | None, make_learner: Any, tmp_path: Path
) -> None:
    learner, kinds = make_learner(family), [kind for kind in KINDS if num_fewshot is None or kind in ("choice", "say")]
    tasks = [task_file(tmp_path, kind) for kind in kinds]
    # A row here counts the last token, which is not read, to the model's length; texts get no start token twice.
    adds_start = bool(learner.tokenizer("a")["input_ids"][0] == learner.tokenizer.bos_token_id)
    for own, starts in ((tasks[:3], adds_start), (tasks[3:], False)):
        if not own:
            continue
        model = HFLM(
            pretrained=learner.model,
            tokenizer=learner.tokenizer,
            batch_size=2,
            max_length=learner.max_tokens - 1,
            add_bos_token=starts,
        )
        manager = TaskManager(include_defaults=False)
        expected = simple_evaluate(model, tasks=own, num_fewshot=num_fewshot, bootstrap_iters=0, task_manager=manager)
        assert expected is not None
        found = asked(learner, own, num_fewshot=num_fewshot)
        for task, results in expected["results"].items():
            numbers = {key.split(",")[0]: value for key, value in results.items() if key.endswith(",none")}
            for name, value in numbers.items():
                if not name.endswith("_stderr"):
                    assert found[task].scores[name] == pytest.approx(value, rel=1e-4 if "perplex" in name else 1e-6)
            answers = [sample["filtered_resps"][0] for sample in expected["samples"][task]]
            if task == "say":
                assert [record["prediction"] for record in found[task].predictions] == answers


def test_the_batch_size_changes_nothing(tiny_llama: Learner, tmp_path: Path) -> None:
    tasks = [task_file(tmp_path, kind) for kind in KINDS]
    one, all_at_once = asked(tiny_llama, tasks, batch_size=1), asked(tiny_llama, tasks, batch_size=64)
    for task, score in one.items():
        assert score.scores == pytest.approx(all_at_once[task].scores, rel=1e-4)
        answers = [[r["prediction"] for r in found.predictions] for found in (score, all_at_once[task])]
        assert answers[0] == answers[1]


def test_a_repetition_asks_and_scores_the_same(tiny_llama: Learner, tmp_path: Path) -> None:
    task = task_file(tmp_path, "choice")
    random.seed(5)
    torch.manual_seed(5)
    first = asked(tiny_llama, [task], num_fewshot=2)
    after = random.random(), torch.rand(1).item()
    random.seed(5)
    torch.manual_seed(5)
    assert after == (random.random(), torch.rand(1).item())  # the run's own draws are what they would be
    assert asked(tiny_llama, [task], num_fewshot=2) == first
    other = facts([task], num_fewshot=2, seed=1)
    assert other["choice"]["sha256"] != facts([task], num_fewshot=2)["choice"]["sha256"]


def test_a_text_is_scored_by_its_bytes_probability(tiny_llama: Learner, tmp_path: Path) -> None:
    score = asked(tiny_llama, [task_file(tmp_path, "text")])["text"]
    bits = score.scores["bits_per_byte"]
    assert bits is not None and score.scores["byte_probability"] == pytest.approx(2**-bits)
    assert set(score.scores) == {"byte_probability", *PERPLEXITIES}


def test_predictions_hold_choices_and_scores(tiny_llama: Learner, tmp_path: Path) -> None:
    score = asked(tiny_llama, [task_file(tmp_path, "choice")], limit=2)["choice"]
    assert [record["id"] for record in score.predictions] == ["choice:0", "choice:1"]
    for record, target in zip(score.predictions, ("two", "Tuesday"), strict=True):
        assert record["target"] == target and set(record["scores"]) == {"acc", "acc_norm"}
        assert record["scores"]["acc"] == float(record["prediction"] == target)
    acc = [record["scores"]["acc"] for record in score.predictions]
    assert score.scores["acc"] == sum(acc) / 2


class Knowing(Predictor):
    """Says what follows each of the texts that it knows, and finds it certain."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers, self.prompts = answers, []  # type: ignore[var-annotated]

    def generate(self, prompts: Any, decoding: Any) -> Any:
        from cmt_cli.core.stream import Answer

        self.prompts += prompts
        return [Answer(self.answers[prompt.text.split("? ")[0]]) for prompt in prompts]

    def loglikelihood(self, prompts: Any, targets: Any) -> list[float]:
        self.prompts += prompts
        return [0.0 if target in self.answers.values() else -9.0 for target in targets]


def test_the_predictor_answers_not_the_learner(tiny_llama: Learner, tmp_path: Path) -> None:
    answers = {"Which comes after one": " two", "Which comes after Monday": " noon"}
    task = task_file(tmp_path, "last_word")
    predictor = Knowing(answers)
    scores = asked(tiny_llama, [task], predictor, limit=2)["last_word"].scores
    assert scores["acc"] == 0.5 and scores["perplexity"] == pytest.approx(torch.tensor(4.5).exp().item())
    assert all(prompt.is_running_text and prompt.id.startswith("last_word:") for prompt in predictor.prompts)


def test_a_groups_own_score_is_one_column(tiny_llama: Learner, tmp_path: Path) -> None:
    for name in ("first", "second"):
        task_file(tmp_path, "choice", task=name)
    listed = "[{metric: acc, aggregation: mean, weight_by_size: true}]"
    (tmp_path / "both.yaml").write_text(f"group: both\ntask: [first, second]\naggregate_metric_list: {listed}\n")
    (tmp_path / "apart.yaml").write_text("group: apart\ntask: [third]\n")
    task_file(tmp_path, "choice", task="third")
    found = asked(tiny_llama, ["both", "apart"], include_path=str(tmp_path))
    assert set(found) == {"both", "third"} and len(found["both"].predictions) == 12
    assert found["both"].scores["acc"] == pytest.approx(found["third"].scores["acc"])


def test_the_settings_choose_a_columns_score(tmp_path: Path) -> None:
    tasks = [task_file(tmp_path, "choice"), task_file(tmp_path, "last_word")]
    assert [fact["metric"] for fact in facts(tasks).values()] == ["acc", "acc"]
    by_task = facts(tasks, metric={"choice": "acc_norm"})
    assert [fact["metric"] for fact in by_task.values()] == ["acc_norm", "acc"]
    with pytest.raises(UserError, match="probe 'last_word' has acc"):
        facts(tasks, metric="acc_norm")
    with pytest.raises(UserError, match=r"needs a fraction .* 'perplexity' is not one\. It has acc"):
        facts(tasks[1:], metric="perplexity")


def test_a_limit_is_told(tmp_path: Path) -> None:
    fact = facts([task_file(tmp_path, "choice")], limit=0.5)["choice"]
    assert (fact["num_questions"], fact["num_available"], fact["limit"]) == (3, 6, 0.5)


def test_rows_between_the_ends_may_be_left_out(tiny_llama: Learner, tmp_path: Path) -> None:
    task = task_file(tmp_path, "choice")
    assert [bool(asked(tiny_llama, [task], row=row, rows="ends")) for row in range(3)] == [True, False, True]


def test_a_stop_ends_the_questions(tiny_llama: Learner, tmp_path: Path) -> None:
    own = probes([task_file(tmp_path, "choice")])
    own.prepare()
    with pytest.raises(Interrupted, match="while answering probes"):
        own.evaluate(tiny_llama, tiny_llama, row=0, num_rows=1, progress=lambda *_: None, stop_requested=lambda: True)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no task, group or tag 'arc_eazy'\. Did you mean 'arc_easy'\?"):
        facts(["arc_eazy"])


def test_data_that_are_not_here_are_told(tmp_path: Path) -> None:
    gone = task_file(tmp_path, "choice", dataset_kwargs={"data_files": {"test": str(tmp_path / "gone.jsonl")}})
    with pytest.raises(UserError, match=r"data of the probe .*choice\.yaml.* cannot be had: FileNotFoundError"):
        facts([gone])
    elsewhere = task_file(tmp_path, "choice", dataset_path="nobody/has_this", dataset_kwargs=None)
    with pytest.raises(UserError, match=r"cannot be had: .* Repeat with a network connection"):
        facts([elsewhere])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"doc_to_text": "{{nothing}}"}, "'nothing' is undefined"),
        ({"output_type": "essay"}, "Got invalid output_type"),
        ({"test_split": "validation"}, "cannot be loaded"),
    ],
)
def test_mistakes_in_a_task_file_name_it(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        facts([task_file(tmp_path, "choice", **changes)])
    assert "choice.yaml" in str(error.value)


def test_sampling_is_refused(tiny_llama: Learner, tmp_path: Path) -> None:
    sampled = {"generation_kwargs": {"do_sample": True, "temperature": 0.7, "until": ["\n"]}}
    with pytest.raises(UserError, match=r"'say' generates with .*Probes are answered greedily"):
        asked(tiny_llama, [task_file(tmp_path, "say", **sampled)])


def test_functions_run_only_where_they_are_trusted(tiny_llama: Learner, tmp_path: Path) -> None:
    path = Path(task_file(tmp_path, "choice"))
    (tmp_path / "mine.py").write_text("def text(doc):\n    return 'Say ' + doc['question']\n")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("doc_to_text")]
    path.write_text("\n".join([*lines, "doc_to_text: !function mine.text"]))
    with pytest.raises(UserError, match=r"the function mine\.text"):
        facts([str(path)])
    score = asked(tiny_llama, [str(path)], trust_code=True)["choice"]
    assert score.predictions[0]["prompt"] == "Say Which comes after one?"


def test_unsafe_tasks_of_a_group_are_not_loaded(tmp_path: Path) -> None:
    task_file(tmp_path, "choice", task="first")
    task_file(tmp_path, "say", task="second", unsafe_code=True, dataset_path="nobody/has_this")
    (tmp_path / "both.yaml").write_text("group: both\ntask: [first, {task: second}]\n")
    with pytest.raises(UserError, match=r"second\.yaml' runs code that it marks as unsafe"):
        facts(["both"], include_path=str(tmp_path))
    with pytest.raises(UserError, match=r"'humaneval' executes code that the model writes"):
        facts(["humaneval"])


def test_a_metric_that_would_be_downloaded_is_told() -> None:
    with pytest.raises(UserError, match="'mine' runs the metric 'rouge'"), no_downloaded_code("mine", False):
        evaluate.load("rouge")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": []}, "names no task"),
        ({"rows": "end"}, "Did you mean 'ends'"),
        ({"limit": 1.5}, "neither a number of questions nor a share"),
        ({"limit": 0}, "neither a number"),
        ({"batch_size": 0}, "at least 1"),
        ({"num_fewshot": -1}, "at least 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LmEval(**{"tasks": ["arc_easy"], **SETTINGS, **settings})
