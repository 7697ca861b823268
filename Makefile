# make demo | test | test-all | test-label | lint | results | dist | clean     (PYTHON=python3.11 chooses the interpreter)
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
INSTALLED := .venv/.installed
LABEL := .venv-label
LABEL_INSTALLED := $(LABEL)/.installed
CONFIGS := bundles/hybrid/configs
DEMO ?= output/demo
# small enough for a laptop; the data are synthetic phantoms
DEMO_TRAINING := --output_dir $(DEMO) --image_size 96
DEMO_CONFIGS := '$(CONFIGS)/train.yaml','$(CONFIGS)/from_scratch.yaml'

.PHONY: install demo test test-all test-label lint results dist clean

install: $(INSTALLED)

# torch comes first and alone: with it in place nothing else pulls another build of it
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/python -m monai.bundle run training --config_file "[$(DEMO_CONFIGS)]" $(DEMO_TRAINING) --epochs 8
	$(BIN)/python -m monai.bundle run evaluating --config_file "[$(DEMO_CONFIGS),'$(CONFIGS)/evaluate.yaml']" $(DEMO_TRAINING)
	$(BIN)/python -m monai.bundle run inference --config_file $(CONFIGS)/inference.yaml \
		--ckpt_path $(DEMO)/models/model.pt --output_dir $(DEMO)/predictions --image_size 96
	$(BIN)/hybrid-attention compare HAN=$(DEMO)/evaluation --out $(DEMO)/report
	@echo
	@cat $(DEMO)/evaluation/summary.md
	@echo
	@echo "table of the test cases   $(DEMO)/evaluation/per_case.csv"
	@echo "pictures with truth       $(DEMO)/evaluation/overlays/*/*.png (green right, red too much, blue missed)"
	@echo "report, in a browser      $(DEMO)/report/report.html"
	@echo "masks of all images       $(DEMO)/predictions/*/*_mask.png"
	@echo "training curves           $(BIN)/tensorboard --logdir $(DEMO)/tensorboard"

# a process per core; tests of one file stay together, since they share what they train. Those that load native libraries for video and
# export run apart: in long runs with all of them a process sometimes died of a corrupted heap
NATIVE := tests/app tests/data tests/deploy tests/prediction tests/test_loading.py
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --max-worker-restart 0 --dist loadfile -m "not slow" $(NATIVE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --max-worker-restart 0 --dist loadfile -m "not slow" \
		tests $(addprefix --ignore=,$(NATIVE))

# before a release: the slow tests, too
test-all: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --max-worker-restart 0 --dist loadfile

# a real MONAI Label server in an environment of its own; where that can't be installed the tests are skipped and say why
test-label: install
	-$(MAKE) --no-print-directory $(LABEL_INSTALLED)
	MONAI_LABEL_PYTHON=$(LABEL)/bin/python $(BIN)/python -m pytest tests/label

# the server finds this project's code in the archives alone; torchvision: see the file that is copied
$(LABEL_INSTALLED): pyproject.toml
	rm -f $@
	test -x $(LABEL)/bin/python || $(PYTHON) -m venv $(LABEL)
	{ $(LABEL)/bin/python -m pip install "$(TORCH)" && $(LABEL)/bin/python -m pip install --editable ".[label]" && \
		$(LABEL)/bin/python -m pip uninstall --yes hybrid-attention; } > $(LABEL)/install.log 2>&1
	$(LABEL)/bin/python -c "import torchvision" 2>/dev/null || cp tests/label/torchvision_without_operators.p* \
		"$$($(LABEL)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# tables of what is finished below $(OUT), for each list of runs
OUT ?= runs
results: install
	failed=; for list in $(filter-out %/demo.yaml,$(wildcard scripts/experiments/*.yaml)); do \
		$(BIN)/hybrid-attention experiments $$list --out $(OUT) --collect docs/results --report output/reports || failed=1; \
	done; \
	$(BIN)/python scripts/update_tables.py && test -z "$$failed"

# a wheel and a source distribution, with the bundles and their released weights
dist: install
	$(BIN)/python -m build

clean:
	git clean -fdXq -- output bundles
