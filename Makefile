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
LIBDIR   ?= $(PREFIX)/lib
UNITDIR  ?= $(PREFIX)/lib/systemd/system
SANITIZE ?=
FUZZ_SECONDS ?= 20
# Optional real test vectors; tests that need them are skipped with a message where the folder is absent.
COCO_TEST_DATA ?= ../shared/data
export COCO_TEST_DATA

VERSION := $(shell sed -n 's/^\#define COCO_VERSION_STRING "\(.*\)"/\1/p' proto/coco_limits.h)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

# What people type builds with all processors, unless make was told otherwise.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

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
# (What gcc thinks may be cut off depends on what the sanitizers keep it from seeing.)
SANFLAGS := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer -Wno-format-truncation
endif
CFLAGS_ALL = -std=gnu17 -D_GNU_SOURCE -Iproto -Iproto/shared -Iclient/include $(WARN) $(HARDEN) $(OPT) $(SANFLAGS) -MMD -MP $(CFLAGS)
LDFLAGS_ALL = -Wl,-z,relro,-z,now,-z,noexecstack $(SANFLAGS) $(LDFLAGS)
STRICT := -Wconversion -Wsign-conversion

pc = $(shell $(PKGCONFIG) --$(1) $(2) 2>/dev/null)
DAEMON_PC := libevent_core libcrypto libsystemd json-c
DAEMON_CFLAGS = -Idaemon -I$(BUILD)/gen -DHASH_NONFATAL_OOM=1 $(call pc,cflags,$(DAEMON_PC))
DAEMON_LIBS   := $(call pc,libs,$(DAEMON_PC)) -lpthread
CTL_PC := json-c libcurl
CTL_LIBS      := $(call pc,libs,$(CTL_PC))
CHECK_CFLAGS  := $(call pc,cflags,check)
CHECK_LIBS    := $(call pc,libs,check)
SIM_LIBS      := $(call pc,libs,libssl libcrypto) -lpthread

comma := ,

