# Compilers, flags and libraries.

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wundef \
        -Wvla -Wformat=2 -Wwrite-strings -Wimplicit-fallthrough -Werror
STRICT := -Wconversion -Wsign-conversion
HARDEN := -fstack-protector-strong -fstack-clash-protection -fno-strict-aliasing \
          -fno-strict-overflow
ifeq ($(shell uname -m),x86_64)
HARDEN += -fcf-protection
endif
OPT ?= -O2 -g
ifeq ($(SANITIZE),)
HARDEN += -D_FORTIFY_SOURCE=2
SANFLAGS :=
else
# (What gcc thinks may be cut off depends on what the sanitizers keep it from seeing.)
SANFLAGS := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer \
            -Wno-format-truncation
endif
LANGUAGE := -std=gnu17 -D_GNU_SOURCE -Iproto -Iproto/shared -Iclient/include
CFLAGS_ALL = $(LANGUAGE) $(WARN) $(HARDEN) $(OPT) $(SANFLAGS) -MMD -MP $(CFLAGS)
LDFLAGS_ALL = -Wl,-z,relro,-z,now,-z,noexecstack $(SANFLAGS) $(LDFLAGS)

pc = $(shell $(PKGCONFIG) --$(1) $(2) 2>/dev/null)
DAEMON_PC := libevent_core libcrypto libsystemd json-c
DAEMON_CFLAGS = -Idaemon -I$(BUILD)/gen -DHASH_NONFATAL_OOM=1 $(call pc,cflags,$(DAEMON_PC))
DAEMON_LIBS   := $(call pc,libs,$(DAEMON_PC)) -lpthread
CTL_PC := json-c libcurl
CTL_CFLAGS     = -Iclient/cococtl $(call pc,cflags,$(CTL_PC))
CTL_LIBS      := $(call pc,libs,$(CTL_PC))
CHECK_CFLAGS  := $(call pc,cflags,check)
CHECK_LIBS    := $(call pc,libs,check)
SIM_LIBS      := $(call pc,libs,libssl libcrypto) -lpthread

VERSION := $(shell sed -n 's/^\#define COCO_VERSION_STRING "\(.*\)"/\1/p' proto/coco_limits.h)

comma := ,

# One line a step.
ifeq ($(V),0)
say = @printf '  %-7s %s\n' $(1) $(2);
endif
# $(call compile,FLAGS); $(call link,LIBRARIES) of the prerequisites that are objects and archives.
compile = @mkdir -p $(@D)$(newline)	$(call say,CC,$@) $(CC) $(CFLAGS_ALL) $(1) -c $< -o $@
link = @mkdir -p $(@D)$(newline)	$(call say,LD,$@) $(CC) -pie $(LDFLAGS_ALL) -o $@ \
         $(filter %.o,$^) $(filter %.a %.so.0,$^) $(1)
define newline


endef
