# Everything a reader or maintainer types. `make` alone lists the targets.
# Settings: PYTHON=python3.12  TF=cpu|gpu|plain  PORT=8899  IP=0.0.0.0  T=T_02  (make lab PORT=8899)
PYTHON ?= python3
TF     ?= auto
PORT   ?= 8888
IP     ?= 127.0.0.1
T      ?=
B      ?=
PEERS  ?=
ROUNDS ?=
ARGS   ?=
PY     := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup lab test data notebooks bench tables check lock clean

help: ## list these targets
	@echo "TensorFlow-Tutorial: make TARGET"
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## create .venv and install the pinned packages (the other targets do this themselves)
	@$(PYTHON) tools/setup_env.py --tf $(TF)

data: setup ## verify MNIST and make the picture sets (once, about a minute)
	@$(PY) data/prepare.py

lab: data ## open the lessons in JupyterLab (PORT=8899, IP=0.0.0.0 to reach it from outside)
	@$(PY) tools/lab.py --port $(PORT) --ip $(IP)

test: setup ## run all tests (ARGS="-k mnist" to select)
	@$(PY) -m pytest $(ARGS)

notebooks: data ## build and execute the notebooks from the lesson scripts (T=T_02 for one)
	@$(PY) -m tools.notebooks $(T)
	@$(PY) -m benchmarks.tables

bench: data ## run the benchmarks and write their tables (B=T_10 for one, PEERS=1 with PyTorch beside)
	@$(PY) -m benchmarks.bench $(B) $(if $(PEERS),--peers) $(if $(ROUNDS),--rounds $(ROUNDS))

tables: setup ## write the tables of the READMEs from benchmarks/results
	@$(PY) -m benchmarks.tables

check: setup ## check style, notebooks and tables against their sources, in seconds
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .
	@$(PY) -m tools.notebooks --check
	@$(PY) -m benchmarks.tables --check

lock: setup ## resolve requirements.txt anew and write requirements.lock
	@$(PY) tools/lock.py

clean: ## remove the environment, caches and intermediate files; data and notebooks stay
	rm -rf .venv .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