# --- sources ----------------------------------------------------------------------------------------
PROTO_SRC  := $(wildcard proto/*.c)
# What the daemon and cococtl share beyond that.
JSON_SRC   := $(wildcard proto/shared/*.c)
# Programs of their own: no code of the daemon is in them, and none of theirs in the daemon.
SEV_MAIN   := daemon/sev/cocod_sev.c daemon/sev/vlek_load.c
SEV_SRC    := $(filter-out $(SEV_MAIN),$(wildcard daemon/sev/*.c))
DAEMON_SRC := $(filter-out daemon/main.c $(SEV_MAIN) $(SEV_SRC),$(wildcard daemon/*.c daemon/*/*.c daemon/*/*/*.c)) $(JSON_SRC)
CLIENT_SRC := $(wildcard client/*.c)
CTL_SRC    := $(wildcard client/cococtl/*.c client/cococtl/*/*.c)
EXAMPLE_SRC := $(wildcard client/examples/*.c)
# Simulators and models: qgs_sim_main.c is the program build/tests/qgs-sim and so on; everything else goes into
# one library.
SIM_MAIN   := $(wildcard tests/sim/*_main.c)
SIM_SRC    := $(filter-out $(SIM_MAIN),$(wildcard tests/sim/*.c))
SUPPORT_SRC := $(wildcard tests/support/*.c)
UNIT_SRC   := $(wildcard tests/unit/*/test_*.c)
INTEGRATION_SRC := $(wildcard tests/integration/test_*.c)
# What several tests of a folder share: everything there that is not a test itself.
DAEMON_TEST_SRC := $(filter-out tests/unit/daemon/test_%,$(wildcard tests/unit/daemon/*.c))
CTL_TEST_SRC := $(filter-out tests/unit/ctl/test_%,$(wildcard tests/unit/ctl/*.c))
INTEGRATION_SHARED_SRC := $(filter-out $(INTEGRATION_SRC),$(wildcard tests/integration/*.c))
# Attacks by processes of real users, those that take seconds and show the same anywhere.
ATTACK_SRC := $(addprefix tests/attack/,descriptors.c locks.c places.c memory.c store.c)
FUZZ_SRC   := $(wildcard tests/fuzz/fuzz_*.c)
# Those that look at parts of cococtl, beside the daemon's.
FUZZ_CTL   := tests/fuzz/fuzz_kds.c tests/fuzz/fuzz_base64.c tests/fuzz/fuzz_cococtl.c
FUZZ_CTL_SRC := client/cococtl/lib/kds.c client/cococtl/lib/spelling.c client/cococtl/lib/base64.c
# And all of it but for its main() and the network, with the daemon, the clock and the disk in the target's hands.
FUZZ_COCOCTL_SRC := $(filter-out client/cococtl/main.c client/cococtl/lib/fetcher.c $(FUZZ_CTL_SRC),$(CTL_SRC))
FUZZ_COCOCTL_LDFLAGS := $(patsubst %,-Wl$(comma)--wrap=%,net_connect send poll clock_gettime output_replace output_make_parents)
BENCH_SRC  := $(wildcard tests/bench/*.c)
QUOTE_BENCH_SRC := $(wildcard tests/bench/quotes/*.c)
DEMO_SRC   := $(wildcard tests/demo/*.c)
SYSTEMD_SRC := $(wildcard tests/systemd/*.c)
CHAOS_SRC  := $(addprefix tests/chaos/,chaos.c stage.c cast.c events.c ground.c guests.c asker.c hostile.c)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
PROGRAMS := $(BUILD)/cocod $(BUILD)/cocod-sev $(BUILD)/cocod-vlek-load $(BUILD)/cococtl $(BUILD)/libcoco.a \
            $(BUILD)/libcoco.so.0 $(BUILD)/libcoco.pc $(BUILD)/cococtl.bash
EXAMPLE_PROGRAMS := $(patsubst client/examples/%.c,$(BUILD)/examples/%,$(EXAMPLE_SRC))
SIM_PROGRAMS := $(subst _,-,$(patsubst tests/sim/%_main.c,$(BUILD)/tests/%,$(SIM_MAIN)))
UNIT_PROGRAMS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_SRC))
INTEGRATION_PROGRAMS := $(patsubst tests/integration/%.c,$(BUILD)/tests/integration/%,$(INTEGRATION_SRC))
ATTACK_PROGRAMS := $(patsubst tests/attack/%.c,$(BUILD)/tests/attack/%,$(ATTACK_SRC))
REPLAY_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/replay/%,$(FUZZ_SRC))
FUZZ_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_SRC))
TEST_PROGRAMS := $(UNIT_PROGRAMS) $(REPLAY_PROGRAMS) $(INTEGRATION_PROGRAMS) $(ATTACK_PROGRAMS)
# Floods, chaos and other load are not run again under sanitizers: what they show is not what those find, and they take longest.
LOAD_TESTS := $(addprefix $(BUILD)/tests/,daemon/test_quotes_load integration/test_load integration/test_rotation \
              integration/test_update_kills integration/test_store_scale attack/descriptors attack/locks attack/places attack/memory attack/store)
# It has a malloc of its own, as sanitizers have.
OWN_MALLOC_TESTS := $(BUILD)/tests/daemon/test_memory
# Minutes under sanitizers; make fuzz has it under them.
LONG_REPLAYS := $(BUILD)/tests/replay/fuzz_cococtl
# One test each, by the exit status.
TEST_SCRIPTS := tests/vendored/run tests/install/run tests/docs/run

# --- the product ------------------------------------------------------------------------------------
.PHONY: all
all: $(PROGRAMS) ## build the daemon, the CLI and the library (default)

$(BUILD)/obj/proto/%.o: proto/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) $(STRICT) -fPIC -fvisibility=hidden -c $< -o $@

$(BUILD)/obj/client/cococtl/%.o: client/cococtl/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) -DCTL_PRODUCT -fPIE -Iclient/cococtl $(call pc,cflags,$(CTL_PC)) -c $< -o $@

$(BUILD)/obj/proto/shared/%.o: proto/shared/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) -fPIE $(call pc,cflags,json-c) -c $< -o $@

# The examples see the library's public headers alone, and kvm_dev.h: where there is no /dev/kvm with guests for them, the
# model answers their ioctl(2).
$(BUILD)/obj/client/examples/%.o: client/examples/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) -fPIE -Itests/sim -c $< -o $@

$(BUILD)/obj/client/%.o: client/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) $(STRICT) -fPIC -fvisibility=hidden -c $< -o $@

$(BUILD)/obj/daemon/%.o: daemon/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) -fPIE $(DAEMON_CFLAGS) -c $< -o $@

# A clock before this is wrong (daemon/base/build_time.h).
BUILD_TIME_S := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),0)
$(BUILD)/obj/daemon/base/build_time.o: CFLAGS_ALL += -DCOCO_BUILD_TIME_S=$(BUILD_TIME_S)

$(call obj,$(wildcard tests/unit/ctl/*.c) $(FUZZ_CTL)): CFLAGS_ALL += -Iclient/cococtl
$(BUILD)/obj/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) -fPIE -Itests -Itests/support -Itests/sim $(DAEMON_CFLAGS) $(CHECK_CFLAGS) -c $< -o $@

$(BUILD)/libproto.a: $(call obj,$(PROTO_SRC))
$(BUILD)/libdaemon.a: $(call obj,$(DAEMON_SRC))
$(BUILD)/libsev.a: $(call obj,$(SEV_SRC))
$(BUILD)/libsim.a: $(call obj,$(SIM_SRC))
$(BUILD)/libsupport.a: $(call obj,$(SUPPORT_SRC))
$(BUILD)/libdaemontest.a: $(call obj,$(DAEMON_TEST_SRC))
$(BUILD)/libctltest.a: $(call obj,$(CTL_TEST_SRC))
$(BUILD)/libintegration.a: $(call obj,$(INTEGRATION_SHARED_SRC))
$(BUILD)/libcoco.a: $(call obj,$(CLIENT_SRC) $(PROTO_SRC))
$(BUILD)/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR,$@) $(AR) qcs $@ $^

$(BUILD)/libcoco.so.0: $(call obj,$(CLIENT_SRC) $(PROTO_SRC)) client/libcoco.map
	$(call say,LD,$@) $(CC) -shared -Wl,-soname,libcoco.so.0 -Wl,--version-script=client/libcoco.map $(LDFLAGS_ALL) \
	      -o $@ $(filter %.o,$^)

# It says where things are installed, which is known when they are.
.PHONY: $(BUILD)/libcoco.pc
$(BUILD)/libcoco.pc: client/libcoco.pc.in proto/coco_limits.h
	@mkdir -p $(@D)
	$(call say,GEN,$@) sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' $< > $@

$(BUILD)/cocod: $(call obj,daemon/main.c) $(BUILD)/libdaemon.a $(BUILD)/libproto.a
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(DAEMON_LIBS)

$(BUILD)/cocod-sev: $(call obj,daemon/sev/cocod_sev.c daemon/sev/helper.c daemon/sev/device.c) $(BUILD)/libproto.a
$(BUILD)/cocod-vlek-load: $(call obj,daemon/sev/vlek_load.c daemon/sev/vlek.c daemon/sev/device.c) $(BUILD)/libproto.a
$(BUILD)/cocod-sev $(BUILD)/cocod-vlek-load:
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^

# cococtl's parts without its main(), for its own tests.
$(BUILD)/libctl.a: $(call obj,$(filter-out client/cococtl/main.c,$(CTL_SRC)) $(JSON_SRC))
$(BUILD)/cococtl: $(call obj,client/cococtl/main.c) $(BUILD)/libctl.a $(BUILD)/libcoco.a
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(CTL_LIBS)

$(BUILD)/cococtl.bash: $(BUILD)/cococtl
	$(call say,GEN,$@) $(BUILD)/cococtl completion > $@

# The admin interface's description is served by the daemon: the file itself, as a C string.
$(BUILD)/gen/admin_varlink.h: proto/io.cocod.Admin.varlink
	@mkdir -p $(@D)
	$(call say,GEN,$@) { echo 'static const char admin_varlink[] ='; \
	  sed -e 's/[\\"]/\\&/g' -e 's/.*/    "&\\n"/' $<; echo '    ;'; } > $@
$(call obj,$(DAEMON_SRC)) $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(DAEMON_SRC)): | $(BUILD)/gen/admin_varlink.h

# --- tests ------------------------------------------------------------------------------------------
.SECONDEXPANSION:
$(SIM_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/obj/tests/sim/$$(subst -,_,%)_main.o $(BUILD)/libsim.a $(BUILD)/libcoco.a
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(SIM_LIBS)

$(BUILD)/tests/demo: $(call obj,$(DEMO_SRC)) $(BUILD)/libsim.a $(BUILD)/libcoco.a
$(BUILD)/tests/coco-bench: $(call obj,$(BENCH_SRC)) $(BUILD)/libsim.a $(BUILD)/libcoco.a
$(BUILD)/tests/quote-bench: $(call obj,$(QUOTE_BENCH_SRC)) $(BUILD)/libsim.a $(BUILD)/libcoco.a
$(BUILD)/tests/floods: $(call obj,tests/attack/floods.c tests/bench/servers.c tests/bench/echo.c) $(BUILD)/libsim.a $(BUILD)/libcoco.a
$(BUILD)/tests/demo $(BUILD)/tests/coco-bench $(BUILD)/tests/quote-bench $(BUILD)/tests/floods:
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(SIM_LIBS) $(CTL_LIBS)

# The installed library's first user.
$(BUILD)/tests/systemd-load: $(call obj,$(SYSTEMD_SRC)) $(BUILD)/libsim.a $(BUILD)/libcoco.so.0
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(SIM_LIBS)

$(EXAMPLE_PROGRAMS) $(BUILD)/tests/client/test_snp_switch: LDFLAGS_ALL += -Wl,--wrap=ioctl
$(EXAMPLE_PROGRAMS): $(BUILD)/examples/%: $(BUILD)/obj/client/examples/%.o $(BUILD)/libsim.a $(BUILD)/libcoco.a
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(SIM_LIBS)

# What README.md shows in C, as a program.
$(BUILD)/obj/tests/docs/readme.inc: README.md
	@mkdir -p $(@D)
	@sed -n '/^```c$$/,/^```$$/p' $< | sed '/^```/d' >$@
$(BUILD)/obj/tests/docs/readme_vmm.o: $(BUILD)/obj/tests/docs/readme.inc
$(BUILD)/obj/tests/docs/readme_vmm.o: CFLAGS_ALL += -I$(BUILD)/obj/tests/docs
$(BUILD)/tests/readme-vmm: LDFLAGS_ALL += -Wl,--wrap=ioctl
$(BUILD)/tests/readme-vmm: $(BUILD)/obj/tests/docs/readme_vmm.o $(BUILD)/libsim.a $(BUILD)/libcoco.a
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(SIM_LIBS)

UNIT_LINK = $(call say,LD,$@) mkdir -p $(@D) && $(CC) -pie $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(CHECK_LIBS)

$(filter $(BUILD)/tests/proto/%,$(UNIT_PROGRAMS)): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o \
    $(BUILD)/libsupport.a $(BUILD)/libproto.a
	$(UNIT_LINK)

$(filter $(BUILD)/tests/sev/%,$(UNIT_PROGRAMS)): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o \
    $(BUILD)/libsupport.a $(BUILD)/libsev.a $(BUILD)/libproto.a $(BUILD)/cocod-sev $(BUILD)/cocod-vlek-load
	$(UNIT_LINK)

$(filter $(BUILD)/tests/sim/%,$(UNIT_PROGRAMS)): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o \
    $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libproto.a
	$(UNIT_LINK) $(SIM_LIBS)

$(filter $(BUILD)/tests/ctl/%,$(UNIT_PROGRAMS)): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o \
    $(BUILD)/libctltest.a $(BUILD)/libctl.a $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libcoco.a
	$(UNIT_LINK) $(CTL_LIBS) $(SIM_LIBS)

$(filter $(BUILD)/tests/client/%,$(UNIT_PROGRAMS)): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o \
    $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libcoco.a
	$(UNIT_LINK) $(SIM_LIBS)

$(filter $(BUILD)/tests/daemon/%,$(UNIT_PROGRAMS)): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o \
    $(BUILD)/libdaemontest.a $(BUILD)/libsupport.a $(BUILD)/libdaemon.a $(BUILD)/libsim.a $(BUILD)/libproto.a $(BUILD)/libcoco.a
	$(UNIT_LINK) $(DAEMON_LIBS) $(SIM_LIBS)

# Its malloc fails when it is told to.
$(BUILD)/tests/daemon/test_memory: $(BUILD)/obj/tests/oom/fail.o

$(INTEGRATION_PROGRAMS): $(BUILD)/tests/integration/%: $(BUILD)/obj/tests/integration/%.o \
    $(BUILD)/libintegration.a $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libcoco.a
	$(UNIT_LINK) $(SIM_LIBS) $(CTL_LIBS)

$(ATTACK_PROGRAMS): $(BUILD)/tests/attack/%: $(BUILD)/obj/tests/attack/%.o $(BUILD)/obj/tests/attack/attack.o \
    $(BUILD)/libintegration.a $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libcoco.a
	$(UNIT_LINK) $(SIM_LIBS) $(CTL_LIBS)

$(BUILD)/tests/door-stress: $(BUILD)/obj/tests/bench/door/door_stress.o $(BUILD)/cocod $(BUILD)/libintegration.a \
    $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libcoco.a
	$(UNIT_LINK) $(SIM_LIBS) $(CTL_LIBS)

# A name service that hangs.
$(BUILD)/tests/libnss_block.so.2: tests/integration/nss/block.c
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) -O1 -fPIC -shared -Wl,-soname,libnss_block.so.2 -o $@ $<
$(BUILD)/tests/integration/test_hanging: $(BUILD)/tests/libnss_block.so.2

# Attacks by real processes with real uids.
$(BUILD)/tests/attack-quotes: $(BUILD)/obj/tests/attack/quotes.o $(BUILD)/cocod $(BUILD)/libintegration.a \
    $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libcoco.a
	$(UNIT_LINK) $(SIM_LIBS) $(CTL_LIBS)

# The firmware is one for all processes of the run: tests/chaos/guests.c.
$(BUILD)/tests/chaos: LDFLAGS_ALL += -Wl,--wrap=snp_firmware_answer
$(BUILD)/tests/chaos: $(call obj,$(CHAOS_SRC)) $(BUILD)/libintegration.a $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libcoco.a \
    | $(BUILD)/tests/chaos-clock.so
	$(UNIT_LINK) $(SIM_LIBS) $(CTL_LIBS)
# The same, with one thing broken: tests/chaos/check.
BROKEN_COCOD := check_quote check_tdreport table_file_emptied request_complete peer_send certs_open_lease
$(BUILD)/tests/cocod-broken: LDFLAGS_ALL += $(addprefix -Wl$(comma)--wrap=,$(BROKEN_COCOD))
$(BUILD)/tests/cocod-broken: $(call obj,daemon/main.c tests/chaos/broken_cocod.c) $(BUILD)/libdaemon.a $(BUILD)/libproto.a
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $^ $(DAEMON_LIBS)
$(BUILD)/tests/chaos-broken: LDFLAGS_ALL += $(addprefix -Wl$(comma)--wrap=,snp_firmware_answer coco_status_to_getquote)
$(BUILD)/tests/chaos-broken: $(call obj,$(CHAOS_SRC) tests/chaos/broken_vmm.c) $(BUILD)/libintegration.a $(BUILD)/libsupport.a \
    $(BUILD)/libsim.a $(BUILD)/libcoco.a | $(BUILD)/tests/chaos-clock.so
	$(UNIT_LINK) $(SIM_LIBS) $(CTL_LIBS)
$(BUILD)/tests/soak: $(BUILD)/obj/tests/chaos/soak.o $(BUILD)/libintegration.a $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libcoco.a
	$(UNIT_LINK) $(SIM_LIBS) $(CTL_LIBS)
# (Preloaded before any sanitizer's library, so without one.)
$(BUILD)/tests/chaos-clock.so: tests/chaos/clock_preload.c
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) -Wno-missing-prototypes -O2 -fPIC -shared -o $@ $<

