# How test programs are built.

$(call obj,$(wildcard tests/unit/ctl/*.c) $(FUZZ_CTL)): CFLAGS_ALL += -Iclient/cococtl
TEST_CFLAGS = -Itests -Itests/support -Itests/sim $(DAEMON_CFLAGS) $(CHECK_CFLAGS)
$(BUILD)/obj/tests/%.o: tests/%.c
	$(call compile,-fPIE $(TEST_CFLAGS))

$(BUILD)/libsim.a: $(call obj,$(SIM_SRC))
$(BUILD)/libsupport.a: $(call obj,$(SUPPORT_SRC))
$(BUILD)/libdaemontest.a: $(call obj,$(DAEMON_TEST_SRC))
$(BUILD)/libctltest.a: $(call obj,$(CTL_TEST_SRC))
$(BUILD)/libintegration.a: $(call obj,$(INTEGRATION_SHARED_SRC))

# --- simulators, demo, benchmarks
.SECONDEXPANSION:
$(SIM_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/obj/tests/sim/$$(subst -,_,%)_main.o $(sim)
	$(call link,$(SIM_LIBS))

$(BUILD)/tests/demo: $(call obj,$(DEMO_SRC)) $(sim)
$(BUILD)/tests/coco-bench: $(call obj,$(BENCH_SRC)) $(sim)
$(BUILD)/tests/quote-bench: $(call obj,$(QUOTE_BENCH_SRC)) $(sim)
$(BUILD)/tests/floods: $(call obj,tests/attack/floods.c tests/bench/servers.c tests/bench/echo.c) \
  $(sim)
$(addprefix $(BUILD)/tests/,demo coco-bench quote-bench floods):
	$(call link,$(SIM_LIBS) $(CTL_LIBS))

# The installed library's first user.
$(BUILD)/tests/systemd-load: $(call obj,$(SYSTEMD_SRC)) $(BUILD)/libsim.a $(BUILD)/libcoco.so.0
	$(call link,$(SIM_LIBS))

# --- examples, and what README.md shows in C, as a program: with a model of KVM behind ioctl(2)
$(BUILD)/obj/tests/docs/readme.inc: README.md
	@mkdir -p $(@D)
	@sed -n '/^```c$$/,/^```$$/p' $< | sed '/^```/d' >$@
$(BUILD)/obj/tests/docs/readme_vmm.o: $(BUILD)/obj/tests/docs/readme.inc
$(BUILD)/obj/tests/docs/readme_vmm.o: CFLAGS_ALL += -I$(BUILD)/obj/tests/docs
MODELLED := $(EXAMPLE_PROGRAMS) $(BUILD)/tests/readme-vmm
$(MODELLED) $(BUILD)/tests/client/test_snp_switch: LDFLAGS_ALL += -Wl,--wrap=ioctl
$(BUILD)/tests/readme-vmm: $(BUILD)/obj/tests/docs/readme_vmm.o $(sim)
$(EXAMPLE_PROGRAMS): $(BUILD)/examples/%: $(BUILD)/obj/client/examples/%.o $(sim)
$(MODELLED):
	$(call link,$(SIM_LIBS))

# --- unit tests, by folder: $(call unit,FOLDER)
unit = $(filter $(BUILD)/tests/$(1)/%,$(UNIT_PROGRAMS)): \
         $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o
$(call unit,proto) $(BUILD)/libsupport.a $(BUILD)/libproto.a
	$(call link,$(CHECK_LIBS))
$(call unit,sev) $(BUILD)/libsupport.a $(BUILD)/libsev.a $(BUILD)/libproto.a \
  | $(BUILD)/cocod-sev $(BUILD)/cocod-vlek-load
	$(call link,$(CHECK_LIBS))
$(call unit,sim) $(BUILD)/libsupport.a $(BUILD)/libsim.a $(BUILD)/libproto.a
	$(call link,$(CHECK_LIBS) $(SIM_LIBS))
$(call unit,ctl) $(BUILD)/libctltest.a $(BUILD)/libctl.a $(BUILD)/libsupport.a $(sim)
	$(call link,$(CHECK_LIBS) $(CTL_LIBS) $(SIM_LIBS))
$(call unit,client) $(BUILD)/libsupport.a $(sim)
	$(call link,$(CHECK_LIBS) $(SIM_LIBS))
$(call unit,daemon) $(whole_cocod)
	$(call link,$(CHECK_LIBS) $(DAEMON_LIBS) $(SIM_LIBS))
# Its malloc fails when it is told to.
$(BUILD)/tests/daemon/test_memory: $(BUILD)/obj/tests/oom/fail.o

# --- tests of processes: integration, attacks, load
PROCESS_LIBS = $(CHECK_LIBS) $(SIM_LIBS) $(CTL_LIBS)
$(INTEGRATION_PROGRAMS) $(ATTACK_PROGRAMS): $(BUILD)/%: $(BUILD)/obj/%.o $(processes)
	$(call link,$(PROCESS_LIBS))
$(ATTACK_PROGRAMS): $(BUILD)/obj/tests/attack/attack.o

PROCESS_PROGRAMS := $(addprefix $(BUILD)/tests/,door-stress attack-quotes chaos chaos-broken soak)
$(BUILD)/tests/door-stress: $(BUILD)/obj/tests/bench/door/door_stress.o $(processes)
$(BUILD)/tests/attack-quotes: $(BUILD)/obj/tests/attack/quotes.o $(processes)
$(BUILD)/tests/soak: $(BUILD)/obj/tests/chaos/soak.o $(processes)
$(BUILD)/tests/chaos: $(call obj,$(CHAOS_SRC)) $(processes)
$(BUILD)/tests/chaos-broken: $(call obj,$(CHAOS_SRC) tests/chaos/broken_vmm.c) $(processes)
$(PROCESS_PROGRAMS): | $(BUILD)/cocod
	$(call link,$(PROCESS_LIBS))

# A name service that hangs.
$(BUILD)/tests/libnss_block.so.2: SHARED_FLAGS = -Wl,-soname,libnss_block.so.2
$(BUILD)/tests/libnss_block.so.2: tests/integration/nss/block.c
$(BUILD)/tests/integration/test_hanging: | $(BUILD)/tests/libnss_block.so.2
# A clock that is set, for one process. (Preloaded before any sanitizer's library, so without one.)
$(BUILD)/tests/chaos-clock.so: tests/chaos/clock_preload.c
$(BUILD)/tests/chaos $(BUILD)/tests/chaos-broken: | $(BUILD)/tests/chaos-clock.so
# Memory that runs out, for one process.
$(BUILD)/tests/oom-fail.so: SHARED_FLAGS = -Itests -Iproto -DFAIL_PRELOADED
$(BUILD)/tests/oom-fail.so: tests/oom/fail.c tests/oom/fail.h
$(addprefix $(BUILD)/tests/,libnss_block.so.2 chaos-clock.so oom-fail.so):
	@mkdir -p $(@D)
	$(call say,LD,$@) $(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) -Wno-missing-prototypes -O2 -fPIC \
	  -shared $(SHARED_FLAGS) -o $@ $<

# Chaos: the firmware is one for all processes of the run (tests/chaos/guests.c); and the same, with
# one thing broken (tests/chaos/check).
wrap = $(addprefix -Wl$(comma)--wrap=,$(1))
$(BUILD)/tests/chaos: LDFLAGS_ALL += $(call wrap,snp_firmware_answer)
$(BUILD)/tests/chaos-broken: LDFLAGS_ALL += \
  $(call wrap,snp_firmware_answer coco_status_to_getquote)
$(BUILD)/tests/cocod-broken: LDFLAGS_ALL += $(call wrap,check_quote check_tdreport \
  table_file_emptied peer_send certs_open_lease)
$(BUILD)/tests/cocod-broken: $(call obj,daemon/main.c tests/chaos/broken_cocod.c) \
  $(BUILD)/libdaemon.a $(BUILD)/libproto.a
	$(call link,$(DAEMON_LIBS))

# Where memory runs out: malloc is the test's own, in the program or before another one.
oom = $(call obj,tests/oom/$(1).c tests/oom/check_alone.c)
$(BUILD)/tests/oom-session: $(call oom,session) $(call obj,tests/oom/fail.c) $(whole_cocod)
	$(call link,$(DAEMON_LIBS) $(SIM_LIBS))
$(BUILD)/tests/oom-process: $(call oom,process) $(processes)
$(BUILD)/tests/oom-cococtl: $(call oom,cococtl) $(processes)
$(BUILD)/tests/oom-process $(BUILD)/tests/oom-cococtl: \
  | $(BUILD)/cocod $(BUILD)/cococtl $(BUILD)/tests/oom-fail.so
	$(call link,$(CTL_LIBS) $(SIM_LIBS))

# --- fuzzing
# A replay program runs its target over the committed corpus, each truncation and bit flip of it.
replay = $(addprefix $(BUILD)/tests/replay/,$(notdir $(basename $(1))))
$(call replay,$(FUZZ_CTL)): $(call obj,$(FUZZ_CTL_SRC))
$(BUILD)/tests/replay/fuzz_cococtl: $(call obj,$(FUZZ_COCOCTL_SRC))
$(BUILD)/tests/replay/fuzz_cococtl: LDFLAGS_ALL += $(FUZZ_COCOCTL_LDFLAGS)
$(REPLAY_PROGRAMS): $(BUILD)/tests/replay/%: $(BUILD)/obj/tests/fuzz/%.o \
  $(BUILD)/obj/tests/fuzz/replay.o $(BUILD)/libdaemon.a $(BUILD)/libcoco.a
	$(call link,$(DAEMON_LIBS))

# libFuzzer wants its own compilation of all that it watches; only what a target needs is linked.
FUZZ_SANITIZE := address,undefined
FUZZ_CFLAGS = $(LANGUAGE) -Iclient/cococtl -Itests $(DAEMON_CFLAGS) -O2 -g -MMD -MP \
  -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,$(FUZZ_SANITIZE) -fno-sanitize-recover=all
fuzz_obj = $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(1))
$(BUILD)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CLANG,$@) $(CLANG) $(FUZZ_CFLAGS) -c $< -o $@
$(BUILD)/fuzz/libproduct.a: $(call fuzz_obj,$(PROTO_SRC) $(DAEMON_SRC) $(CLIENT_SRC))
$(addprefix $(BUILD)/fuzz/,$(notdir $(basename $(FUZZ_CTL)))): $(call fuzz_obj,$(FUZZ_CTL_SRC))
$(BUILD)/fuzz/fuzz_cococtl: $(call fuzz_obj,$(FUZZ_COCOCTL_SRC))
$(BUILD)/fuzz/fuzz_cococtl: FUZZ_LDFLAGS = $(FUZZ_COCOCTL_LDFLAGS)
$(FUZZ_PROGRAMS): $(BUILD)/fuzz/%: $(call fuzz_obj,tests/fuzz/%.c tests/fuzz/options.c) \
  $(BUILD)/fuzz/libproduct.a
	$(call say,CLANG,$@) $(CLANG) -fsanitize=fuzzer,$(FUZZ_SANITIZE) $(FUZZ_LDFLAGS) -o $@ \
	  $(filter %.o,$^) $(filter %.a,$^) $(DAEMON_LIBS)
