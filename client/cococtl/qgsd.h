/* SPDX-License-Identifier: MIT */
/*
 * What qgsd's log says. QGS tells its clients one error for everything; the cause is in its log
 * alone, as a number.
 */
#pragma once

#include "ctl.h"

struct qgsd_code {
    uint32_t code;
    const char *meaning;
    const char *fix;
};

/* NULL: not known. */
const struct qgsd_code *qgsd_code_find(uint32_t code);

typedef void qgsd_told(void *data, const struct qgsd_code *code, unsigned n);
/* Tells each known code that is in the log (--journal, or the last day of the journal), with how
 * often; *ret_n: how many there were. Negative errno, and why: the log cannot be read. */
int qgsd_codes(const struct ctl *ctl, qgsd_told *told, void *data, unsigned *ret_n, char why[256]);
