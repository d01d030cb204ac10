/* SPDX-License-Identifier: MIT */
/* What qgsd's log says. QGS tells its clients one error for everything; the cause is in its log. */
#pragma once

#include "lib/ctl.h"
#include "why.h"

struct qgsd_meaning {
    const char *meaning;
    const char *cure;
};

/* Does Intel number errors so, known or not? */
bool qgsd_is_code(uint32_t code);
/* False: not known. */
bool qgsd_code_find(uint32_t code, struct qgsd_meaning *ret);
/* Of a line that has no code. `meaning` "": it follows from another. False: not known. */
bool qgsd_text_find(const char *line, struct qgsd_meaning *ret);

struct qgsd_summary {
    unsigned told;
    unsigned old;         /* errors that quotes have come after */
    int64_t newest_old_s; /* the last of these; seconds since 1970 */
};

/* `text` has no character that a terminal would obey. */
typedef void qgsd_told(void *data, const char *text, const char *cure);
/* Tells each error that qgsd has logged since its last start, equal ones once; those without a
 * meaning last, quoted. The log is --journal FILE, or the last day of the journal. `quote_s`: when
 * QGS last made a quote, in seconds since 1970; 0: not known. Negative errno, and why: the log
 * cannot be read. */
int qgsd_read(const struct ctl *ctl, int64_t quote_s, qgsd_told *told, void *data,
              struct qgsd_summary *ret, struct why *why);
