# Tests, proofs, attacks and measurements: how what the Makefile lists is done.

# A target that builds before it runs builds with all processors, unless make was told otherwise.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
SUBMAKE = $(MAKE) --no-print-directory $(JOBS)
# What runs in a container or a chroot, which root alone can make.
SERVICE = if [ "$$(id -u)" = 0 ]; then .ci/packages --service; fi

deps:
	@.ci/packages

.PHONY: programs tests
programs: all $(SIM_PROGRAMS) $(addprefix $(BUILD)/tests/,demo coco-bench quote-bench readme-vmm) \
          $(EXAMPLE_PROGRAMS)
tests: programs $(TEST_PROGRAMS)

check:
	@$(SUBMAKE) tests
	@tests/run $(BUILD) $(TEST_PROGRAMS) $(TEST_SCRIPTS)

SANITIZED := $(filter-out $(LOAD_TESTS) $(OWN_MALLOC_TESTS) $(LONG_REPLAYS),$(TEST_PROGRAMS))
check-sanitize:
	@$(SUBMAKE) BUILD=$(BUILD)/sanitize SANITIZE=address,undefined OPT="-O1 -g" tests
	@ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 \
	 tests/run $(BUILD)/sanitize $(patsubst $(BUILD)/%,$(BUILD)/sanitize/%,$(SANITIZED))

# The tests that have threads, or that what they test has.
THREAD_TESTS := $(addprefix tests/,client/test_vmm_threads client/test_blocking \
  client/test_synth_vmm integration/test_vmm_host daemon/test_reload daemon/test_certs_jobs \
  daemon/test_certs_store)
check-thread:
	@$(SUBMAKE) BUILD=$(BUILD)/thread SANITIZE=thread OPT="-O1 -g" \
	 $(addprefix $(BUILD)/thread/,$(THREAD_TESTS) cocod cococtl)
	@TSAN_OPTIONS=halt_on_error=1 \
	 tests/run $(BUILD)/thread $(addprefix $(BUILD)/thread/,$(THREAD_TESTS))

check-abi: $(BUILD)/libcoco.a $(BUILD)/libsev.a
	@tests/abi/run $(BUILD)

check-systemd:
	@$(SERVICE)
	@if [ "$$(id -u)" = 0 ] && command -v dpkg-buildpackage >/dev/null; then \
	 $(SUBMAKE) deb $(addprefix $(BUILD)/tests/,systemd-load snp-pki sev-sim qgs-sim); fi
	@tests/systemd/boot.sh $(BUILD)

check-skew:
	@$(SUBMAKE) programs
	@tests/skew/run $(BUILD)

check-debian:
	@$(SERVICE)
	@tests/debian/check $(SUITE) $(BUILD)

check-peers:
	@$(SERVICE)
	@$(SUBMAKE) programs man-pages
	@tests/peers/run $(BUILD) $(PEERS)

# Without optimisation, so that each branch is one of the source.
COVERAGE := $(BUILD)/coverage
coverage:
	@$(SUBMAKE) BUILD=$(COVERAGE) OPT="-O0 -g --coverage -fprofile-update=atomic" \
	 CFLAGS="-U_FORTIFY_SOURCE -Wno-format-truncation" LDFLAGS=--coverage tests
	@find $(COVERAGE) -name '*.gcda' -delete
	@tests/run $(COVERAGE) \
	 $(patsubst $(BUILD)/%,$(COVERAGE)/%,$(filter-out $(LOAD_TESTS),$(TEST_PROGRAMS)))
	@tests/coverage $(COVERAGE)

check-valgrind:
	@CK_FORK=no CK_TIMEOUT_MULTIPLIER=20 COCO_STRIDE=7 TEST_WRAPPER="valgrind -q \
	 --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite" \
	 tests/run $(BUILD) $(UNIT_PROGRAMS)

