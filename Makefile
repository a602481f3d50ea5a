# Needs Python 3.11 or newer and make. Everything else is installed into .venv, at the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
DOCS ?= samples
OUT ?=
REPORTS ?= ../shared/reports
# The shell reads these from its environment, so that a name may hold any character.
export DOCS OUT REPORTS
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: score serve train test lint lock clean
.DELETE_ON_ERROR:

score: .venv/base.stamp  ## score a folder of documents: make score DOCS=path OUT=scores.jsonl
	@$(BIN)/candour score "$$DOCS" $(if $(OUT),--output "$$OUT"); status=$$?; test $$status -eq 3 && echo "some documents could not be scored" >&2; exit $$status

serve: .venv/base.stamp  ## the HTTP API on http://127.0.0.1:8000/docs
	$(BIN)/candour serve

train: .venv/dev.stamp  ## train a model: on the written passages, and on those of reports where REPORTS has them
ifneq ($(wildcard $(REPORTS)/manifest.csv),)
	$(BIN)/candour labels hydrate --reports "$$REPORTS"
	$(BIN)/candour train --data labels/data/written.jsonl --data labels/data/hydrated.jsonl
else
	$(BIN)/candour train --data labels/data/written.jsonl
endif

test: .venv/dev.stamp lint  ## everything that must pass
	$(BIN)/python -m pytest

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: .venv/dev.stamp  ## write the versions installed now to constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v '^candour' > constraints.txt

clean:
	rm -rf .venv build *.egg-info

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/base.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable .
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[dev]'
	@touch $@ .venv/base.stamp
