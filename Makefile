# cocod: build, test, install. This page is what people type; how it is done is in mk/*.mk.
#
# Everything that is built goes under $(BUILD). The same rules serve each variant: a run with
# sanitizers is this Makefile with another BUILD and SANITIZE (check-sanitize in mk/checks.mk).

BUILD     ?= build
ifeq ($(origin CC),default)
CC        := gcc
endif
CLANG     ?= clang
ifeq ($(origin AR),default)
AR        := ar
endif
PKGCONFIG ?= pkg-config
PREFIX    ?= /usr/local
LIBDIR    ?= $(PREFIX)/lib
UNITDIR   ?= $(PREFIX)/lib/systemd/system
SANITIZE  ?=
# Optional real test vectors; tests that need them are skipped, and say so, where it is absent.
COCO_TEST_DATA ?= ../shared/data
export COCO_TEST_DATA
# `make V=1` shows the commands.
V         ?= 0
# Of single targets:
FUZZ_SECONDS  ?= 20
FLOOD_SECONDS ?= 3
SUITE         ?= trixie
SECONDS       ?= 60
SEED          ?=
SEEDS         ?= $(SEED)
HOSTILE       ?=

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
include $(addprefix mk/,flags.mk sources.mk product.mk tests.mk checks.mk lint.mk docs.mk \
  install.mk packages.mk)

# --- build and install
all: $(PROGRAMS) ## build the daemon, the CLI and the library (default)
deps: ## install the packages that building and testing need (apt or dnf; says what it installs)
install: all install-man ## install under PREFIX (/usr/local), libraries under LIBDIR, into DESTDIR
deb: ## Debian packages in build/deb: cocod, libcoco0, libcoco-dev; judged by lintian where it is
sbom: deb ## what the packages contain and need, in SPDX 2.3: build/cocod-VERSION.spdx
demo: deps ## show it at work: cocod, a simulated QGS and a synthetic VMM in a private folder
clean: ## remove everything that was built

# --- judge a change
check: deps ## build everything and run all tests; ends with "N passed, N failed"
check-sanitize: ## the same, but for what is load, under ASan and UBSan
check-thread: ## the tests with threads under ThreadSanitizer
check-valgrind: tests ## the unit tests under valgrind
check-abi: ## compare each number and layout of Linux's with a released kernel's headers
check-skew: ## the release before with this one: VMMs, cococtl, store, configuration, interfaces
check-systemd: ## install the packages in a container under a real systemd (root)
check-debian: ## demo, tests and packages on another Debian, in a chroot (SUITE=trixie; root)
check-peers: ## other people's programs meet cocod: varlinkctl, QEMU, … (PEERS="CHECK…"; root)
check-sbom: sbom ## the SBOM, judged by SPDX's own tools, Debian sid's in a chroot (root)
reproducible: deb ## the packages again at another place, time, umask, time zone: the same bytes
coverage: ## the share of lines and branches that the tests run through, by gcov
lint: $(LINTS) ## formatting, sizes, includes, spelling, clang-tidy, cppcheck, made files, pages
format: ## let clang-format rewrite the sources
docs: ## make what is made from the code: manual, metrics, events, example, include graph

# --- prove, attack, wear out
model: ## check the model of leases and firmware updates, and refute its broken variants (spin)
prove: ## no input breaks proto/, by CBMC; broken variants are refuted (root)
prove-all: ## the same with the proofs that take longer
fuzz: $(FUZZ_PROGRAMS) ## run each libFuzzer target for FUZZ_SECONDS (20)
oom: $(OOM_PROGRAMS) ## memory runs out at each call site, and at 550 drawn ones (COCO_TEST_SEED)
oom-all: $(OOM_PROGRAMS) ## memory runs out at each allocation; hours (OOM_STRIDE=N: one of N)
chaos: ## all at once, from a seed (SECONDS=60 SEED= SEEDS=kept HOSTILE="ping …" ASAN=1; root)
chaos-check: ## a chaos run finds what is broken, one after the other (BROKEN="NAME …"; root)
soak: ## ten million requests, ten thousand idle sessions: memory and descriptors (COCO_SOAK)
stress: tests ## 2000 rotations of each kind under load, judged by the guest model (COCO_ROTATIONS)
stress-qgs: tests ## 20 restarts of QGS of each kind under load, nothing is lost (COCO_QGS_RESTARTS)
guests: ## an hour of virtual time of 2000 guests (GUESTS="SNP TDX SEED MINUTES")
attack-quotes: ## what 1000 processes of a user cost another user who wants quotes (root)
attack-locks: ## what 100,000 locks of a user on the table file do to others and to updates (root)

# --- measure
bench: programs ## CERTS_GET beside an echo server, Redis and a locked file (BENCH_FLAGS=--json)
bench-quotes: programs ## the quote broker: latency added, throughput, fairness
bench-door: ## a good client of the QGS front door beside hostile ones
floods: ## a good client of cocod beside floods of every kind (root, 2 CPUs; FLOOD_SECONDS=3 each)

help: ## list the targets
	@grep -hE '^[a-z][a-z -]*:.*## ' Makefile | \
	  sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | awk -F'\t' '{printf "  make %-15s %s\n", $$1, $$2}'

.PHONY: $(shell sed -n 's/^\([a-z][a-z-]*\):.*\#\# .*/\1/p' Makefile)
