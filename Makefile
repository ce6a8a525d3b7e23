# Every command of the project. Works with GNU make 3.81 (macOS) and newer.
# The tools are pinned in tools/go.mod and run through the go command, so that
# nothing needs to be installed beside Go and make.

GO      ?= go
# One PostgreSQL for the whole run, found by internal/pgtest.
PGTEST  := $(GO) run ./internal/pgtest/run
TOOL    := $(GO) tool -modfile=tools/go.mod
# Where make install puts things, as GNU's conventions have it.
PREFIX  ?= /usr/local
DESTDIR ?=
GO_DIRS := client cmd db docs internal migrations tools/bench tools/deploytest tools/release tools/sqllint
# Each is a directory with a go.mod. All have the same go line, so that the Go which
# builds Readmark runs its tools and tests, too: none is downloaded.
MODULES := . client tools tools/bench tools/deploytest tools/release tools/sqllint
FUZZTIME ?= 30s
# Go would spend most of the time on making inputs smaller.
FUZZMIN := -fuzzminimizetime 1s

.DEFAULT_GOAL := help
.PHONY: run demo build completion install image release test test-race test-pgbouncer test-citus test-docker test-browser screenshots bench fuzz lint lint-api govulncheck generate verify help

run: build ## build and serve on the embedded PostgreSQL, data in ./data
	exec ./bin/readmark serve

demo: build ## build and serve on a throw-away database, with a simulated OpenIM; Ctrl-C ends it
	exec ./bin/readmark demo

# -buildvcs=auto also where GOFLAGS says otherwise: `readmark version` names the
# commit. Off where git is missing or refuses the checkout (another user's).
build: ## build bin/readmark
	@vcs=false; if git status --porcelain >/dev/null 2>&1; then vcs=auto; fi; set -x; \
	CGO_ENABLED=0 $(GO) build -buildvcs=$$vcs -trimpath -o bin/readmark ./cmd/readmark

# For the shells that people use; packages and make install carry them.
completion: build
	mkdir -p bin/completion
	./bin/readmark completion bash > bin/completion/readmark.bash
	./bin/readmark completion zsh > bin/completion/_readmark
	./bin/readmark completion fish > bin/completion/readmark.fish

# Root often has no Go on its PATH: `sudo make install` installs what `make completion` left.
install: ## install readmark and its completions below PREFIX (/usr/local), or DESTDIR/PREFIX
	@if command -v $(GO) >/dev/null; then $(MAKE) completion; \
	elif [ ! -d bin/completion ]; then echo "Go is not found here: run make completion as a user who has it, then make install again"; exit 1; fi
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" \
		"$(DESTDIR)$(PREFIX)/share/zsh/site-functions" "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d"
	install -m 0755 bin/readmark "$(DESTDIR)$(PREFIX)/bin/readmark"
	install -m 0644 bin/completion/readmark.bash "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/readmark"
	install -m 0644 bin/completion/_readmark "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_readmark"
	install -m 0644 bin/completion/readmark.fish "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/readmark.fish"
	@echo "installed: $(DESTDIR)$(PREFIX)/bin/readmark"
	@[ -n "$(DESTDIR)" ] || case ":$$PATH:" in *":$(PREFIX)/bin:"*) ;; *) echo "$(PREFIX)/bin is not on your PATH: add it, and readmark is found";; esac

