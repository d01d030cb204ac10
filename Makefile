# cocod: build, test, install. `make help` lists the targets.
#
# Everything built goes under $(BUILD). The same rules serve every variant: a sanitizer run is this Makefile
# with another BUILD and SANITIZE (see check-sanitize).

BUILD    ?= build
ifeq ($(origin CC),default)
CC       := gcc
endif
CLANG    ?= clang
ifeq ($(origin AR),default)
AR       := ar
endif
PKGCONFIG ?= pkg-config
PREFIX   ?= /usr/local
SANITIZE ?=
FUZZ_SECONDS ?= 20
# Optional real test vectors; tests that need them are skipped with a message where the folder is absent.
COCO_TEST_DATA ?= ../shared/data
export COCO_TEST_DATA

VERSION := $(shell sed -n 's/^\#define COCO_VERSION_STRING "\(.*\)"/\1/p' proto/limits.h)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

# One line a step; `make V=1` shows the commands.
V ?= 0
ifeq ($(V),0)
say = @printf '  %-7s %s\n' $(1) $(2);
endif

# --- flags ------------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wundef -Wvla \
        -Wformat=2 -Wwrite-strings -Wimplicit-fallthrough -Werror
HARDEN := -fstack-protector-strong -fstack-clash-protection -fno-strict-aliasing -fno-strict-overflow
ifeq ($(shell uname -m),x86_64)
HARDEN += -fcf-protection
endif
OPT ?= -O2 -g
ifeq ($(SANITIZE),)
HARDEN += -D_FORTIFY_SOURCE=2
SANFLAGS :=
else
SANFLAGS := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
CFLAGS_ALL = -std=gnu17 -D_GNU_SOURCE -Iproto -Iclient/include $(WARN) $(HARDEN) $(OPT) $(SANFLAGS) -MMD -MP $(CFLAGS)
LDFLAGS_ALL = -Wl,-z,relro,-z,now,-z,noexecstack $(SANFLAGS) $(LDFLAGS)
STRICT := -Wconversion -Wsign-conversion

pc = $(shell $(PKGCONFIG) --$(1) $(2) 2>/dev/null)
DAEMON_PC := libevent_core libcrypto libsystemd json-c inih
DAEMON_CFLAGS = -Idaemon -I$(BUILD)/gen -DHASH_NONFATAL_OOM=1 $(call pc,cflags,$(DAEMON_PC))
DAEMON_LIBS   := $(call pc,libs,$(DAEMON_PC)) -lpthread
CTL_LIBS      := $(call pc,libs,json-c)
CHECK_CFLAGS  := $(call pc,cflags,check)
CHECK_LIBS    := $(call pc,libs,check)
SIM_LIBS      := $(call pc,libs,libcrypto) -lpthread

