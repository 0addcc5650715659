# Everything from `make demo` to CI, on a machine that has python3 (3.11 or newer), a C++ compiler and a package index.
# Each target does its own set-up in .venv, and does it once.

PYTHON ?= python3
TORCH ?= torch==2.13.0
SANITIZE ?=
WERROR ?=
ARGS ?=
DRY ?=
WHEELS ?=

PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
DONE := .venv/done
CPP_BUILD := build/cpp$(if $(SANITIZE),-$(SANITIZE))
# Folders too: a file that is gone changes the date of its folder.
SOURCES := $(shell find csrc tools -not -name '__pycache__' -not -name '*.pyc')
# ThreadSanitizer does not start under the address randomisation of some kernels.
FIXED_ADDRESSES := $(if $(filter thread,$(SANITIZE)),$(shell setarch -R true 2>/dev/null && echo setarch -R))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test build lint stubs mutants bench-offload cpp-test cuda-check gpu gpu-wheels clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' Makefile | column -t -s@ 2>/dev/null || grep '## ' Makefile

demo: $(DONE)/build $(DONE)/demo  ## Train a model that does not fit, with and without STORM (simulated where there is no GPU)
	$(PY) -m pamiq_storm demo $(ARGS)

test: $(DONE)/build $(DONE)/demo $(DONE)/test $(DONE)/peers  ## Run the tests (ARGS="-k name" for some of them)
	$(PY) -m pytest -n 2 --dist worksteal $(ARGS)

build: $(DONE)/build  ## Build the extensions into pamiq_storm/

lint: $(DONE)/build $(DONE)/demo $(DONE)/test $(DONE)/dev  ## Formatters, linters, type checker, spelling: what CI runs
	$(PY) -m pre_commit run --all-files --show-diff-on-failure
	$(PY) tools/stubs.py --check

stubs: $(DONE)/build $(DONE)/dev  ## Write pamiq_storm/*.pyi again from the built extensions
	$(PY) tools/stubs.py

mutants: $(DONE)/build $(DONE)/demo $(DONE)/test  ## Break the engine on purpose: does a test notice? (ARGS="-k name" for some)
	$(PY) tools/mutants.py $(ARGS)

bench-offload: $(DONE)/build $(DONE)/demo $(DONE)/peers  ## Compare ways to train what does not fit (minutes; simulated where there is no GPU), and write docs/offload-benchmark.md
	$(PY) benchmarks/offload.py $(ARGS)

cpp-test: $(DONE)/torch $(DONE)/cmake  ## Build and run the C++ tests (SANITIZE=address, which checks undefined behaviour too, or thread)
	.venv/bin/cmake -S . -B $(CPP_BUILD) -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/.venv/bin/ninja \
	  -DPYTHON=$(CURDIR)/$(PY) -DSANITIZE=$(SANITIZE) -DWERROR=$(if $(WERROR),ON,OFF) \
	  -DCMAKE_UNITY_BUILD=$(if $(SANITIZE),ON,OFF) --log-level=WARNING
	.venv/bin/cmake --build $(CPP_BUILD) --parallel $$($(PY) tools/build_support.py --jobs)
	ln -sf $(CPP_BUILD)/compile_commands.json compile_commands.json
	$(FIXED_ADDRESSES) .venv/bin/ctest --test-dir $(CPP_BUILD) --output-on-failure $(ARGS)

cuda-check:  ## Build, install and import the CUDA wheel, and run it on the double of the CUDA runtime and in pamiq-core (Python 3.12, no GPU; 6 GB)
	bash tools/cuda_check.sh "$(TORCH)"

gpu:  ## Build, test and measure on a machine with a GPU, against the simulator's predictions (DRY=1: without one)
	@$(PYTHON) tools/preflight.py
	@$(PYTHON) -m tools.gpu $(if $(DRY),--dry) $(if $(WHEELS),--wheels "$(WHEELS)") $(ARGS)

gpu-wheels:  ## Fill the folder WHEELS with what `make gpu` needs where there is no network (ARGS="--python 3.12")
	@$(PYTHON) -m tools.gpu.packages --fill "$(or $(WHEELS),wheels)" $(ARGS)

clean:  ## Remove everything built (the virtual environments stay; `rm -r .venv .venv-cuda` for those)
	rm -rf build dist *.egg-info compile_commands.json pamiq_storm/*.so $(DONE)/build
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) tools/preflight.py
	$(PYTHON) -m venv .venv

$(DONE)/torch: | $(PY)
	@echo "Installing $(TORCH), once"
	$(PIP) "$(TORCH)" "setuptools>=77" ninja
	@mkdir -p $(DONE) && touch $@

$(DONE)/build: setup.py pyproject.toml $(SOURCES) | $(DONE)/torch
	@echo "Building the extensions: minutes the first time, later only what changed"
	@$(PY) tools/build_support.py
	$(PIP) --no-build-isolation --editable .
	@touch $@

$(DONE)/cmake: | $(DONE)/torch
	$(PIP) "cmake>=3.25" && touch $@

# The extras of pyproject.toml, without building anything again.
$(DONE)/demo $(DONE)/test $(DONE)/dev: pyproject.toml | $(DONE)/torch
	$(PY) tools/extras.py $(@F) > $@.txt && $(PIP) -r $@.txt && touch $@

# Of the peers one file each is loaded; what the rest of them needs would be gigabytes.
$(DONE)/peers: pyproject.toml | $(DONE)/torch
	$(PY) tools/extras.py $(@F) > $@.txt && $(PIP) --no-deps -r $@.txt && touch $@
