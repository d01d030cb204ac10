# What is made from the code and committed (make docs), and the manual pages.

MAN_HEADERS := $(patsubst %,client/include/coco/%.h,base vmm unmerged client session)
MADE := systemd/cocod.catalog docs/libcoco.3.scd docs/metrics.md cocod.conf.example \
        docs/architecture.md
made = $(addprefix $(BUILD)/made/,$(1))
$(call made,systemd/cocod.catalog): $(BUILD)/cocod
	@mkdir -p $(@D) && $(BUILD)/cocod --catalog >$@
$(call made,docs/libcoco.3.scd): docs/libcoco.3.awk $(MAN_HEADERS)
	@mkdir -p $(@D) && awk -f docs/libcoco.3.awk $(MAN_HEADERS) >$@
$(call made,docs/metrics.md): $(BUILD)/cocod
	@mkdir -p $(@D) && $(BUILD)/cocod --metrics >$@
$(call made,cocod.conf.example): $(BUILD)/cocod
	@mkdir -p $(@D) && $(BUILD)/cocod --example >$@
# The page with the graph of includes of today.
.PHONY: $(call made,docs/architecture.md)
$(call made,docs/architecture.md):
	@mkdir -p $(@D) && mk/includes graph >$@.graph
	@sed -e '/^<!-- graph -->$$/,/^<!-- graph ends -->$$/{/^<!-- graph ends -->$$/!d}' \
	 -e '/^<!-- graph ends -->$$/{i <!-- graph -->' -e 'r $@.graph' -e 'N}' docs/architecture.md >$@

docs: $(call made,$(MADE))
	@for file in $(MADE); do cmp -s $(call made,$$file) $$file || \
	 { cp $(call made,$$file) $$file && echo "  DOCS    $$file"; }; done

.PHONY: lint-made
lint-made: $(call made,$(MADE))
	@for file in $(MADE); do cmp $(call made,$$file) $$file || \
	 { echo "$$file is not what the code makes today: make docs"; exit 1; }; done
	@echo "  lint    made from the code: $(words $(MADE)) files"

# --- manual pages: the manual of the keys is the daemon's own, that of the verbs cococtl's
MAN_PAGES := $(patsubst docs/%.scd,$(BUILD)/man/%,$(wildcard docs/*.scd))
.PHONY: man-pages
man-pages: $(MAN_PAGES)

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
# (Its first line says that a page has tables, which scdoc leaves out, and man-db guesses: man(1),
# "DEFAULTS".)
$(MAN_PAGES): $(BUILD)/man/%: $(BUILD)/man/%.scd
	$(call say,MAN,$@) scdoc < $< > $@.page
	@{ if grep -q '^\.TS' $@.page; then echo "'\\\" t"; fi; cat $@.page; } > $@ && rm $@.page