# --- sources ----------------------------------------------------------------------------------------
PROTO_SRC  := $(wildcard proto/*.c)
DAEMON_SRC := $(filter-out daemon/main.c,$(wildcard daemon/*.c daemon/*/*.c))
CLIENT_SRC := $(wildcard client/*.c)
CTL_SRC    := $(wildcard client/cococtl/*.c)
# Simulators and models: NAME_main.c is a program build/tests/NAME, everything else goes into one library.
SIM_MAIN   := $(wildcard tests/sim/*_main.c)
SIM_SRC    := $(filter-out $(SIM_MAIN),$(wildcard tests/sim/*.c))
SUPPORT_SRC := $(wildcard tests/support/*.c)
UNIT_SRC   := $(wildcard tests/unit/*/test_*.c)
INTEGRATION_SRC := $(wildcard tests/integration/test_*.c)
# What several tests of a folder share: everything there that is not a test itself.
DAEMON_TEST_SRC := $(filter-out tests/unit/daemon/test_%,$(wildcard tests/unit/daemon/*.c))
INTEGRATION_SHARED_SRC := $(filter-out $(INTEGRATION_SRC),$(wildcard tests/integration/*.c))
FUZZ_SRC   := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SRC  := $(wildcard tests/bench/*.c)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
PROGRAMS := $(BUILD)/cocod $(BUILD)/cococtl $(BUILD)/libcoco.a $(BUILD)/libcoco.so.0 $(BUILD)/libcoco.pc
SIM_PROGRAMS := $(patsubst tests/sim/%_main.c,$(BUILD)/tests/%,$(SIM_MAIN))
UNIT_PROGRAMS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_SRC))
INTEGRATION_PROGRAMS := $(patsubst tests/integration/%.c,$(BUILD)/tests/integration/%,$(INTEGRATION_SRC))
REPLAY_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/replay/%,$(FUZZ_SRC))
FUZZ_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_SRC))
TEST_PROGRAMS := $(UNIT_PROGRAMS) $(REPLAY_PROGRAMS) $(INTEGRATION_PROGRAMS)

# --- the product ------------------------------------------------------------------------------------
.PHONY: all
all: $(PROGRAMS) ## build the daemon, the CLI and the library (default)

$(BUILD)/obj/proto/%.o: proto/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) $(STRICT) -fPIC -fvisibility=hidden -c $< -o $@

$(BUILD)/obj/client/cococtl/%.o: client/cococtl/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) -fPIE $(call pc,cflags,json-c) -c $< -o $@

$(BUILD)/obj/client/%.o: client/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) $(STRICT) -fPIC -fvisibility=hidden -c $< -o $@

$(BUILD)/obj/daemon/%.o: daemon/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) -fPIE $(DAEMON_CFLAGS) -c $< -o $@

$(BUILD)/obj/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) -fPIE -Itests -Itests/support -Itests/sim $(DAEMON_CFLAGS) $(CHECK_CFLAGS) -c $< -o $@

$(BUILD)/libproto.a: $(call obj,$(PROTO_SRC))
$(BUILD)/libdaemon.a: $(call obj,$(DAEMON_SRC))
$(BUILD)/libsim.a: $(call obj,$(SIM_SRC))
$(BUILD)/libsupport.a: $(call obj,$(SUPPORT_SRC))
$(BUILD)/libdaemontest.a: $(call obj,$(DAEMON_TEST_SRC))
$(BUILD)/libintegration.a: $(call obj,$(INTEGRATION_SHARED_SRC))
$(BUILD)/libcoco.a: $(call obj,$(CLIENT_SRC) $(PROTO_SRC))
$(BUILD)/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR,$@) $(AR) rcs $@ $^

$(BUILD)/libcoco.so.0: $(call obj,$(CLIENT_SRC) $(PROTO_SRC)) client/libcoco.map
	$(call say,LD,$@) $(CC) -shared -Wl,-soname,libcoco.so.0 -Wl,--version-script=client/libcoco.map $(LDFLAGS_ALL) \
	      -o $@ $(filter %.o,$^)

$(BUILD)/libcoco.pc: client/libcoco.pc.in proto/limits.h
	@mkdir -p $(@D)
	$(call say,GEN,$@) sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' $< > $@

$(BUILD)/cocod: $(call obj,daemon/main.c) $(BUILD)/libdaemon.a $(BUILD)/libproto.a
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(DAEMON_LIBS)

$(BUILD)/cococtl: $(call obj,$(CTL_SRC)) $(BUILD)/libcoco.a
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(CTL_LIBS)

# The admin interface's description is served by the daemon: the file itself, as a C string.
$(BUILD)/gen/admin_varlink.h: proto/io.cocod.Admin.varlink
	@mkdir -p $(@D)
	$(call say,GEN,$@) { echo 'static const char admin_varlink[] ='; \
	  sed -e 's/[\\"]/\\&/g' -e 's/.*/    "&\\n"/' $<; echo '    ;'; } > $@
$(call obj,$(DAEMON_SRC)) $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(DAEMON_SRC)): | $(BUILD)/gen/admin_varlink.h

# --- tests ------------------------------------------------------------------------------------------
$(SIM_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/obj/tests/sim/%_main.o $(BUILD)/libsim.a $(BUILD)/libcoco.a
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(SIM_LIBS)

UNIT_LINK = $(call say,LD,$@) mkdir -p $(@D) && $(CC) -pie $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(CHECK_LIBS)

$(filter $(BUILD)/tests/proto/%,$(UNIT_PROGRAMS)): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o \
    $(BUILD)/libsupport.a $(BUILD)/libproto.a
	$(UNIT_LINK)

$(filter $(BUILD)/tests/sim/%,$(UNIT_PROGRAMS)): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o \
    $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libproto.a
	$(UNIT_LINK) $(SIM_LIBS)

$(filter $(BUILD)/tests/client/%,$(UNIT_PROGRAMS)): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o \
    $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libcoco.a
	$(UNIT_LINK) $(SIM_LIBS)

$(filter $(BUILD)/tests/daemon/%,$(UNIT_PROGRAMS)): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o \
    $(BUILD)/libdaemontest.a $(BUILD)/libsupport.a $(BUILD)/libdaemon.a $(BUILD)/libsim.a $(BUILD)/libproto.a
	$(UNIT_LINK) $(DAEMON_LIBS) $(SIM_LIBS)

$(INTEGRATION_PROGRAMS): $(BUILD)/tests/integration/%: $(BUILD)/obj/tests/integration/%.o \
    $(BUILD)/libintegration.a $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libcoco.a
	$(UNIT_LINK) $(SIM_LIBS) $(CTL_LIBS)

# A replay program runs its fuzz target over the committed corpus, every truncation and every bit flip of it.
$(REPLAY_PROGRAMS): $(BUILD)/tests/replay/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/tests/fuzz/replay.o \
    $(BUILD)/libdaemon.a $(BUILD)/libcoco.a
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(DAEMON_LIBS)

# libFuzzer wants its own compilation of everything it watches; only what a target needs is linked.
FUZZ_CFLAGS = -std=gnu17 -D_GNU_SOURCE -Iproto -Iclient/include -Itests $(DAEMON_CFLAGS) -O1 -g \
              -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -MMD -MP
$(BUILD)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CLANG,$@) $(CLANG) $(FUZZ_CFLAGS) -c $< -o $@
$(BUILD)/fuzz/libproduct.a: $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(PROTO_SRC) $(DAEMON_SRC) $(CLIENT_SRC))
	@rm -f $@
	$(call say,AR,$@) $(AR) rcs $@ $^
$(FUZZ_PROGRAMS): $(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/%.o $(BUILD)/fuzz/libproduct.a
	$(call say,CLANG,$@) $(CLANG) -fsanitize=fuzzer,address,undefined -o $@ $^ $(DAEMON_LIBS)

.PHONY: deps programs tests check demo bench fuzz lint check-sanitize check-valgrind clean help format
deps: ## install the packages that building and testing need (apt or dnf)
	@.ci/packages

programs: all $(SIM_PROGRAMS)

tests: programs $(TEST_PROGRAMS)

check: deps ## build and run all tests; ends with "N passed, N failed"
	@$(MAKE) --no-print-directory tests
	@tests/run $(BUILD) $(TEST_PROGRAMS)

clean: ## remove everything that was built
	rm -rf $(BUILD)

help: ## list the targets
	@grep -hE '^[a-z][a-z -]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | \
	 awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
