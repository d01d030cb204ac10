# Packages, and what they contain.

# Built in a copy of the tree, since debhelper writes into debian/ and to the folder above.
DEB_DIR := $(BUILD)/deb
# systemd hands the service its sockets, watches it and closes it in: no script could. Newer
# lintians no longer ask for one, and take an override of what they don't know for an error.
NO_INIT_SCRIPT := package-supports-alternative-init-but-no-init.d-script
deb:
	@command -v dpkg-buildpackage >/dev/null || \
	 { echo "deb: what this needs is not here; .ci/packages --deb installs it"; exit 1; }
	@rm -rf $(DEB_DIR) && mkdir -p $(DEB_DIR)/cocod
	@tar -c --exclude=./.git --exclude=./$(BUILD) . | tar -x -C $(DEB_DIR)/cocod
	@cd $(DEB_DIR)/cocod && MAKEFLAGS= MAKELEVEL= dpkg-buildpackage -us -uc -b -j2 \
	 >../build.log 2>&1 || { tail -n 40 ../build.log; exit 1; }
	@rm -rf $(DEB_DIR)/cocod && ls $(DEB_DIR)/*.deb | sed 's/^/  DEB     /'
	@if command -v lintian >/dev/null; then \
	 if lintian-explain-tags $(NO_INIT_SCRIPT) 2>&1 | grep -q '^I:'; then \
	  known="--suppress-tags $(NO_INIT_SCRIPT)"; fi; \
	 lintian --fail-on warning --display-info --allow-root $$known $(DEB_DIR)/*.changes && \
	 echo "  lint    lintian"; \
	 else echo "  lint    there is no lintian here: the packages were not judged"; fi

SBOM := $(BUILD)/cocod-$(VERSION).spdx
sbom: deb
	@tests/packages/sbom $(DEB_DIR) >$(SBOM) && echo "  SPDX    $(SBOM)"

check-sbom: sbom
	@tests/debian/chroot make sid $(BUILD)/chroot/sid python3-spdx-tools
	@tests/debian/chroot run $(abspath $(BUILD))/chroot/sid -b $(abspath $(BUILD)) /out \
	 pyspdxtools -i /out/$(notdir $(SBOM)) && \
	 echo "1 passed, 0 failed" || { echo "0 passed, 1 failed"; exit 1; }

reproducible: deb
	@tests/packages/reproducible $(DEB_DIR)
