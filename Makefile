# Every target makes its own environment: nothing but Python 3.11 or newer and pip need be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PHOTOS := embedded/src/regard_embedded/photos
THREADS ?= 2
BENCH := .venv-bench
BENCHMARKS := $(filter-out benchmarks/peers_%.py benchmarks/study_%.py benchmarks/tasks_%.py benchmarks/measuring.py,$(wildcard benchmarks/*.py))
# named, since a comma written inside a $(call …) would end its argument
BENCH_EXTRAS := embedded,evaluate,timm,torchvision,baselines,train,web,test
TEST_EXTRAS := embedded,evaluate,timm,torchvision,transformers,baselines,train,export,cluster,web,test
DOCS_EXTRAS := embedded,docs

.PHONY: demo test browser check bench docs clean

# install(extras), into the environment of the marker: one marker file per set of packages, remade when what it depends
# on changes
define install
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt -e embedded -e ".[$(1)]"
	touch $@
endef

$(VENV)/.demo: pyproject.toml embedded/pyproject.toml constraints.txt
	$(call install,embedded)

$(VENV)/.test: pyproject.toml embedded/pyproject.toml constraints.txt
	$(call install,$(TEST_EXTRAS))

$(VENV)/.check: $(VENV)/.test
	$(call install,dev)

$(VENV)/.docs: pyproject.toml embedded/pyproject.toml constraints.txt
	$(call install,$(DOCS_EXTRAS))

# the peers of benchmarks/metrics.py are not for the environment that the tests run in
$(BENCH)/.bench: Makefile pyproject.toml embedded/pyproject.toml constraints.txt
	$(call install,$(BENCH_EXTRAS))

$(BENCH)/.peers: $(BENCH)/.bench benchmarks/peers.txt
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement benchmarks/peers.txt
	touch $@

demo: $(VENV)/.demo
	$(BIN)/regard explain $(PHOTOS)/church-*.jpg $(PHOTOS)/french-horn-4.jpg $(PHOTOS)/parachute-1.jpg $(PHOTOS)/pair-*.jpg \
	    --classifier regard:vit-small --method cdam --run regard-runs/demo-vit-small --force
	$(BIN)/regard explain $(PHOTOS)/bagel.jpg $(PHOTOS)/gondola.jpg $(PHOTOS)/harp.jpg $(PHOTOS)/indian-elephant.jpg $(PHOTOS)/pickup.jpg \
	    --classifier regard:efficientnet-lite0 --run regard-runs/demo-efficientnet-lite0 --force

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Debian's Chromium, for the tests of the page; nothing where there is one
browser:
	command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	    $$(test "$$(id -u)" = 0 || echo sudo) sh -c 'apt-get update && apt-get install -y --no-install-recommends chromium'

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(BENCH)/.peers
	for file in $(BENCHMARKS); do OMP_NUM_THREADS=$(THREADS) $(BENCH)/bin/python $$file || exit 1; done

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(BENCH) site .pytest_cache .mypy_cache .ruff_cache .hypothesis
