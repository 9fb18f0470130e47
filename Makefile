# The front door. GNU make 3.81 and bash 3.2 are enough: what a Mac brings.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# What to train on.
SYMBOL    ?= BPCL
SYMBOLS   ?= $(SYMBOL)
DATA      ?=
SOURCE    ?=
FEATURES  ?= core
# The market, and how long to hold out.
MARKET    ?= nse
TEST_DAYS ?= 30
VALIDATION_DAYS ?= 0
# How to train.
ALGO      ?= ppo
# Evolution learns from whole episodes, and needs more of them.
TIMESTEPS ?= $(if $(filter ppo,$(ALGO)),2000000,20000000)
ENVS      ?= 256
SEED      ?= 1
DEVICE    ?= auto
THREADS   ?=
RUN       ?= runs/$(NAME)
# What `make data` fetches.
INTERVAL  ?= 5m
PERIOD    ?= 60d
# Where `make install` puts things.
PREFIX    ?= $(HOME)/.local

BIN := target/release
comma := ,
empty :=
space := $(empty) $(empty)

# A run is named after its symbols, or after the file in DATA.
ifneq ($(strip $(DATA)),)
  NAME := $(basename $(notdir $(DATA)))
else
  NAME := $(subst $(space),+,$(strip $(SYMBOLS)))
endif

# A value as one word of the shell, whatever characters it holds (M&M is a symbol of the NSE).
quoted = '$(subst ','\'',$(1))'
ifneq ($(word 2,$(DATA)),)
  $(error DATA=$(DATA): make cannot take a path with a space; give it a name without one)
endif

# Real bars win over the sample; a symbol with neither names itself when its features are made.
bars_of = $(firstword $(wildcard data/real/$(1).csv) $(wildcard data/sample/$(1).csv) data/real/$(1).csv)
BARS := $(if $(strip $(DATA)),$(DATA),$(foreach symbol,$(SYMBOLS),$(call bars_of,$(symbol))))
FEATGEN_ARGS := --features $(call quoted,$(FEATURES)) $(if $(strip $(SOURCE)),--source $(call quoted,$(SOURCE)))
# Named after what goes into it, so that other bars, features or a source never pass for these.
FEATURE_KEY := $(shell printf '%s' $(call quoted,$(BARS) $(FEATURES) $(SOURCE)) | cksum | cut -d ' ' -f 1)
FEATURE_FILE := data/features/$(NAME)-$(FEATURE_KEY).parquet
ENVPOOL = $(BIN)/envpool --market $(MARKET) --test-days $(TEST_DAYS) \
	$(if $(filter-out 0,$(VALIDATION_DAYS)),--validation-days $(VALIDATION_DAYS)) --envs $(ENVS) --seed $(SEED) \
	$(if $(strip $(THREADS)),--threads $(THREADS)) $(call quoted,$(FEATURE_FILE))

# The tools size their own pools; this keeps the libraries beneath them from adding more.
WORKERS = $(or $(strip $(THREADS)),$(shell getconf _NPROCESSORS_ONLN))

.PHONY: help setup build install features train eval monitor data test gates bench bench-envpool bench-featgen bench-openes bench-train clean

help: ## Say what each target and variable does
	@echo 'usage: make TARGET [VARIABLE=value …]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  SYMBOL=$(SYMBOL)      what to trade; SYMBOLS="BPCL ITC" for several at once'
	@echo '  DATA=             bars to use instead: a CSV or Parquet file; SOURCE="…" says where real ones come from'
	@echo '  FEATURES=$(FEATURES)     which features; see `$(BIN)/featgen list`'
	@echo '  MARKET=$(MARKET)        rules and costs: nse is intraday charges, shorts and square-off on intraday bars,'
	@echo '                    delivery charges and long-only on daily ones; none is 10 basis points, shorts allowed'
	@echo '  TEST_DAYS=$(TEST_DAYS)      trading days held out and judged on'
	@echo '  VALIDATION_DAYS=$(VALIDATION_DAYS)  the last training days, kept apart to choose among policies'
	@echo '  ALGO=$(ALGO)          how to learn: ppo, or without gradients openes, cem or ars'
	@echo '  TIMESTEPS=$(TIMESTEPS) environment steps to train for; ten times as many by evolution'
	@echo '  ENVS=$(ENVS)          environments stepped at once'
	@echo '  SEED=$(SEED)            of everything drawn at random'
	@echo '  DEVICE=$(DEVICE)       where networks live: auto (measured; the fastest is taken), cpu, cuda, mps'
	@echo '  THREADS=          threads for each tool; all cores if empty'
	@echo '  RUN=runs/NAME     where runs are kept'
	@echo '  INTERVAL=$(INTERVAL)       bars that `make data` fetches; PERIOD=$(PERIOD) how far back'
	@echo '  PREFIX=~/.local   where `make install` puts the tools'

setup: ## Fetch libtorch (DEVICE=cuda for the CUDA build); does nothing when it is there
	@scripts/setup-libtorch.sh $(if $(filter cuda,$(DEVICE)),cuda,cpu)

build: setup ## Compile the four tools
	@cargo build --release --workspace --locked

install: build ## Install the tools under PREFIX
	@scripts/install.sh $(call quoted,$(PREFIX))

