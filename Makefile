PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HEADRACE_HOME ?= $(CURDIR)/var
# Whatever starts many processes compiles each module once.
unexport PYTHONDONTWRITEBYTECODE
# More PROCESSES than cores wait less where tests wait, and load the tests once more each.
PROCESSES ?= 2
# Files are begun in the order of tests/conftest.py, the long ones first.
PYTEST := $(BIN)/pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: run test lint format types layers checks pytest proof test-servers schema bench lock clean

run: $(STAMP)
	@exec $(BIN)/python manage.py run

test: $(STAMP)
	$(MAKE) --jobs=2 lint types layers checks
	$(MAKE) pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)
	$(BIN)/mypy .

layers: $(STAMP)
	$(BIN)/lint-imports --no-cache

checks: $(STAMP)
	$(BIN)/python manage.py makemigrations --check --dry-run
	key() { $(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(60))'; }; \
		PRODUCTION=1 SECRET_KEY=$$(key) ERASURE_KEY=$$(key) \
		METRICS_TOKEN=$$(key) ALLOWED_HOSTS=headrace.example PUBLIC_URL=https://headrace.example PROXY_COUNT=1 \
		DATABASE_URL='postgres://headrace@db.example/headrace?sslmode=verify-full' RATE_LIMIT_PROCESSES=2 \
		EMAIL_URL=smtp+tls://headrace@mail.example:587 DEFAULT_FROM_EMAIL=news@headrace.example \
		$(BIN)/python manage.py check --deploy --fail-level WARNING

pytest: $(STAMP)
	$(PYTEST)

# All tests, and those that prove something by many examples at their full length: see tests/README.md.
proof: $(STAMP)
	PROOF_TIMES=10 $(PYTEST)

# Not a part of `test`: DATABASE_URL, REDIS_URL and AMQP_URL say where the servers are.
test-servers: $(STAMP)
	@: $${DATABASE_URL:?} $${REDIS_URL:?} $${AMQP_URL:?}
	$(PYTEST)
	$(BIN)/pytest tests/servers

# After a new migration: what a new embedded database begins with.
schema: $(STAMP)
	$(BIN)/python manage.py dump_schema

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# One environment serves running, testing and measuring; the stamp makes a second `make` free.
$(STAMP): requirements.txt requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headrace needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m compileall -q config workspaces contacts events scoring segments campaigns dialects
	touch $(STAMP)

# Needs uv. `--no-emit-index-url` keeps package index addresses out of the repository.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--no-annotate requirements.in -o requirements.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--no-annotate requirements-dev.in -o requirements-dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