# The version has no v, as in `readmark version`, archives and the chart's appVersion.
image: ## container image readmark:<version>, with the images and the GOPROXY that the environment names
	version=$$(git describe --tags --always --dirty) && version=$${version#v} && set -x && docker build -t "readmark:$$version" \
		$${BUILD_IMAGE:+--build-arg BUILD_IMAGE="$$BUILD_IMAGE"} $${RUNTIME_IMAGE:+--build-arg RUNTIME_IMAGE="$$RUNTIME_IMAGE"} \
		--build-arg GOPROXY="$$($(GO) env GOPROXY)" --build-arg VERSION="$$version" --build-arg COMMIT="$$(git rev-parse HEAD)" .

# Only a tag on the commit and a token publish; all else is a snapshot, which is tested.
release: completion ## archives, packages, SBOMs and checksums in ./dist; published where HEAD has a tag and GITHUB_TOKEN is set
	$(GO) -C tools/release build -buildvcs=false -o ../../bin/ github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
	$(GO) tool -modfile=tools/release/go.mod goreleaser release --snapshot --clean
	$(GO) test -C tools/release -count=1 ./...
	@if [ -n "$$GITHUB_TOKEN" ] && git describe --exact-match --tags HEAD >/dev/null 2>&1; then set -x; \
		$(GO) tool -modfile=tools/release/go.mod goreleaser release --clean; \
	else echo "a snapshot: nothing is published without a tag on this commit and GITHUB_TOKEN"; fi

test: ## all tests but Docker's and the browser's, on a real PostgreSQL (TEST_DATABASE_URL, Docker, local binaries or a download)
	$(PGTEST) $(GO) test -timeout 30m ./...
	$(GO) test -C client ./...
	$(GO) test -C tools/bench ./...
	$(test-sqllint)
	$(test-deploy)

test-race: ## the same with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(PGTEST) $(GO) test -race -timeout 60m ./...
	CGO_ENABLED=1 $(GO) test -C client -race ./...
	CGO_ENABLED=1 $(GO) test -C tools/bench -race ./...
	$(test-deploy)

define test-sqllint
	@if command -v "$$($(GO) env CC)" >/dev/null; then set -x; CGO_ENABLED=1 $(GO) test -C tools/sqllint ./...; \
	else echo "the tests of tools/sqllint are left out: there is no C compiler"; fi
endef

# It is about files: the race detector would only make Helm's and Prometheus' libraries slow.
define test-deploy
	@tags=systemd; command -v systemd-analyze >/dev/null || \
	{ tags=; echo "there is no systemd-analyze (Debian's package systemd): the units are parsed, but not verified"; }; \
	set -x; $(GO) test -C tools/deploytest -tags "$$tags" ./...
endef

# Through PgBouncer, which refuses what a pooler in transaction mode cannot keep: the store, and of the
# commands the end-to-end tests and those of faults. The others do not differ there. Those of roles are left out: the tests'
# PgBouncer connects as one user, whoever asks.
BOUNCED := ^Test(CallbackToCount|CapturedRequests|Documented|ServerDialect|Fault|Failover|Migrat|Foreign|Late|RowFrom|TwoConnections|FirstRead)
# The first three end connections and statements, and with that PgBouncer 1.18 (github.com/pgbouncer/pgbouncer/issues/801). The
# others have a search_path in their URLs, which PgBouncer does not take.
NOT_BOUNCED := ^Test(LostMigrationLock|RetireNeverStallsIngest|RemindersComeOnce)$$|^TestSchemaOfItsOwn$$|^TestForeignSchema$$/(schema|search_path)
test-pgbouncer: ## the tests of store, end to end and of faults through PgBouncer in transaction mode (Debian's package pgbouncer)
	@command -v pgbouncer >/dev/null || test -x /usr/sbin/pgbouncer || \
		{ echo "there is no pgbouncer: install Debian's package pgbouncer, or what your system calls it"; exit 1; }
	READMARK_TEST_PGBOUNCER=1 $(PGTEST) $(GO) test -timeout 30m -skip '$(NOT_BOUNCED)' ./internal/store/...
	READMARK_TEST_PGBOUNCER=1 $(PGTEST) $(GO) test -timeout 30m -run '$(BOUNCED)' ./internal/cli/...

# What is about one PostgreSQL: its plans, locks and catalog as they are there, a server of the test's own, or one that is made to
# look like Citus; and subscribers who go on beside an old transaction, who start again on Citus.
NOT_CITUS := ^Test(ReadsUseIndexes|UserIDsDoNotScan|GroupSumsDoNotScan|SchemaRules|SchemaObjects|ForeignSchema|PollOfCopiedDatabase|ReplaySurvivesDeadlock|RetireNeverStallsIngest|WorkerIsRefused|OtherWaysOnCitus|RetireOnCitus|ReplicaOfCitus|SnapshotIsOneMoment|ApartIsTheSame|FeedBesideOldTransaction)
# The end-to-end tests, and those of what answers are made from.
ON_CITUS := ^Test(Citus|CallbackToCount|CapturedRequests|ServerDialect|ListsPage|Receipts|StateAndBadgeAt|AtIsWhat|Erase|ReplayKnows|ReplayRestores|MemberWithout|Mutes|FaultLate|RowFrom|Query|Reminders|GroupsAreListed|StatsAndUsers|OddIDs|Client|CountsEqual|DocumentedWith|Sweep|ListedAgain|FaultPoison|FaultTwo|FaultChanges|ServeRetires|WebhookCommands|ReconcileCommand|ContractIsHeld|Unattributed|Console|UnknownToOpenIM|LostDismissal|Reader|OpenIMAway)
test-citus: ## the tests of store, read cache and feed, and end to end, on Citus (CITUS_URL: a database on its coordinator; else by Docker)
	@if [ -z "$$CITUS_URL" ] && ! docker version >/dev/null 2>&1; then \
	echo "NOTHING WAS RUN: CITUS_URL is not set, and no Docker engine answers. Let CITUS_URL lead, as a superuser, to a database on the"; \
	echo "coordinator of a Citus 13 whose nodes it knows (citus_set_coordinator_host, citus_add_node), at addresses that can be reached from"; \
	echo "here, or start Docker: then it runs on three containers of citusdata/citus. The tests make databases of their own on all nodes."; exit 1; fi
	READMARK_TEST_POSTGRES=citus $(PGTEST) $(GO) test -tags citus -count=1 -p 1 -parallel 4 -timeout 60m -skip '$(NOT_CITUS)' ./internal/store/... ./internal/readcache/... ./internal/feed/...
	READMARK_TEST_POSTGRES=citus $(PGTEST) $(GO) test -tags citus -count=1 -parallel 4 -timeout 60m -run '$(ON_CITUS)' ./internal/cli/...

test-docker: ## database tests on Docker's PostgreSQL, and a smoke test of Dockerfile and compose file
	READMARK_TEST_POSTGRES=docker $(PGTEST) $(GO) test -timeout 30m ./internal/store/... ./internal/cli/...
	$(GO) test -tags docker -count=1 -timeout 30m ./internal/smoke/

# internal/browsertest finds it by the same names.
define need-chromium
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
		{ echo "there is no chromium: install Debian's package chromium (apt-get install chromium), or what your system calls it"; exit 1; }
endef

test-browser: ## the console in a real browser (Debian's package chromium), on a real PostgreSQL
	$(need-chromium)
	$(GO) test -tags browser -count=1 -timeout 15m ./internal/browsertest/

screenshots: ## pictures of the console into docs/images/ (Debian's package chromium)
	$(need-chromium)
	mkdir -p docs/images
	$(GO) test -tags browser,pictures -count=1 -timeout 15m -run '^TestScreenshots$$' ./internal/browsertest/ -args -screenshots "$(CURDIR)/docs/images"

# BENCHFLAGS=-quick only tries it, BENCHFLAGS=-help tells the rest.
bench: ## Readmark against a quick service and pgbench, at 1 and 10 million states, then the micro-benchmarks
	$(GO) build -C tools/bench -buildvcs=false -o ../../bin/bench .
	./bin/bench $(BENCHFLAGS)
	$(PGTEST) $(GO) test -run '^$$' -bench . -benchmem ./internal/...

fuzz: ## fuzz decoders, cursors, paths and bodies for FUZZTIME each (30s)
	$(GO) test -run '^$$' -fuzz '^FuzzDecode$$' -fuzztime $(FUZZTIME) ./internal/openim
	$(GO) test -run '^$$' -fuzz '^FuzzDecodeCallback$$' -fuzztime $(FUZZTIME) ./internal/openim
	$(GO) test -run '^$$' -fuzz '^FuzzPathIDs$$' -fuzztime $(FUZZTIME) $(FUZZMIN) ./internal/server
	$(GO) test -run '^$$' -fuzz '^FuzzParseFeedCursor$$' -fuzztime $(FUZZTIME) $(FUZZMIN) ./internal/readstate
	$(GO) test -run '^$$' -fuzz '^FuzzCursor$$' -fuzztime $(FUZZTIME) $(FUZZMIN) ./internal/api
	$(PGTEST) $(GO) test -run '^$$' -fuzz '^FuzzCursorParameter$$' -fuzztime $(FUZZTIME) $(FUZZMIN) ./internal/api
	$(PGTEST) $(GO) test -run '^$$' -fuzz '^FuzzQueryBody$$' -fuzztime $(FUZZTIME) $(FUZZMIN) ./internal/api

lint: ## golangci-lint with the set of .golangci.yml; it knows what go vet knows
	set -e; for module in $(filter-out tools,$(MODULES)); do (set -x; cd $$module && $(GO) tool -modfile="$(CURDIR)/tools/go.mod" golangci-lint run ./...); done

# A description beside a $ref is right in OpenAPI 3.1, and passed over in 3.0, which is the same document.
REDOCLY := npx --yes @redocly/cli@2.77.0 lint --extends recommended-strict
lint-api: ## the OpenAPI document in both versions by Redocly's linter (needs npm, and fetches it)
	older=$$(mktemp -d) && $(GO) run ./internal/api/openapi 3.0 > "$$older/openapi.json" && export REDOCLY_TELEMETRY=off && \
	$(REDOCLY) docs/openapi.json && $(REDOCLY) --skip-rule spec-ref-siblings "$$older/openapi.json"; \
	status=$$?; rm -rf "$$older"; exit $$status

govulncheck: ## known vulnerabilities in what is called (its database needs the open internet)
	$(TOOL) govulncheck ./...
	cd client && $(GO) tool -modfile=../tools/go.mod govulncheck ./...

generate: ## write db/ from queries/ and migrations/, docs/openapi.json and client/ from internal/api
	$(TOOL) sqlc generate
	$(GO) run ./internal/api/openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json
	$(call generate-client,client/internal/rest)

# oapi-codegen reads OpenAPI 3.0: the same document in that version.
define generate-client
	older=$$(mktemp) && $(GO) run ./internal/api/openapi 3.0 > "$$older" && \
	$(TOOL) oapi-codegen -config client/type.yaml -o $(1)/type.gen.go "$$older" && \
	$(TOOL) oapi-codegen -config client/request.yaml -o $(1)/request.gen.go "$$older"; \
	status=$$?; rm -f "$$older"; exit $$status
endef

# PostgreSQL's parser is written in C.
define lint-sql
	@if command -v "$$($(GO) env CC)" >/dev/null; then set -x; CGO_ENABLED=1 $(GO) run -C tools/sqllint . ../../queries ../../migrations; \
	else echo "what Citus asks of the SQL is left unchecked: there is no C compiler"; fi
endef

verify: ## generated code, what Citus asks of the SQL, migrations, modules and formatting are as they should be
	$(TOOL) sqlc diff
	$(TOOL) sqlc vet
	$(lint-sql)
	$(GO) run ./internal/api/openapi | diff -u docs/openapi.json - || \
		{ echo "docs/openapi.json is not what internal/api makes: run make generate"; exit 1; }
	generated=$$(mktemp -d) && ( $(call generate-client,"$$generated") ) && diff -u client/internal/rest "$$generated"; \
	status=$$?; rm -rf "$$generated"; \
	if [ $$status -ne 0 ]; then echo "client/internal/rest is not what the document makes: run make generate"; fi; exit $$status
	@# On a copy: goose validate takes migrations.go for a migration.
	dir=$$(mktemp -d) && cp migrations/*.sql "$$dir" && $(TOOL) goose -dir "$$dir" validate; \
	status=$$?; rm -rf "$$dir"; exit $$status
	for module in $(MODULES); do $(GO) -C $$module mod tidy -diff || exit 1; done
	@lines=$$(grep -E '^(go|toolchain) ' $(MODULES:%=%/go.mod)); \
	if [ "$$(echo "$$lines" | sed 's/^[^:]*://' | sort -u | wc -l)" -ne 1 ]; then echo "the go lines of the modules differ:"; echo "$$lines"; exit 1; fi
	$(TOOL) actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
	@unformatted=$$(gofmt -l $(GO_DIRS)) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
