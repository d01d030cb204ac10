# How the programs and the library are built.

$(BUILD)/obj/proto/%.o: proto/%.c
	$(call compile,$(STRICT) -fPIC -fvisibility=hidden)

$(BUILD)/obj/proto/shared/%.o: proto/shared/%.c
	$(call compile,-fPIE $(call pc,cflags,json-c))

$(BUILD)/obj/client/%.o: client/%.c
	$(call compile,$(STRICT) -fPIC -fvisibility=hidden)

$(BUILD)/obj/client/cococtl/%.o: client/cococtl/%.c
	$(call compile,-DCTL_PRODUCT -fPIE $(CTL_CFLAGS))

# The examples see the library's public headers alone, and kvm_dev.h: where there is no /dev/kvm
# with guests for them, the model answers their ioctl(2).
$(BUILD)/obj/client/examples/%.o: client/examples/%.c
	$(call compile,-fPIE -Itests/sim)

$(BUILD)/obj/daemon/%.o: daemon/%.c
	$(call compile,-fPIE $(DAEMON_CFLAGS))

# A clock before this is wrong (daemon/base/build_time.h).
BUILD_TIME_S := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),0)
$(BUILD)/obj/daemon/base/build_time.o: CFLAGS_ALL += -DCOCO_BUILD_TIME_S=$(BUILD_TIME_S)

# The admin interface's description is served by the daemon: the file itself, as a C string.
$(BUILD)/gen/admin_varlink.h: proto/io.cocod.Admin.varlink
	@mkdir -p $(@D)
	$(call say,GEN,$@) { echo 'static const char admin_varlink[] ='; \
	  sed -e 's/[\\"]/\\&/g' -e 's/.*/    "&\\n"/' $<; echo '    ;'; } > $@
$(call obj,$(DAEMON_SRC)) $(addprefix $(BUILD)/fuzz/obj/,$(DAEMON_SRC:.c=.o)): \
  | $(BUILD)/gen/admin_varlink.h

$(BUILD)/libproto.a: $(call obj,$(PROTO_SRC))
$(BUILD)/libdaemon.a: $(call obj,$(DAEMON_SRC))
$(BUILD)/libsev.a: $(call obj,$(SEV_SRC) proto/shared/why.c)
$(BUILD)/libcoco.a: $(call obj,$(CLIENT_SRC) $(PROTO_SRC))
# cococtl's parts without its main(), for its own tests.
$(BUILD)/libctl.a: $(call obj,$(filter-out client/cococtl/main.c,$(CTL_SRC)) $(SHARED_SRC))
# (q, since files of two folders may have one name, and r keeps one of them.)
$(BUILD)/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR,$@) $(AR) qcs $@ $^

$(BUILD)/libcoco.so.0: LDFLAGS_ALL += -shared -Wl,-soname,libcoco.so.0
$(BUILD)/libcoco.so.0: LDFLAGS_ALL += -Wl,--version-script=client/libcoco.map
$(BUILD)/libcoco.so.0: $(call obj,$(CLIENT_SRC) $(PROTO_SRC)) client/libcoco.map
	$(call say,LD,$@) $(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^)

# It says where things are installed, which is known when they are.
.PHONY: $(BUILD)/libcoco.pc
$(BUILD)/libcoco.pc: client/libcoco.pc.in proto/coco_limits.h
	@mkdir -p $(@D)
	$(call say,GEN,$@) sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
	  -e 's|@VERSION@|$(VERSION)|' $< > $@

$(BUILD)/cocod: $(call obj,daemon/main.c) $(BUILD)/libdaemon.a $(BUILD)/libproto.a
	$(call link,$(DAEMON_LIBS))

sev = $(call obj,$(patsubst %,daemon/sev/%.c,$(1) device)) $(BUILD)/libproto.a
$(BUILD)/cocod-sev: $(call sev,cocod_sev helper)
$(BUILD)/cocod-vlek-load: $(call sev,vlek_load vlek) $(call obj,proto/shared/why.c)
$(BUILD)/cocod-sev $(BUILD)/cocod-vlek-load:
	$(call link)

$(BUILD)/cococtl: $(call obj,client/cococtl/main.c) $(BUILD)/libctl.a $(BUILD)/libcoco.a
	$(call link,$(CTL_LIBS))

$(BUILD)/cococtl.bash: $(BUILD)/cococtl
	$(call say,GEN,$@) $(BUILD)/cococtl completion > $@

-include $(shell find $(BUILD)/obj $(BUILD)/fuzz/obj -name '*.d' 2>/dev/null)