$(FEATURE_FILE): $(BARS) | build
	@mkdir -p $(dir $@)
	@$(BIN)/featgen $(FEATGEN_ARGS) $(if $(strip $(THREADS)),--threads $(THREADS)) -o $(call quoted,$@) \
		$(foreach file,$(BARS),$(call quoted,$(file)))

features: $(FEATURE_FILE) ## Compute the features of SYMBOL

train: $(FEATURE_FILE) | build ## Train a policy on SYMBOL and judge it on days that it never saw
	@mkdir -p $(call quoted,$(RUN))
	@eval "$$($(BIN)/cpumon threads --export --workers $(WORKERS))"; status=0; \
	$(BIN)/cpumon --summary short --output $(call quoted,$(RUN)/cpu.jsonl) -- \
		$(BIN)/train $(ALGO) --out $(call quoted,$(RUN)) --timesteps $(TIMESTEPS) --envs $(ENVS) --seed $(SEED) \
			--device $(DEVICE) $(if $(strip $(THREADS)),--threads $(THREADS)) \
			--cpu-log $(call quoted,$(RUN)/cpu.jsonl) -- $(ENVPOOL) || status=$$?; \
	if [ $$status -eq 0 ]; then mv $(call quoted,$(RUN)/cpu.jsonl) $(call quoted,$(RUN)/latest/cpu.jsonl); \
	else rm -f $(call quoted,$(RUN)/cpu.jsonl); fi; \
	exit $$status

eval: $(FEATURE_FILE) | build ## Judge the newest policy of SYMBOL again, perhaps on other DATA
	@$(BIN)/train eval --checkpoint $(call quoted,$(RUN)/latest) -- $(ENVPOOL)

monitor: | build ## Show what the cores do, until Ctrl-C
	@$(BIN)/cpumon

data: ## Fetch real bars of SYMBOL into data/real (needs a network)
	@for symbol in $(foreach symbol,$(SYMBOLS),$(call quoted,$(symbol))); do \
		python3 scripts/fetch-bars.py --symbol "$$symbol" --interval $(INTERVAL) --range $(PERIOD) || exit 1; \
	done

ifneq ($(strip $(DATA)),)
ifeq ($(wildcard $(DATA)),)
$(DATA):
	@echo 'make: there is no file $(DATA): mend DATA=path, or leave it out to train on the sample' >&2; exit 1
endif
endif

data/real/%.csv:
	@echo $(call quoted,make: no bars for $*: fetch real ones with `make data SYMBOL=$*`$(comma) or name a file with DATA=path) >&2; exit 1

test: build ## Everything that must hold
	@python3 tests/fetch_bars_test.py
	@python3 tests/python_client_test.py
	@cargo test --release --workspace --locked

gates: build ## What takes longer: learning to a known score, kills at random moments
	@cargo test --release --workspace --locked --features pipe-tests/gates --test gates --test gates_evolution --test misbehaviour

bench: build ## Speeds, as ratios against peers and limits; JSON under target/bench
	@cargo bench --workspace --locked --bench bench

bench-envpool: build ## envpool against a bare gather, EnvPool, Gymnasium and through Python; JSON under target/bench
	@[ -x target/envpool-peers/bin/python ] || python3 -m venv target/envpool-peers
	@target/envpool-peers/bin/python -m pip install --quiet --disable-pip-version-check numpy gymnasium
	@target/envpool-peers/bin/python -m pip install --quiet --disable-pip-version-check envpool==1.2.5 || true
	@target/envpool-peers/bin/python scripts/bench-envpool.py $(BIN)/envpool target/bench/envpool.json

bench-cpumon: ## What cpumon costs, beside mpstat, pidstat, psrecord and htop; JSON under target/bench
	@cargo build --release --locked --package cpumon
	@python3 scripts/bench-cpumon.py

bench-featgen: build ## featgen against pandas, polars, the TA-Lib wheel and its limits; JSON under target/bench
	@[ -x .venv/bin/python ] || python3 -m venv .venv
	@.venv/bin/python -m pip install --quiet TA-Lib==0.8.2 numpy pyarrow pandas polars polars_talib
	@mkdir -p target/bench
	@cargo bench --workspace --locked --bench featgen_compute > target/bench/featgen-compute.json
	@.venv/bin/python scripts/bench-featgen.py $(BIN)/featgen target/bench/featgen-compute.json target/bench/featgen.json

bench-openes: build ## train openes against envpool with a bare forward pass, and evosax where PEER_PYTHON is a Python with it
	@cargo build --release --workspace --locked --examples
	@python3 scripts/bench-openes.py $(BIN) target/bench/openes.json \
		$(if $(strip $(PEER_PYTHON)),--python $(call quoted,$(PEER_PYTHON)))

bench-train: build ## train ppo against what its arithmetic allows, and loops in PyTorch, JAX and SB3; JSON under target/bench
	@cargo build --release --workspace --locked --examples
	@python3 scripts/bench-train.py $(BIN) target/bench/train.json \
		$(if $(strip $(PEER_PYTHON)),--python $(call quoted,$(PEER_PYTHON)))

clean: ## Remove what was built, and the features; runs, real data and libtorch stay
	@cargo clean
	@rm -rf data/features .venv
