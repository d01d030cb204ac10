# What is built of which files.

PROTO_SRC  := $(wildcard proto/*.c)
# What the daemon and cococtl share beyond that.
SHARED_SRC := $(wildcard proto/shared/*.c)
# Programs of their own: no code of the daemon is in them, and none of theirs in the daemon.
SEV_MAIN   := daemon/sev/cocod_sev.c daemon/sev/vlek_load.c
SEV_SRC    := $(filter-out $(SEV_MAIN),$(wildcard daemon/sev/*.c))
DAEMON_SRC := $(filter-out daemon/main.c daemon/sev/%,\
                $(wildcard $(addprefix daemon/,*.c */*.c */*/*.c))) $(SHARED_SRC)
CLIENT_SRC := $(wildcard client/*.c)
CTL_SRC    := $(wildcard client/cococtl/*.c client/cococtl/*/*.c)
EXAMPLE_SRC := $(wildcard client/examples/*.c)
# Simulators and models: qgs_sim_main.c is the program build/tests/qgs-sim and so on; everything
# else goes into one library.
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
FUZZ_CTL   := tests/fuzz/fuzz_kds.c tests/fuzz/fuzz_cococtl.c
FUZZ_CTL_SRC := $(addprefix client/cococtl/lib/,kds.c spelling.c)
# And all of it but for its main() and the network, with the daemon, the clock and the disk in the
# target's hands.
FUZZ_COCOCTL_SRC := $(filter-out client/cococtl/main.c client/cococtl/lib/http.c \
                      $(FUZZ_CTL_SRC),$(CTL_SRC))
FUZZ_COCOCTL_LDFLAGS := $(addprefix -Wl$(comma)--wrap=,net_connect send poll clock_gettime \
                          output_replace output_make_parents)
BENCH_SRC  := $(wildcard tests/bench/*.c)
QUOTE_BENCH_SRC := $(wildcard tests/bench/quotes/*.c)
DEMO_SRC   := $(wildcard tests/demo/*.c)
SYSTEMD_SRC := $(wildcard tests/systemd/*.c)
CHAOS_SRC  := $(addprefix tests/chaos/,chaos.c stage.c cast.c events.c ground.c guests.c asker.c \
                hostile.c)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
PROGRAMS := $(addprefix $(BUILD)/,cocod cocod-sev cocod-vlek-load cococtl libcoco.a libcoco.so.0 \
              libcoco.pc cococtl.bash)
EXAMPLE_PROGRAMS := $(patsubst client/examples/%.c,$(BUILD)/examples/%,$(EXAMPLE_SRC))
SIM_PROGRAMS := $(subst _,-,$(patsubst tests/sim/%_main.c,$(BUILD)/tests/%,$(SIM_MAIN)))
UNIT_PROGRAMS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_SRC))
INTEGRATION_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(INTEGRATION_SRC))
ATTACK_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(ATTACK_SRC))
REPLAY_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/replay/%,$(FUZZ_SRC))
FUZZ_PROGRAMS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_SRC))
TEST_PROGRAMS := $(UNIT_PROGRAMS) $(REPLAY_PROGRAMS) $(INTEGRATION_PROGRAMS) $(ATTACK_PROGRAMS)
# Floods, chaos and other load are not run again under sanitizers: what they show is not what those
# find, and they take longest.
LOAD_TESTS := $(ATTACK_PROGRAMS) $(addprefix $(BUILD)/tests/,daemon/test_quotes_load \
                $(addprefix integration/test_,load rotation update_kills store_scale))
# It has a malloc of its own, as sanitizers have.
OWN_MALLOC_TESTS := $(BUILD)/tests/daemon/test_memory
# Minutes under sanitizers; make fuzz has it under them.
LONG_REPLAYS := $(BUILD)/tests/replay/fuzz_cococtl
# One test each, by the exit status.
TEST_SCRIPTS := tests/vendored/run tests/install/run tests/docs/run

# The libraries that test programs are made of.
sim         = $(BUILD)/libsim.a $(BUILD)/libcoco.a
processes   = $(BUILD)/libintegration.a $(BUILD)/libsupport.a $(sim)
whole_cocod = $(BUILD)/libdaemontest.a $(BUILD)/libsupport.a $(BUILD)/libdaemon.a $(sim)