# Where memory runs out: malloc is the test's own, in the program or before another one.
$(BUILD)/tests/oom-session: $(call obj,tests/oom/session.c tests/oom/fail.c tests/oom/check_alone.c) $(BUILD)/libdaemontest.a \
    $(BUILD)/libsupport.a $(BUILD)/libdaemon.a $(BUILD)/libsim.a $(BUILD)/libcoco.a
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(DAEMON_LIBS) $(SIM_LIBS)
$(BUILD)/tests/oom-process $(BUILD)/tests/oom-cococtl: $(BUILD)/tests/oom-%: $(BUILD)/obj/tests/oom/%.o \
    $(call obj,tests/oom/check_alone.c) $(BUILD)/libintegration.a $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libcoco.a \
    | $(BUILD)/cocod $(BUILD)/cococtl $(BUILD)/tests/oom-fail.so
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(CTL_LIBS) $(SIM_LIBS)
$(BUILD)/tests/oom-fail.so: tests/oom/fail.c tests/oom/fail.h
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) $(filter-out -fsanitize%,$(CFLAGS_ALL)) -Itests -fPIC -DFAIL_PRELOADED -MF $(BUILD)/obj/oom-fail.d -shared -o $@ $<

$(patsubst tests/fuzz/%.c,$(BUILD)/tests/replay/%,$(FUZZ_CTL)): $(call obj,$(FUZZ_CTL_SRC))
$(BUILD)/tests/replay/fuzz_cococtl: $(call obj,$(FUZZ_COCOCTL_SRC))
$(BUILD)/tests/replay/fuzz_cococtl: LDFLAGS_ALL += $(FUZZ_COCOCTL_LDFLAGS)
# A replay program runs its fuzz target over the committed corpus, every truncation and every bit flip of it.
$(REPLAY_PROGRAMS): $(BUILD)/tests/replay/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/tests/fuzz/replay.o \
    $(BUILD)/libdaemon.a $(BUILD)/libcoco.a
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(DAEMON_LIBS)

