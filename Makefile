# Two commands do everything, in a virtual environment of their own:
#   make demo    set up, then run the whole line on a rendered catalogue
#   make test    set up, then run the tests
# And `make docs` builds the documentation into build/docs, for which no network is needed.
# make test COVERAGE=1 counts what the tests run, and fails below the floor (pyproject.toml).
PYTHON ?= python3
VENV ?= .venv
# Processes that run tests; each takes whole files.
JOBS ?= 2
# Of whole files, in the order of collection: the longest first (tests/conftest.py).
IN_PROCESSES = -n $(JOBS) --dist loadfile --no-loadscope-reorder
PIP = $(VENV)/bin/pip --disable-pip-version-check install --quiet
SOURCES = pyproject.toml constraints.txt

.PHONY: demo test test-full check benchmarks docs wheel installed clean

demo: $(VENV)/.ready-demo
	$(VENV)/bin/vsearch demo

test: $(VENV)/.ready-test
ifdef COVERAGE
	$(VENV)/bin/coverage erase
	@# Kernels are compiled anew, so that what makes their code is counted every time.
	cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT && \
	  VSEARCH_CACHE_DIR="$$cache" \
	  PYTHONPATH="$(CURDIR)/tests/support/counted$${PYTHONPATH:+:$$PYTHONPATH}" \
	  $(VENV)/bin/coverage run -m pytest $(IN_PROCESSES)
	@# Of processes that are killed, or may write no more, there is nothing to combine.
	$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage report
else
	$(VENV)/bin/python -m pytest $(IN_PROCESSES)
endif

# The long matrices too.
test-full: $(VENV)/.ready-test
	$(VENV)/bin/python -m pytest -m "full or not full"

check: $(VENV)/.ready-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Each case once, answers checked, timing off; `pytest benchmarks` times them.
benchmarks: $(VENV)/.ready-test
	$(VENV)/bin/python -m pytest benchmarks --benchmark-disable

# A broken link or reference fails. (The variable silences an advertisement.)
docs: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo "Open build/docs/index.html in a browser."

wheel: $(VENV)/bin/pip
	rm -rf build/lib build/bdist.* dist
	$(VENV)/bin/pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

# The wheel in an environment of its own: what a checkout has and a wheel lacks shows there alone.
installed: wheel
	rm -rf build/installed && $(PYTHON) -m venv build/installed
	build/installed/bin/pip --disable-pip-version-check install --quiet \
	  --constraint constraints.txt "$$(ls $(CURDIR)/dist/*.whl)[cpu]"
	cd build/installed && bin/vsearch garments -o photos --items 6 --views 2
	cd build/installed && bin/vsearch index photos -o photos.index --quiet
	cd build/installed && bin/vsearch shard photos.index --into 2 -o photos.shards
	cd build/installed && bin/vsearch search photos.shards photos -k 1 --csv > matches.csv
	test $$(grep -cE '(garment-[0-9]+)_.*,l2,1,\1' build/installed/matches.csv) -eq 12 # itself first

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is too old or missing: vsearch_fast needs Python 3.11 or later." >&2; \
	  echo "Nothing was set up. Say which to use: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready-demo: $(SOURCES) | $(VENV)/bin/pip
	@echo "Installing vsearch_fast ..."
	$(PIP) --constraint constraints.txt --editable '.[cpu]'
	@touch $@

$(VENV)/.ready-test: $(SOURCES) | $(VENV)/bin/pip
	@echo "Installing vsearch_fast with TensorFlow, the benchmark's peers and the test tools (a minute or two) ..."
	$(PIP) --constraint constraints.txt --editable '.[cpu,export,bench,serve,test]'
	@touch $@

$(VENV)/.ready-docs: $(SOURCES) | $(VENV)/bin/pip
	@echo "Installing vsearch_fast and what builds its documentation ..."
	$(PIP) --constraint constraints.txt --editable '.[cpu,bench,serve,docs]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info vsearch-demo .coverage*