stress:
	@COCO_ROTATIONS=$${COCO_ROTATIONS:-2000} \
	 tests/run $(BUILD) $(BUILD)/tests/integration/test_rotation
	@cat $(BUILD)/tests/log/integration.test_rotation.log

stress-qgs:
	@COCO_QGS_RESTARTS=$${COCO_QGS_RESTARTS:-20} \
	 tests/run $(BUILD) $(BUILD)/tests/integration/test_qgs_restart
	@cat $(BUILD)/tests/log/integration.test_qgs_restart.log

# SECONDS of events with each of SEEDS ("kept": those of tests/chaos/seeds), with SEED, or with one
# of the time.
CHAOS_BUILD = $(BUILD)$(if $(ASAN),/sanitize)
CHAOS_FLAGS = $(if $(ASAN),SANITIZE=address$(comma)undefined OPT="-O1 -g")
chaos:
	@$(SUBMAKE) BUILD=$(CHAOS_BUILD) $(CHAOS_FLAGS) \
	 $(addprefix $(CHAOS_BUILD)/,cocod cococtl tests/chaos tests/qgs-sim tests/sev-sim)
	@CHAOS_HOSTILE="$(HOSTILE)" tests/chaos/run $(CHAOS_BUILD) $(SECONDS) $(SEEDS)

chaos-check:
	@$(SUBMAKE) $(addprefix $(BUILD)/,cococtl \
	 $(addprefix tests/,chaos-broken cocod-broken qgs-sim sev-sim))
	@tests/chaos/check $(BUILD) $(BROKEN)

soak: $(BUILD)/cocod $(BUILD)/tests/soak
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/soak

demo:
	@$(SUBMAKE) programs
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/demo --build $(BUILD)

bench:
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/coco-bench --cocod $(BUILD)/cocod $(BENCH_FLAGS)

guests: $(BUILD)/tests/guests
	@$(BUILD)/tests/guests $(GUESTS)

bench-quotes:
	@$(BUILD)/tests/quote-bench $(BUILD)

bench-door: $(BUILD)/tests/door-stress
	@COCO_BUILD=$(BUILD) $<

floods: $(BUILD)/cocod $(BUILD)/tests/floods
	@$(BUILD)/tests/floods --cocod $(BUILD)/cocod --seconds $(FLOOD_SECONDS) --most 2 $(FLOODS)

attack-quotes: $(BUILD)/tests/attack-quotes
	@COCO_BUILD=$(BUILD) $<

attack-locks: $(BUILD)/tests/attack/locks
	@for n in 20000 50000 100000; do \
	 COCO_BUILD=$(BUILD) COCO_TEST_LOCKS=$$n $< || exit 1; done

OOM_PROGRAMS := $(addprefix $(BUILD)/tests/,oom-session oom-process oom-cococtl)
oom:
	@for program in $(OOM_PROGRAMS); do \
	 COCO_BUILD=$(BUILD) $$program || failed=1; done; [ -z "$$failed" ]

oom-all:
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/oom-cococtl --all
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/oom-process --all
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/oom-session --all

model:
	@tests/model/check $(BUILD)

prove prove-all:
	@$(SERVICE)
	@mkdir -p $(BUILD) && tests/proof/run $(BUILD) $(if $(filter %-all,$@),--all)

fuzz:
	@for target in $(FUZZ_PROGRAMS); do \
	 name=$${target##*/} found=$(BUILD)/fuzz/found; \
	 mkdir -p $$found/$$name; echo "== $$name"; \
	 $$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -detect_leaks=0 \
	  -verbosity=0 \
	  -print_final_stats=1 -artifact_prefix=$$found/$$name- \
	  $$found/$$name tests/fuzz/corpus/$$name >$$found/$$name.log 2>&1; code=$$?; \
	 grep -E 'number_of_executed|average_exec|ERROR|SUMMARY' $$found/$$name.log; \
	 [ $$code = 0 ] || exit 1; done

clean:
	rm -rf $(BUILD)
