# Installing.

UNIT_FILES := $(wildcard $(addprefix systemd/*.,service socket path timer target))
DOC_DIR = $(DESTDIR)$(PREFIX)/share/doc/cocod
install: all install-man
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBDIR)/pkgconfig \
	        $(DESTDIR)$(PREFIX)/include/coco $(DESTDIR)$(UNITDIR) \
	        $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d $(DOC_DIR)/examples
	install -m 755 $(BUILD)/cocod $(BUILD)/cococtl $(DESTDIR)$(PREFIX)/bin
	install -d $(DESTDIR)$(PREFIX)/lib/cocod
	install -D -m 644 $(BUILD)/cococtl.bash \
	        $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cococtl
	install -m 755 $(BUILD)/cocod-sev $(DESTDIR)$(PREFIX)/lib/cocod/cocod-sev
	install -m 755 $(BUILD)/cocod-vlek-load $(DESTDIR)$(PREFIX)/lib/cocod/vlek-load
	install -m 644 $(BUILD)/libcoco.a $(BUILD)/libcoco.so.0 $(DESTDIR)$(LIBDIR)
	ln -sf libcoco.so.0 $(DESTDIR)$(LIBDIR)/libcoco.so
	install -m 644 $(BUILD)/libcoco.pc $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 client/include/coco/*.h $(DESTDIR)$(PREFIX)/include/coco
	for unit in $(notdir $(UNIT_FILES)); do \
	 sed -e 's|/usr/bin/coco|$(PREFIX)/bin/coco|g' \
	  -e 's|/usr/lib/cocod/|$(PREFIX)/lib/cocod/|g' systemd/$$unit > $(DESTDIR)$(UNITDIR)/$$unit && \
	 chmod 644 $(DESTDIR)$(UNITDIR)/$$unit || exit 1; done
	install -m 644 systemd/cocod.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/cocod.conf
	install -D -m 644 systemd/cocod.catalog $(DESTDIR)$(PREFIX)/lib/systemd/catalog/cocod.catalog
	install -m 644 systemd/cocod.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/cocod.conf
	install -m 644 systemd/cocod.service.d/vsock.conf cocod.conf.example $(DOC_DIR)/examples
	install -D -m 644 systemd/qgsd.service.d/50-cocod.conf $(DOC_DIR)/qgsd.service.d/50-cocod.conf
	install -m 644 README.md proto/PROTOCOL.md docs/*.md docs/alerts.yml \
	        docs/grafana-dashboard.json $(DOC_DIR)

.PHONY: install-man
install-man: all
	@if command -v scdoc >/dev/null; then $(MAKE) --no-print-directory man-pages || exit 1; \
	 for page in $(MAN_PAGES); do section=man$${page##*.}; \
	 install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/$$section/$${page##*/} || exit 1; done; \
	 else echo "install: there is no scdoc here: the manual pages are left out"; fi
