# make demo, make test, make lint: each first makes .venv and installs what is missing.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOG    := $(VENV)/install.log
STAMP  := $(VENV)/.installed
CORE   := CMakeLists.txt $(wildcard cmake/*.cmake) $(shell find runtime -name '*.[ch]pp' -o -name '*.[ch]' -o -name '*.cu' -o -name CMakeLists.txt)
CPP    := $(shell find runtime -name '*.[ch]pp' -o -name '*.[ch]' -o -name '*.cu')

# make demo COUNT=... SEED=... for a longer or another run; make bench STUDENTS=... TRUST=... for
# other bundles and the public key of their maker, PEERS=... for files of others beside them.
DEMO   := runs/demo
SEED   ?= 0
COUNT  ?= 240
BUNDLE ?= $(DEMO)/student.ebts
KEY    := $(DEMO)/demo
TRUST  ?= models/release.pub
STUDENTS ?= models/busi-default.ebts models/busi-nano.ebts
PEERS  ?=
EVALS  ?= $(wildcard benchmarks/results/busi-*.eval-int8.json)
RESULT ?= benchmarks/results/cpu
TESTS  ?= tests
FUZZ   ?= 60

EBTS   := $(BIN)/edge-bts
RECIPE := --config demo --seed $(SEED) --force
DATA   := --data $(DEMO)/phantoms --split $(DEMO)/split.json
BENIGN := $(DEMO)/benign/checkpoint.safetensors
MALIGN := $(DEMO)/malignant/checkpoint.safetensors
PUPIL  := $(DEMO)/student/checkpoint.safetensors

comma := ,
say = @printf '\n\033[1m== %s\033[0m\n' "$(1)"
# Runs a command with its output in the log; the log is shown if the command fails.
quiet = $(1) >> $(LOG) 2>&1 || { tail -n 40 $(LOG); echo "Failed; all of the output is in $(LOG)."; exit 1; }
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench sanitize clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt $(CORE)
	$(call say,Installing into $(VENV) (a few minutes the first time; log: $(LOG)))
	@test -x $(BIN)/python || { echo "Making the environment with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@: > $(LOG)
	@echo "PyTorch: first and alone, so that the build of this machine's index is taken"
	@$(call quiet,$(BIN)/pip install -c constraints.txt torch)
	@echo "Build tools: scikit-build-core, nanobind, cmake, ninja, and OpenVINO to build against"
	@$(call quiet,$(BIN)/pip install -c constraints.txt scikit-build-core nanobind cmake ninja openvino)
	@echo "edge-bts with its C++ core, and what training, export, benchmarks and tests need"
	@$(call quiet,PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install -c constraints.txt --no-build-isolation -e ".[dev]")
	@cd / && $(CURDIR)/$(BIN)/python -c "from edge_bts.geometry import BACKEND; print('Geometry core:', BACKEND)"
	@cd / && $(CURDIR)/$(BIN)/python -c "from edge_bts.runtime.native import import_runtime as r; print('C++ runtime:', r().__version__)" \
	  2>&1 | tail -n 1
	@touch $@

demo: $(STAMP) ## Distil on phantoms, export INT8, benchmark; 7 minutes on two cores, once installed
	$(call say,1/9 Simulate $(COUNT) ultrasound images (phantoms: never clinical data))
	@$(EBTS) data phantom $(DEMO)/phantoms --count $(COUNT) --seed $(SEED) --force
	$(call say,2/9 Split them into train$(comma) val and test)
	@$(EBTS) data split $(DEMO)/phantoms --seed $(SEED) -o $(DEMO)/split.json --force
	$(call say,3/9 Train the teacher of benign lesions)
	@$(EBTS) train $(RECIPE) $(DATA) --category benign -o $(DEMO)/benign
	$(call say,4/9 Train the teacher of malignant lesions)
	@$(EBTS) train $(RECIPE) $(DATA) --category malignant -o $(DEMO)/malignant
	$(call say,5/9 Distil both into the student)
	@$(EBTS) distill $(RECIPE) $(DATA) --teachers $(BENIGN) $(MALIGN) -o $(DEMO)/student
	$(call say,6/9 Quantize to INT8$(comma) write the bundle and sign it)
	@test -e $(KEY).key || $(EBTS) key new -o $(KEY)
	@$(EBTS) export $(PUPIL) --int8 $(RECIPE) $(DATA) --sign $(KEY).key -o $(BUNDLE)
	$(call say,7/9 Score it on the test part)
	@$(EBTS) eval $(BUNDLE) --trust $(KEY).pub $(DATA) -o $(DEMO)/eval.json --force
	$(call say,8/9 Benchmark against a teacher)
	@$(EBTS) bench $(BUNDLE) --trust $(KEY).pub --student $(PUPIL) --teacher $(BENIGN) --quick -o $(DEMO)/bench.json --plot $(DEMO)/bench.png --force
	$(call say,9/9 Segment new images and a cine loop)
	@$(EBTS) data phantom $(DEMO)/new --count 12 --seed 1000 --cine 1 --force
	@$(EBTS) run $(BUNDLE) --trust $(KEY).pub $(DEMO)/new/images $(DEMO)/new/cine/*/loop.avi -o $(DEMO)/segmented --force
	$(call say,Done)
	@printf 'bundle    %s\npictures  %s\nfigures   %s\n' $(BUNDLE) \
	  "$(DEMO)/segmented/overlays $(DEMO)/bench.png $(DEMO)/student/curves.png" "$(DEMO)/eval.json $(DEMO)/bench.json"
	@echo 'Simulated images: these figures show that everything runs and say nothing about patients.'

test: $(STAMP) ## Run every test that this machine can run
	$(call say,Tests)
	@$(BIN)/pytest -q --durations=5 $(TESTS)

lint: $(STAMP) ## Check style and types; change nothing
	$(call say,Style: ruff and clang-format)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/clang-format --dry-run -Werror $(CPP)
	$(call say,Types: mypy --strict)
	@$(BIN)/python .ci/link_typing.py
	@$(BIN)/mypy

format: $(STAMP) ## Put the style right
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/clang-format -i $(CPP)

# Two runs on a machine that nobody else uses: back to back beside the teacher, and paced at 30
# frames a second with and without a load beside. About 25 minutes on two cores.
BENCH := $(EBTS) bench $(STUDENTS) $(PEERS) --trust $(TRUST) $(addprefix --eval ,$(EVALS)) --force
bench: $(STAMP) ## Measure the released students: tables, pages and JSON in benchmarks/results
	$(call say,Back to back$(comma) beside the teacher)
	@$(BENCH) --teacher attention_unet:width=64 --streams 2 -o $(RESULT).bench.json --markdown $(RESULT).bench.md --html $(RESULT).bench.html
	$(call say,At 30 frames a second$(comma) alone and beside a load)
	@$(BENCH) --fps 30 --co-load 1 -o $(RESULT)-paced.bench.json --markdown $(RESULT)-paced.bench.md --html $(RESULT)-paced.bench.html

sanitize: $(STAMP) ## C++ tests under sanitizers, then each fuzzer for FUZZ=60 seconds
	$(call say,Sanitizers and fuzzers of the C library)
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/sanitize $(FUZZ)

clean: ## Remove builds and caches; runs/ and .venv stay
	rm -rf build .typing .pytest_cache .mypy_cache .ruff_cache $(STAMP)
	find edge_bts trainers export benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
