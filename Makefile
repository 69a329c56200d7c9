# Every target makes its own environment: nothing but Python 3.11 or newer and pip need be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PHOTOS := embedded/src/regard_embedded/photos
THREADS ?= 2
# named, since a comma written inside a $(call …) would end its argument
TEST_EXTRAS := embedded,evaluate,timm,torchvision,transformers,baselines,train,export,cluster,web,test
DOCS_EXTRAS := embedded,docs

.PHONY: demo test check bench docs clean

# install(marker, extras): one marker file per set of packages, remade when what it depends on changes
define install
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt -e embedded -e ".[$(1)]"
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

demo: $(VENV)/.demo
	$(BIN)/regard explain $(PHOTOS)/church-*.jpg $(PHOTOS)/french-horn-4.jpg $(PHOTOS)/parachute-1.jpg $(PHOTOS)/pair-*.jpg \
	    --classifier regard:vit-small --method cdam --run regard-runs/demo-vit-small --force
	$(BIN)/regard explain $(PHOTOS)/bagel.jpg $(PHOTOS)/gondola.jpg $(PHOTOS)/harp.jpg $(PHOTOS)/indian-elephant.jpg $(PHOTOS)/pickup.jpg \
	    --classifier regard:efficientnet-lite0 --run regard-runs/demo-efficientnet-lite0 --force

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.test
	for file in benchmarks/*.py; do OMP_NUM_THREADS=$(THREADS) $(BIN)/python $$file || exit 1; done

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis
