# Everything a newcomer or CI needs: each target installs what it uses.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo test check conformance venv lock clean

demo: venv  ## the main job: a PyTorch model through every stage on a year of flights
	$(BIN)/windtunnel run examples/flights/windtunnel.toml --out runs/flights

test: venv  ## all tests
	$(BIN)/pytest

check: venv  ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest

conformance: venv  ## our server and two others (Triton, MLServer; installed under the user's cache) asked the same
	$(BIN)/python -m tests.conformance.other_servers install
	$(BIN)/pytest tests/conformance

venv: .venv/ready  ## .venv with the pinned lock and this checkout, editable

.venv/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "windtunnel needs Python 3.11 to 3.13 on the path, or: make PYTHON=/path/to/python"; exit 4; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch .venv/ready

lock: venv  ## write down what .venv holds
	$(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf .venv build dist *.egg-info
