# What sources, pages and lists are judged by. As Debian 12's clang-format, clang-tidy and cppcheck
# judge: those of other releases lay out, and find, other things.

C_FILES := $(wildcard $(foreach d,proto daemon client tests,$d/*.[ch] $d/*/*.[ch] $d/*/*/*.[ch]))
HEADERS := $(filter %.h,$(C_FILES))
PUBLIC_HEADERS := $(wildcard client/include/coco/*.h proto/*.h)
TIDIED := $(filter-out tests/abi/% tests/proof/%,$(filter %.c,$(C_FILES)))
TIDY_FLAGS = $(LANGUAGE) $(TEST_CFLAGS) -Iclient/cococtl -I$(BUILD)/obj/tests/docs

LINTS := $(addprefix lint-,format sizes includes spelling headers made man packaging units \
           cppcheck shell tidy)
.PHONY: $(LINTS)

lint-format:
	@clang-format --dry-run -Werror $(C_FILES) && echo "  lint    format: $(words $(C_FILES)) files"

lint-sizes:
	@mk/sizes

lint-includes:
	@mk/includes check

lint-spelling:
	@mk/spelling

# Each header stands alone; the public ones are C99 and C++17 too, under the strictest warnings.
alone = @for h in $(1); do printf '\#include "%s"\nextern int lint_unit;\n' $$h | \
          $(2) -I. -Wall -Wextra -Werror -fsyntax-only - || exit 1; done
PUBLIC = -Iproto -Iclient/include -Wconversion
lint-headers: $(BUILD)/gen/admin_varlink.h
	$(call alone,$(HEADERS),$(CC) -x c $(TIDY_FLAGS))
	$(call alone,$(PUBLIC_HEADERS),$(CC) -x c -std=c99 -Wpedantic $(PUBLIC))
	$(call alone,$(PUBLIC_HEADERS),$(CXX) -x c++ -std=c++17 $(PUBLIC))
	@echo "  lint    headers stand alone: $(words $(HEADERS))"

lint-cppcheck:
	@cppcheck --quiet --error-exitcode=1 --enable=warning,portability,performance --inline-suppr \
	 --std=c11 --suppress=missingIncludeSystem --suppress=uninitvar -Iproto -Iproto/shared -Idaemon \
	 -Iclient/include -Iclient/cococtl -D_GNU_SOURCE -j 2 proto daemon client && \
	 echo "  lint    cppcheck"

lint-shell:
	@if command -v shellcheck >/dev/null; then shellcheck -e SC2086,SC2016,SC1091,SC2013 \
	 $$(grep -lrIE '^#!/.*\<(ba)?sh' .ci mk tests docs) && echo "  lint    shell"; fi

# Installed into a folder, so that what the units start is there.
UNITS = $(abspath $(BUILD))/units
lint-units: all
	@if command -v systemd-analyze >/dev/null; then rm -rf $(UNITS) && \
	 $(MAKE) --no-print-directory install PREFIX=$(UNITS) >/dev/null && \
	 cd $(UNITS)/lib/systemd/system && \
	 SYSTEMD_UNIT_PATH=$$PWD: systemd-analyze verify --man=no *.* && echo "  lint    units"; fi

lint-tidy: $(BUILD)/gen/admin_varlink.h $(BUILD)/obj/tests/docs/readme.inc
	@printf '%s\n' $(TIDIED) | xargs -P 2 -n 4 sh -c \
	 'clang-tidy --quiet "$$@" -- $(TIDY_FLAGS) 2>/dev/null' tidy && \
	 echo "  lint    clang-tidy: $(words $(TIDIED)) files"

lint-man: man-pages
	@for page in $(MAN_PAGES); do \
	 out=$$(LC_ALL=C.UTF-8 MANROFFSEQ= MANWIDTH=80 \
	  man --warnings=all -E UTF-8 -l -Tutf8 -Z $$page 2>&1 >/dev/null); \
	 [ -z "$$out" ] || { echo "$$page: $$out"; exit 1; }; done
	@echo "  lint    manual pages: $(words $(MAN_PAGES))"

# The packages' list of symbols is the linker's, and their version the library's.
SYMBOLS := debian/libcoco0.symbols
lint-packaging:
	@mkdir -p $(BUILD)/gen
	@sed -n 's/^    \(coco_[a-z0-9_]*\);$$/\1/p' client/libcoco.map | sort > $(BUILD)/gen/map.symbols
	@sed -n 's/^ \(coco_[a-z0-9_]*\)@.*/\1/p' $(SYMBOLS) | sort | \
	 diff $(BUILD)/gen/map.symbols - || { echo "$(SYMBOLS) is not client/libcoco.map's"; exit 1; }
	@v=$$(sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog); \
	 [ "$$v" = "$(VERSION)" ] || { echo "debian/changelog says $$v"; exit 1; }

format:
	@clang-format -i $(C_FILES)
