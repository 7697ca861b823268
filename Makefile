# make demo | test | lint | results | clean     (PYTHON=python3.11 chooses the interpreter)
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
INSTALLED := .venv/.installed
CONFIGS := bundles/hybrid/configs
DEMO ?= output/demo
# small enough for a laptop; the data are synthetic phantoms
DEMO_TRAINING := --output_dir $(DEMO) --image_size 96 --precision bf16 --channels_last True
DEMO_CONFIGS := '$(CONFIGS)/train.yaml','$(CONFIGS)/from_scratch.yaml'

.PHONY: install demo test lint results clean

install: $(INSTALLED)

# torch comes first and alone: with it in place nothing else pulls another build of it
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/python -m monai.bundle run training --config_file "[$(DEMO_CONFIGS)]" $(DEMO_TRAINING) --epochs 12
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

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# tables of what is finished below $(OUT), for each list of runs
OUT ?= runs
results: install
	for list in $(filter-out %/demo.yaml,$(wildcard scripts/experiments/*.yaml)); do \
		$(BIN)/hybrid-attention experiments $$list --out $(OUT) --collect docs/results --report output/reports || exit 1; \
	done
	$(BIN)/python scripts/results_table.py

clean:
	git clean -fdXq -- output bundles
