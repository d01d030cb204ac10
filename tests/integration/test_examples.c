/* SPDX-License-Identifier: MIT */
/*
 * The example VMMs against the real daemon, on a model of KVM whose guest gets certificates or a
 * quote through libcoco: blocking, in the event loop, and with the guide's list of system calls
 * enforced.
 */
#include "one_host.h"

/* Third: mini-vmm under its seccomp filter, where sanitizers do not make calls of their own. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LAST 3
#else
#define LAST 2
#endif

static const char *const programs[] = {"examples/mini-vmm", "examples/mini-vmm-loop"};

/* With "--model", whatever this machine's own /dev/kvm can do; the third under its filter. */
static char *run(int which, bool tdx)
{
    char path[4096], *output;
    const char *argv[6] = {path};
    int n = 1;

    if (which == 2)
        argv[n++] = "--seccomp";
    argv[n++] = "--model";
    if (tdx)
        argv[n++] = "--tdx";
    argv[n] = host.rpc;

    (void)snprintf(path, sizeof(path), "%s", process_built(programs[which % 2]));
    ck_assert_msg(process_run(argv, &output) == 0, "%s", output);
    return output;
}

FIXTURE(.setup = open_host, .teardown = close_host, .timeout_s = 90);

TEST_LOOP(an_snp_guest_gets_its_chain, 0, LAST)
{
    host_serve(&host, "%s", host_make_chain(&host, "chain"));
    char *output = run(_i, false);
    ck_assert_msg(strstr(output, "guest: a report, exitinfo2 0,") && strstr(output, "key kept"),
                  "%s", output);
    ck_assert_msg(!strstr(output, ", 0 bytes of certificates"), "%s", output);
    if (_i != 1)
        ck_assert_msg(strstr(output, "snp: 1 tables, 0 empty"), "%s", output);
    free(output);
    ck_assert_int_eq(process_stop(&host.cocod), 0);
}

TEST_LOOP(a_td_gets_its_quote, 0, LAST)
{
    host_start_qgs(&host, NULL);
    host_serve(&host, "[quotes]\nqgs = unix:%s\n", host.qgs);
    char *output = run(_i, true);
    ck_assert_msg(strstr(output, "guest: R10 0, status 0,") && !strstr(output, "quote of 0 bytes"),
                  "%s", output);
    free(output);
    ck_assert_int_eq(process_stop(&host.cocod), 0);
}