# libFuzzer wants its own compilation of everything it watches; only what a target needs is linked.
FUZZ_CFLAGS = -std=gnu17 -D_GNU_SOURCE -Iproto -Iproto/shared -Iclient/include -Iclient/cococtl -Itests $(DAEMON_CFLAGS) -O2 -g \
              -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -MMD -MP
$(BUILD)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CLANG,$@) $(CLANG) $(FUZZ_CFLAGS) -c $< -o $@
$(BUILD)/fuzz/libproduct.a: $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(PROTO_SRC) $(DAEMON_SRC) $(CLIENT_SRC))
	@rm -f $@
	$(call say,AR,$@) $(AR) qcs $@ $^
$(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_CTL)): $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(FUZZ_CTL_SRC))
$(BUILD)/fuzz/fuzz_cococtl: $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(FUZZ_COCOCTL_SRC))
$(BUILD)/fuzz/fuzz_cococtl: FUZZ_LDFLAGS = $(FUZZ_COCOCTL_LDFLAGS)
$(FUZZ_PROGRAMS): $(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/%.o $(BUILD)/fuzz/obj/tests/fuzz/options.o $(BUILD)/fuzz/libproduct.a
	$(call say,CLANG,$@) $(CLANG) -fsanitize=fuzzer,address,undefined $(FUZZ_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(DAEMON_LIBS)

# --- what people type -------------------------------------------------------------------------------
.PHONY: deps programs tests check check-sanitize check-thread check-abi check-systemd check-skew check-peers check-debian check-valgrind coverage stress stress-qgs chaos chaos-check soak demo bench bench-quotes bench-door floods attack-quotes attack-locks guests \
        model prove prove-all oom oom-all fuzz lint format install clean help
deps: ## install the packages that building and testing need (apt or dnf; says what it installs)
	@.ci/packages

programs: all $(SIM_PROGRAMS) $(BUILD)/tests/demo $(BUILD)/tests/coco-bench $(BUILD)/tests/quote-bench $(EXAMPLE_PROGRAMS) \
          $(BUILD)/tests/readme-vmm

tests: programs $(TEST_PROGRAMS)

check: deps ## build everything and run all tests; ends with "N passed, N failed"
	@$(MAKE) --no-print-directory $(JOBS) tests
	@tests/run $(BUILD) $(TEST_PROGRAMS) $(TEST_SCRIPTS)

check-sanitize: ## the same, but for what is load, under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory $(JOBS) BUILD=$(BUILD)/sanitize SANITIZE=address,undefined OPT="-O1 -g" tests
	@ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 \
	 tests/run $(BUILD)/sanitize $(patsubst $(BUILD)/%,$(BUILD)/sanitize/%,$(filter-out $(LOAD_TESTS) $(OWN_MALLOC_TESTS) $(LONG_REPLAYS),$(TEST_PROGRAMS)))

# The tests that have threads, or that what they test has.
THREAD_TESTS := client/test_vmm_threads client/test_blocking client/test_synth_vmm integration/test_vmm_host \
 daemon/test_reload daemon/test_certs_jobs daemon/test_certs_store
check-thread: ## the tests with threads under ThreadSanitizer
	@$(MAKE) --no-print-directory $(JOBS) BUILD=$(BUILD)/thread SANITIZE=thread OPT="-O1 -g" \
	 $(addprefix $(BUILD)/thread/,$(addprefix tests/,$(THREAD_TESTS)) cocod cococtl)
	@TSAN_OPTIONS=halt_on_error=1 \
	 tests/run $(BUILD)/thread $(addprefix $(BUILD)/thread/tests/,$(THREAD_TESTS))

check-abi: $(BUILD)/libcoco.a $(BUILD)/libsev.a ## compare each number and layout of Linux's with the headers of a released kernel (fetches them)
	@tests/abi/run $(BUILD)

check-systemd: ## install the packages in a container under a real systemd, and show what holds there (root)
	@if [ "$$(id -u)" = 0 ]; then .ci/packages --service; fi
	@if [ "$$(id -u)" = 0 ] && command -v dpkg-buildpackage >/dev/null; then $(MAKE) --no-print-directory deb $(BUILD)/tests/systemd-load $(BUILD)/tests/snp-pki $(BUILD)/tests/sev-sim $(BUILD)/tests/qgs-sim; fi
	@tests/systemd/boot.sh $(BUILD)

check-skew: ## the release before with this one: VMMs, cococtl, store, configuration, interfaces
	@$(MAKE) --no-print-directory $(JOBS) programs
	@tests/skew/run $(BUILD)

SUITE ?= trixie
check-debian: ## the demo, the tests and the packages on another Debian, in a chroot (SUITE=trixie, sid, bookworm; root)
	@if [ "$$(id -u)" = 0 ]; then .ci/packages --service; fi
	@tests/debian/check $(SUITE) $(BUILD)

check-peers: ## other people's programs, Debian sid's in a chroot, meet cocod: varlinkctl, snphost, QEMU, … (root; PEERS="CHECK…")
	@if [ "$$(id -u)" = 0 ]; then .ci/packages --service; fi
	@$(MAKE) --no-print-directory $(JOBS) programs man-pages
	@tests/peers/run $(BUILD) $(PEERS)

# Without optimisation, so that each branch is one of the source.
COVERAGE := $(BUILD)/coverage
coverage: ## the tests, but for what is load, with gcov: the share of lines and branches that they run through
	@$(MAKE) --no-print-directory $(JOBS) BUILD=$(COVERAGE) OPT="-O0 -g --coverage -fprofile-update=atomic" CFLAGS="-U_FORTIFY_SOURCE -Wno-format-truncation" \
	 LDFLAGS=--coverage tests
	@find $(COVERAGE) -name '*.gcda' -delete
	@tests/run $(COVERAGE) $(patsubst $(BUILD)/%,$(COVERAGE)/%,$(filter-out $(LOAD_TESTS),$(TEST_PROGRAMS)))
	@tests/coverage $(COVERAGE)

check-valgrind: tests ## the unit tests under valgrind
	@CK_FORK=no CK_TIMEOUT_MULTIPLIER=20 COCO_STRIDE=7 \
	 TEST_WRAPPER="valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite" \
	 tests/run $(BUILD) $(UNIT_PROGRAMS)

stress: tests ## 2000 rotations of each kind under load, judged by the guest model (COCO_ROTATIONS)
	@COCO_ROTATIONS=$${COCO_ROTATIONS:-2000} tests/run $(BUILD) $(BUILD)/tests/integration/test_rotation
	@cat $(BUILD)/tests/log/integration.test_rotation.log

stress-qgs: tests ## 20 restarts of QGS of each kind under load, none of 64 + 16 requests lost (COCO_QGS_RESTARTS)
	@COCO_QGS_RESTARTS=$${COCO_QGS_RESTARTS:-20} tests/run $(BUILD) $(BUILD)/tests/integration/test_qgs_restart
	@cat $(BUILD)/tests/log/integration.test_qgs_restart.log

# SECONDS of events with each of SEEDS ("kept": those of tests/chaos/seeds), with SEED, or with one of the time.
SECONDS ?= 60
SEED ?=
SEEDS ?= $(SEED)
HOSTILE ?=
chaos_build = $(BUILD)$(if $(ASAN),/sanitize)
chaos: ## what may happen to a host, all at once, from a seed (SECONDS=60 SEED= SEEDS=kept HOSTILE="ping …" ASAN=1; best as root)
	@$(MAKE) --no-print-directory $(JOBS) BUILD=$(chaos_build) $(if $(ASAN),SANITIZE=address$(comma)undefined OPT="-O1 -g") \
	 $(addprefix $(chaos_build)/,cocod cococtl tests/chaos tests/qgs-sim tests/sev-sim)
	@CHAOS_HOSTILE="$(HOSTILE)" tests/chaos/run $(chaos_build) $(SECONDS) $(SEEDS)

chaos-check: ## show that a chaos run finds what is broken: eleven things, one after the other (BROKEN="NAME …"; root)
	@$(MAKE) --no-print-directory $(JOBS) $(addprefix $(BUILD)/,cococtl tests/chaos-broken tests/cocod-broken tests/qgs-sim tests/sev-sim)
	@tests/chaos/check $(BUILD) $(BROKEN)

soak: $(BUILD)/cocod $(BUILD)/tests/soak ## ten million requests, ten thousand idle sessions: cocod's memory and descriptors (COCO_SOAK)
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/soak

demo: deps ## show it at work: cocod, a simulated QGS and a synthetic VMM in a private folder
	@$(MAKE) --no-print-directory $(JOBS) programs
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/demo --build $(BUILD)

bench: programs ## measure CERTS_GET beside an echo server, Redis and a locked file (BENCH_FLAGS=--json)
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/coco-bench --cocod $(BUILD)/cocod $(BENCH_FLAGS)

guests: $(BUILD)/tests/guests ## an hour of virtual time of 1000 SNP and 1000 TDX guests (GUESTS="SNP TDX SEED MINUTES")
	@$(BUILD)/tests/guests $(GUESTS)

bench-quotes: programs ## measure the quote broker: latency added, throughput, fairness
	@$(BUILD)/tests/quote-bench $(BUILD)

bench-door: $(BUILD)/tests/door-stress ## measure a good client of the QGS front door beside hostile ones
	@COCO_BUILD=$(BUILD) $<

FLOOD_SECONDS ?= 3
floods: $(BUILD)/cocod $(BUILD)/tests/floods ## measure a good client of cocod beside floods of every kind (root, 2 CPUs; FLOOD_SECONDS=3 each)
	@$(BUILD)/tests/floods --cocod $(BUILD)/cocod --seconds $(FLOOD_SECONDS) $(FLOODS)

attack-quotes: $(BUILD)/tests/attack-quotes ## what 1000 processes of one user cost another user who wants quotes (root)
	@COCO_BUILD=$(BUILD) $<

attack-locks: $(BUILD)/tests/attack/locks ## what 20,000 to 100,000 locks of one user on the table file do to others and to updates (root)
	@for n in 20000 50000 100000; do COCO_BUILD=$(BUILD) COCO_TEST_LOCKS=$$n $< || exit 1; done

OOM_PROGRAMS := $(addprefix $(BUILD)/tests/,oom-session oom-process oom-cococtl)
oom: $(OOM_PROGRAMS) ## memory runs out at each call site, and at 550 drawn allocations (COCO_TEST_SEED)
	@for program in $(OOM_PROGRAMS); do COCO_BUILD=$(BUILD) $$program || failed=1; done; [ -z "$$failed" ]

oom-all: $(OOM_PROGRAMS) ## at each allocation; hours (OOM_STRIDE=N: one of N)
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/oom-cococtl --all
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/oom-process --all
	@COCO_BUILD=$(BUILD) $(BUILD)/tests/oom-session --all

model: ## check the model of leases and firmware updates, and that its broken variants are refuted (spin)
	@tests/model/check $(BUILD)

prove: ## show by CBMC, Debian sid's in a chroot, that no input breaks proto/, and that broken variants are refuted (root)
	@if [ "$$(id -u)" = 0 ]; then .ci/packages --service; fi
	@mkdir -p $(BUILD) && tests/proof/run $(BUILD)

prove-all: ## the same with the proofs that take longer
	@if [ "$$(id -u)" = 0 ]; then .ci/packages --service; fi
	@mkdir -p $(BUILD) && tests/proof/run $(BUILD) --all

fuzz: $(FUZZ_PROGRAMS) ## run each libFuzzer target for FUZZ_SECONDS (20)
	@for f in $(FUZZ_PROGRAMS); do name=$$(basename $$f); mkdir -p $(BUILD)/fuzz/found/$$name; \
	 echo "== $$name"; $$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
	 -print_final_stats=1 -artifact_prefix=$(BUILD)/fuzz/found/$$name- \
	 $(BUILD)/fuzz/found/$$name tests/fuzz/corpus/$$name 2>&1 | grep -E 'number_of_executed|average_exec|ERROR|SUMMARY' ; \
	 [ $${PIPESTATUS:-0} = 0 ] || exit 1; done

# --- lint -------------------------------------------------------------------------------------------
C_FILES := $(wildcard $(foreach d,proto daemon client tests,$d/*.[ch] $d/*/*.[ch] $d/*/*/*.[ch]))
TIDY_FLAGS = -std=gnu17 -D_GNU_SOURCE -Iproto -Iproto/shared -Iclient/include -Itests -Itests/support -Itests/sim -Iclient/cococtl \
             -I$(BUILD)/obj/tests/docs $(DAEMON_CFLAGS)

# As Debian 12's clang-format, clang-tidy and cppcheck judge: those of other releases lay out, and find, other things.
lint: lint-format lint-headers lint-man lint-packaging lint-units lint-cppcheck lint-shell lint-tidy ## clang-format, clang-tidy, cppcheck, headers alone

.PHONY: lint-format lint-headers lint-cppcheck lint-tidy lint-shell lint-units
lint-format:
	@clang-format --dry-run -Werror $(C_FILES) && echo "  lint    format: $(words $(C_FILES)) files"

# Each header stands alone; the public ones are C99 and C++17 too, under the strictest warnings.
lint-headers: $(BUILD)/gen/admin_varlink.h
	@for h in $(filter %.h,$(C_FILES)); do \
	 printf "#include \"%s\"\nextern int lint_unit;\n" "$$h" | $(CC) $(TIDY_FLAGS) -I. -Wall -Wextra -Werror -fsyntax-only -x c - || exit 1; done
	@for h in $(wildcard client/include/coco/*.h) $(wildcard proto/*.h); do \
	 printf "#include \"%s\"\nextern int lint_unit;\n" "$$h" | $(CC) -I. -Iproto -Iclient/include -std=c99 -Wall -Wextra -Wconversion -Wpedantic -Werror -fsyntax-only -x c - || exit 1; \
	 printf "#include \"%s\"\nextern int lint_unit;\n" "$$h" | $(CXX) -I. -Iproto -Iclient/include -std=c++17 -Wall -Wextra -Wconversion -Werror -fsyntax-only -x c++ - || exit 1; done
	@echo "  lint    headers stand alone"

lint-cppcheck:
	@cppcheck --quiet --error-exitcode=1 --enable=warning,portability,performance --inline-suppr --std=c11 \
	 --suppress=missingIncludeSystem --suppress=uninitvar -Iproto -Iproto/shared -Idaemon -Iclient/include -Iclient/cococtl -D_GNU_SOURCE \
	 -j 2 proto daemon client && echo "  lint    cppcheck"

lint-shell:
	@if command -v shellcheck >/dev/null; then shellcheck -e SC2086,SC2016,SC1091,SC2013 $$(grep -lrIE '^#!/.*\<(ba)?sh' .ci tests docs) && echo "  lint    shell"; fi

# Installed into a folder, so that what the units start is there.
UNITS = $(abspath $(BUILD))/units
lint-units: all
	@if command -v systemd-analyze >/dev/null; then rm -rf $(UNITS) && \
	 $(MAKE) --no-print-directory install PREFIX=$(UNITS) >/dev/null && cd $(UNITS)/lib/systemd/system && \
	 SYSTEMD_UNIT_PATH=$$PWD: systemd-analyze verify --man=no *.* && echo "  lint    units"; fi

lint-tidy: $(BUILD)/gen/admin_varlink.h $(BUILD)/obj/tests/docs/readme.inc
	@printf '%s\n' $(filter-out tests/abi/% tests/proof/%,$(filter %.c,$(C_FILES))) | xargs -P 2 -n 4 sh -c \
	 'clang-tidy --quiet "$$@" -- $(TIDY_FLAGS) 2>/dev/null || exit 255' tidy && echo "  lint    clang-tidy: $(words $(filter %.c,$(C_FILES))) files"

.PHONY: events
events: $(BUILD)/cocod ## make the journal's catalog from the daemon's table of events
	@$(BUILD)/cocod --catalog > systemd/cocod.catalog

# libcoco(3) is made from the public headers, and committed.
MAN_HEADERS := $(patsubst %,client/include/coco/%.h,base vmm unmerged client session)
.PHONY: man lint-man
man: ## make libcoco(3)'s source from the public headers
	@awk -f docs/libcoco.3.awk $(MAN_HEADERS) > docs/libcoco.3.scd

lint-man: man-pages
	@awk -f docs/libcoco.3.awk $(MAN_HEADERS) | cmp - docs/libcoco.3.scd || { echo "run make man"; exit 1; }
	@for page in $(MAN_PAGES); do out=$$(LC_ALL=C.UTF-8 MANROFFSEQ= MANWIDTH=80 man --warnings=all -E UTF-8 -l -Tutf8 -Z $$page 2>&1 >/dev/null); \
	 [ -z "$$out" ] || { echo "$$page: $$out"; exit 1; }; done
	@echo "  lint    manual pages: $(words $(MAN_PAGES)); libcoco(3) is that of the headers"

# The packages' list of symbols is the linker's, and their version the library's.
.PHONY: lint-packaging
lint-packaging:
	@sed -n 's/^    \(coco_[a-z0-9_]*\);$$/\1/p' client/libcoco.map | sort > $(BUILD)/gen/map.symbols
	@sed -n 's/^ \(coco_[a-z0-9_]*\)@.*/\1/p' debian/libcoco0.symbols | sort | diff $(BUILD)/gen/map.symbols - \
	 || { echo "debian/libcoco0.symbols is not client/libcoco.map's"; exit 1; }
	@v=$$(sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog); [ "$$v" = "$(VERSION)" ] || { echo "debian/changelog says $$v"; exit 1; }

format: ## let clang-format rewrite the sources
	@clang-format -i $(C_FILES)

# --- install ----------------------------------------------------------------------------------------
# The manual of the keys is the daemon's own, that of the verbs cococtl's.
MAN_PAGES := $(patsubst docs/%.scd,$(BUILD)/man/%,$(wildcard docs/*.scd))
.PHONY: man-pages install-man
man-pages: $(MAN_PAGES) ## the manual pages, into $(BUILD)/man (needs scdoc)

$(BUILD)/man/cocod.conf.5.scd: docs/cocod.conf.5.scd $(BUILD)/cocod
	@mkdir -p $(@D)
	@$(BUILD)/cocod --reference | sed 's/^## \[\(.*\)\]$$/## \1/' > $@.keys
	@sed -e '/^@REFERENCE@$$/{r $@.keys' -e 'd}' $< > $@
$(BUILD)/man/cocod.8.scd: docs/cocod.8.scd $(BUILD)/cocod
	@mkdir -p $(@D)
	@$(BUILD)/cocod --events > $@.events
	@sed -e '/^@EVENTS@$$/{r $@.events' -e 'd}' $< > $@
$(BUILD)/man/cococtl.1.scd: docs/cococtl.1.scd docs/cococtl.1.sh $(BUILD)/cococtl
	@mkdir -p $(@D)
	@sh docs/cococtl.1.sh $(BUILD)/cococtl $< > $@
$(BUILD)/man/%.scd: docs/%.scd
	@mkdir -p $(@D)
	@cp $< $@
# (Its first line says that a page has tables, which scdoc leaves out, and man-db guesses: man(1), "DEFAULTS".)
$(MAN_PAGES): $(BUILD)/man/%: $(BUILD)/man/%.scd
	$(call say,MAN,$@) scdoc < $< > $@.page
	@{ if grep -q '^\.TS' $@.page; then echo "'\\\" t"; fi; cat $@.page; } > $@ && rm $@.page

DOC_DIR = $(DESTDIR)$(PREFIX)/share/doc/cocod
install: all install-man ## install under PREFIX (/usr/local), libraries under LIBDIR, into DESTDIR
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/include/coco $(DESTDIR)$(UNITDIR) \
	        $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d $(DOC_DIR)/examples
	install -m 755 $(BUILD)/cocod $(BUILD)/cococtl $(DESTDIR)$(PREFIX)/bin
	install -d $(DESTDIR)$(PREFIX)/lib/cocod
	install -D -m 644 $(BUILD)/cococtl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cococtl
	install -m 755 $(BUILD)/cocod-sev $(DESTDIR)$(PREFIX)/lib/cocod/cocod-sev
	install -m 755 $(BUILD)/cocod-vlek-load $(DESTDIR)$(PREFIX)/lib/cocod/vlek-load
	install -m 644 $(BUILD)/libcoco.a $(BUILD)/libcoco.so.0 $(DESTDIR)$(LIBDIR)
	ln -sf libcoco.so.0 $(DESTDIR)$(LIBDIR)/libcoco.so
	install -m 644 $(BUILD)/libcoco.pc $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 client/include/coco/*.h $(DESTDIR)$(PREFIX)/include/coco
	for unit in $(notdir $(wildcard systemd/*.service systemd/*.socket systemd/*.path systemd/*.timer systemd/*.target)); do \
	 sed -e 's|/usr/bin/coco|$(PREFIX)/bin/coco|g' -e 's|/usr/lib/cocod/|$(PREFIX)/lib/cocod/|g' systemd/$$unit > $(DESTDIR)$(UNITDIR)/$$unit && chmod 644 $(DESTDIR)$(UNITDIR)/$$unit || exit 1; done
	install -m 644 systemd/cocod.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/cocod.conf
	install -D -m 644 systemd/cocod.catalog $(DESTDIR)$(PREFIX)/lib/systemd/catalog/cocod.catalog
	install -m 644 systemd/cocod.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/cocod.conf
	install -m 644 systemd/cocod.service.d/vsock.conf cocod.conf.example $(DOC_DIR)/examples
	install -D -m 644 systemd/qgsd.service.d/50-cocod.conf $(DOC_DIR)/qgsd.service.d/50-cocod.conf
	install -m 644 README.md proto/PROTOCOL.md docs/*.md docs/alerts.yml docs/grafana-dashboard.json $(DOC_DIR)

install-man: all
	@if command -v scdoc >/dev/null; then $(MAKE) --no-print-directory man-pages || exit 1; \
	 for page in $(MAN_PAGES); do section=man$${page##*.}; \
	 install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/$$section/$${page##*/} || exit 1; done; \
	 else echo "install: there is no scdoc here: the manual pages are left out"; fi

# --- packages ---------------------------------------------------------------------------------------
# Built in a copy of the tree, since debhelper writes into debian/ and to the folder above.
DEB_DIR := $(BUILD)/deb
# systemd hands the service its sockets, watches it and closes it in: no script could. Newer lintians no longer ask for one, and
# take an override of what they don't know for an error.
NO_INIT_SCRIPT := package-supports-alternative-init-but-no-init.d-script
.PHONY: deb
deb: ## Debian packages in build/deb: cocod, libcoco0, libcoco-dev; judged by lintian where it is there
	@command -v dpkg-buildpackage >/dev/null || { echo "deb: what this needs is not here; .ci/packages --deb installs it"; exit 1; }
	@rm -rf $(DEB_DIR) && mkdir -p $(DEB_DIR)/cocod
	@tar -c --exclude=./.git --exclude=./$(BUILD) . | tar -x -C $(DEB_DIR)/cocod
	@cd $(DEB_DIR)/cocod && MAKEFLAGS= MAKELEVEL= dpkg-buildpackage -us -uc -b -j2 >../build.log 2>&1 || { tail -n 40 ../build.log; exit 1; }
	@rm -rf $(DEB_DIR)/cocod && ls $(DEB_DIR)/*.deb | sed 's/^/  DEB     /'
	@if command -v lintian >/dev/null; then \
	 if lintian-explain-tags $(NO_INIT_SCRIPT) 2>&1 | grep -q '^I:'; then known="--suppress-tags $(NO_INIT_SCRIPT)"; fi; \
	 lintian --fail-on warning --display-info --allow-root $$known $(DEB_DIR)/*.changes && echo "  lint    lintian"; \
	 else echo "  lint    there is no lintian here: the packages were not judged"; fi

SBOM := $(BUILD)/cocod-$(VERSION).spdx
.PHONY: sbom check-sbom reproducible
sbom: deb ## what the packages contain and need, in SPDX 2.3: build/cocod-VERSION.spdx
	@tests/packages/sbom $(DEB_DIR) >$(SBOM) && echo "  SPDX    $(SBOM)"

check-sbom: sbom ## judged by SPDX's own tools, Debian sid's in a chroot (root)
	@tests/debian/chroot make sid $(BUILD)/chroot/sid python3-spdx-tools
	@tests/debian/chroot run $(abspath $(BUILD))/chroot/sid -b $(abspath $(BUILD)) /out pyspdxtools -i /out/$(notdir $(SBOM)) && \
	 echo "1 passed, 0 failed" || { echo "0 passed, 1 failed"; exit 1; }

reproducible: deb ## the packages again at another place, time, umask, time zone: the same bytes
	@tests/packages/reproducible $(DEB_DIR)

clean: ## remove everything that was built
	rm -rf $(BUILD)

help: ## list the targets
	@grep -hE '^[a-z][a-z -]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | \
	 awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'

-include $(shell find $(BUILD)/obj $(BUILD)/fuzz/obj -name '*.d' 2>/dev/null)
