"""`cmt run` and what follows it, from the command line to the run folder, on small generated data."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from cmt_cli.core.learner import Learner
from cmt_cli.methods.controls.frozen import Frozen
from tests.command_line import SMALL, cmt
from tests.data.written_files import put_streamingqa
from tests.models.checkpoints import CHAT_TEMPLATE, TURN_TOKENS, save_checkpoint

pytestmark = pytest.mark.usefixtures("empty_folder")

REPOSITORY = Path(__file__).parents[2]


class Mine(Frozen):
    """A method that somebody keeps in a package of their own."""


def run_folders() -> list[Path]:
    return sorted(path.parent for path in Path("runs").glob("*/result.json"))


def status(folder: Path) -> str:
    return str(json.loads((folder / "result.json").read_text())["status"])


def test_a_run_fills_its_folder_and_repeating_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "method=frozen", *SMALL) == 0
    (folder,) = run_folders()
    assert folder.name.startswith("frozen-streamingqa-generated-tiny-")
    assert status(folder) == "complete"
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["hydra"]["runtime"]["choices"] == {"method": "frozen", "data": "streamingqa", "model": "tiny"}
    assert sorted(path.name for path in (folder / "predictions").iterdir()) == [f"row_00{i}.jsonl" for i in range(3)]
    first = capsys.readouterr().out
    assert "GENERATED" in first and "cmt ask" in first
    before = (folder / "result.json").stat().st_mtime_ns
    assert cmt("run", "method=frozen", *SMALL) == 0
    assert capsys.readouterr().out == first
    assert (folder / "result.json").stat().st_mtime_ns == before
    assert not Path("outputs").exists() and not Path("multirun").exists()


def test_ask_names_the_documents_that_an_answer_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "method=bm25", *SMALL) == 0
    (folder,) = run_folders()
    (first, *_) = (folder / "predictions" / "row_002.jsonl").read_text().splitlines()
    prediction = json.loads(first)
    capsys.readouterr()
    question = prediction["prompt"].removeprefix("Question: ").removesuffix("\nAnswer:")
    assert cmt("ask", folder.name, question) == 0
    answer, header, best, *_ = capsys.readouterr().out.splitlines()
    assert answer == (prediction["prediction"] or "(empty answer)")
    assert header.split() == ["weight", "document", "date", "begins"]
    assert best.split()[1] == prediction["documents"][0][0]


def test_a_complete_run_with_changed_files_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    put_streamingqa(Path("data/streamingqa"))
    arguments = ("run", "method=frozen", "data.num_tasks=1", *(a for a in SMALL if not a.startswith("data.")))
    assert cmt(*arguments) == 0
    capsys.readouterr()
    put_streamingqa(Path("data/streamingqa"), test=[{"text": "Another.", "question": "Which?", "answers": "it"}])
    assert cmt(*arguments) == 2
    printed = capsys.readouterr()
    assert "test.csv changed since" in printed.err and "Run folder" not in printed.out


@pytest.mark.parametrize("status_before", ["complete", "interrupted"])
def test_other_weights_are_refused_by_every_command(
    status_before: str, capsys: pytest.CaptureFixture[str], checkpoints: dict[str, Path]
) -> None:
    shutil.copytree(checkpoints["llama"], "model")
    model = ("model=huggingface", "model.name_or_path=model", "model.max_tokens=128", "model.dtype=fp32")
    command = ("run", "method=frozen", "data.source=generated", *SMALL, *model)
    assert cmt(*command) == 0
    (folder,) = run_folders()
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**record, "status": status_before}))
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    weights = bytearray(Path("model/model.safetensors").read_bytes())
    weights[-1] ^= 1
    Path("model/model.safetensors").write_bytes(weights)
    for words in (command, (*command, "--dry-run"), ("resume", folder.name), ("ask", folder.name, "Who?")):
        capsys.readouterr()
        assert cmt(*words) == 2
        assert "model.safetensors changed since" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
    weights[-1] ^= 1
    Path("model/model.safetensors").write_bytes(weights)
    assert cmt("resume", folder.name) == 0


def test_validation_runs_say_so_wherever_they_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "method=frozen", "data.selection.stream_split=validation", *SMALL) == 0
    assert "VALIDATION split, no test result" in " ".join(capsys.readouterr().out.split())
    (folder,) = run_folders()
    assert folder.name.startswith("frozen-streamingqa-generated-validation-tiny-")
    data = json.loads((folder / "result.json").read_text())["data"]
    assert (data["split"], data["num_documents"], data["num_questions"]) == ("validation", 2, 4)
    assert cmt("compare", "runs") == 0
    assert "GENERATED data, VALIDATION split" in " ".join(capsys.readouterr().out.split())


def test_a_method_without_documents_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "method=frozen", *SMALL) == 0
    capsys.readouterr()
    assert cmt("ask", "frozen", "Who?") == 0
    assert "reports no documents" in capsys.readouterr().out


def test_sweeps_run_every_job_and_compare_joins_their_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "-m", "method=frozen", "seed=0,1", "data.generated.seed=0", *SMALL) == 0
    assert [status(folder) for folder in run_folders()] == ["complete", "complete"]
    capsys.readouterr()
    assert cmt("compare", "runs", "--format", "csv") == 0
    header, line = capsys.readouterr().out.splitlines()
    row = dict(zip(header.split(","), line.split(","), strict=True))
    assert (row["method"], row["source"], row["seeds"]) == ("frozen", "generated", "0 1")


def test_a_failing_job_does_not_stop_its_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "-m", "method=frozen", "data.source=auto,real", "seed=3", *SMALL) == 1
    assert [status(folder) for folder in run_folders()] == ["complete"]
    error = capsys.readouterr().err
    assert "data.source=real" in error and "data=streamingqa has no files" in error


def test_an_own_method_from_an_own_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "mine.yaml").write_text(f"# needs: documents\n_target_: {__name__}.Mine\n")
    arguments = ("--config-dir", "mine", "method=mine", *SMALL)
    assert cmt("run", *arguments) == 2
    assert f"'{__name__}.Mine' is outside the trusted packages" in capsys.readouterr().err
    assert cmt("run", f"trusted_targets=[{__name__}]", *arguments) == 0
    (folder,) = run_folders()
    assert folder.name.startswith("mine-")
    capsys.readouterr()
    assert cmt("resume", str(folder)) == 2
    assert f"--trust {__name__}" in capsys.readouterr().err
    assert cmt("resume", str(folder), "--trust", __name__) == 0


def test_a_dry_run_lists_jobs_and_loads_no_weights(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Learner, "__init__", lambda *args, **kwargs: pytest.fail("weights were loaded"))
    assert cmt("run", "--dry-run", "-m", "method=frozen,uniform", *SMALL) == 0
    out = capsys.readouterr().out
    assert "job 0 method=frozen" in out and "job 1 method=uniform" in out
    assert "streamingqa, generated" in out and "2 tasks, 4 documents" in out and "(new)" in out
    assert not Path("runs").exists()


def test_a_dry_run_says_each_thing_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "--dry-run", "-m", "method=ewc,l2", "trainer=smoke,default", *SMALL[1:]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if not line.startswith("  ") or "as job" not in line]
    assert len(set(said)) == len(said) == 19
    assert lines[0] == "all jobs" and lines[1].startswith("  data    streamingqa, generated")
    assert [len([line for line in lines if f"/{name}-" in line]) for name in ("newest_task", "joint")] == [2, 2]
    assert lines[lines.index("job 2 method=l2 trainer=smoke") + 3] == "  needs   as job 0"


def test_a_dry_run_names_the_job_that_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "--dry-run", "-m", "method=frozen", "data.source=auto,real", *SMALL) == 2
    assert capsys.readouterr().err.startswith("Error: Job 1: data=streamingqa has no files")


@pytest.mark.parametrize("dry", [("--dry-run",), ()])
def test_settings_that_cannot_work_leave_no_folder(
    dry: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert cmt("run", *dry, "method=cmt", *SMALL, "method.bank.dtype=int7") == 2
    assert "method.bank.dtype='int7' is not known; allowed: float32" in capsys.readouterr().err
    assert cmt("run", *dry, "method=frozen", *SMALL, "model.device=cuda") == 2
    assert "model.device=cuda, but torch sees no CUDA device here" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_dry_run_estimates_the_memory_of_the_weights(
    checkpoints: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("model=huggingface", f"model.name_or_path={checkpoints['llama']}", "data.source=generated")
    assert cmt("run", "--dry-run", "method=frozen", *model, *SMALL) == 0
    assert "weights 0.00 GiB (auto)" in capsys.readouterr().out


def test_prompts_are_chat_turns_where_the_model_says_so(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_checkpoint(
        tmp_path_factory.mktemp("chat"), "qwen2", chat_template=CHAT_TEMPLATE, turn_tokens=TURN_TOKENS
    )
    model = ("model=huggingface", f"model.name_or_path={path}", "model.max_tokens=128", "data.source=generated")
    chat = ("method=frozen", *SMALL, *model, "model.chat_template=auto", "model.system_text=Be brief.\\nBe right.")
    assert cmt("run", "--dry-run", *chat) == 0
    written = r"prompt '<|turn|>system\nBe brief.\nBe right.<|end|>\n<|turn|>user\nQuestion: "
    assert written in " ".join(capsys.readouterr().out.split())
    assert cmt("run", *chat) == 0
    shown = " ".join(capsys.readouterr().out.split())
    (folder,) = run_folders()
    record = json.loads((folder / "result.json").read_text())["model"]["chat_template"]
    assert record["system_text"] == "Be brief.\nBe right."
    assert record["sha256"] == hashlib.sha256(CHAT_TEMPLATE.encode()).hexdigest()
    assert f'{{answer}}<|end|>" (sha256 {record["sha256"][:8]})' in shown


@pytest.mark.parametrize("flags", [("--dry-run",), ()])
def test_a_model_without_a_chat_template_is_refused(
    checkpoints: dict[str, Path], flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("model=huggingface", f"model.name_or_path={checkpoints['llama']}", "data.source=generated")
    chat = ("method=frozen", *SMALL, *model, "model.max_tokens=128", "model.chat_template=auto")
    assert cmt("run", *flags, *chat) == 2
    assert "Error: model.chat_template=auto, but the tokenizer of" in capsys.readouterr().err
    assert not run_folders()


def test_cfg_prints_the_resolved_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "--cfg", "job", "method=uniform", "seed=7") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["seed"] == 7 and printed["trainer"]["seed"] == 7
    assert printed["data"]["path"] == "data/streamingqa"
    assert cmt("run", "--cfg", "hydra", "method=uniform") == 0
    assert yaml.safe_load(capsys.readouterr().out)["hydra"]["runtime"]["choices"]["method"] == "uniform"


def test_mistakes_show_a_traceback_only_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("run", "method=frozn") == 2
    assert capsys.readouterr().err.startswith("Error: method=frozn: there is no such method. Did you mean 'frozen'?")
    assert cmt("run", "method=frozn", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_unexpected_error_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt("list", "methods", "--json") == 0  # installs the hook, as every command does
    sys.excepthook(ZeroDivisionError, ZeroDivisionError("division by zero"), None)
    error = capsys.readouterr().err
    assert error.startswith("ZeroDivisionError: division by zero\n") and "--debug" in error


@pytest.mark.parametrize("arguments", [("show", "nothing"), ("ask", "nothing", "Who?"), ("resume", "nothing")])
def test_an_unknown_run_is_a_mistake(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cmt(*arguments) == 2
    assert "no run 'nothing'" in capsys.readouterr().err


@pytest.mark.slow
def test_sigterm_saves_and_says_how_to_continue() -> None:
    # Thirty documents, one step each, in the first task: enough to be in the middle of when the signal comes.
    overrides = ["method=uniform", *SMALL[1:], "data.generated.num_test_documents=60", "trainer.log_every_steps=1"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cmt_cli", "run", *overrides]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 400
    while not any('"train"' in path.read_text() for path in Path("runs").glob("*/events.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "cmt resume runs/uniform-" in error and "Traceback" not in error
    (folder,) = run_folders()
    assert status(folder) == "interrupted"
    assert cmt("resume", str(folder)) == 0
    assert status(folder) == "complete"


def test_hydras_process_settings_act_or_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FROM_HYDRA", raising=False)
    assert cmt("run", "method=frozen", "+hydra.job.env_set.FROM_HYDRA=1", *SMALL) == 0
    assert os.environ.pop("FROM_HYDRA") == "1"
    assert cmt("run", "method=frozen", "hydra.job.chdir=true", *SMALL) == 2
    assert "hydra.job.chdir has no effect on a single run" in capsys.readouterr().err
    assert cmt("run", "method=frozen", "hydra/job_logging=default", *SMALL) == 2
    assert "take hydra/job_logging=stdout" in capsys.readouterr().err
