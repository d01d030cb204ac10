/* SPDX-License-Identifier: MIT */
/*
 * Loading a VLEK into a firmware that the test plays: what is loaded, and all that must stop before
 * the command.
 */
#include "fake_device.h"
#include "process.h"
#include "sev/vlek.h"
#include <sys/stat.h>

#define HASHSTICK 432u

static uint8_t stick[HASHSTICK + 1];
static char folder[256], file[512];
static struct why why;

static void setup(void)
{
    fake_device_setup();
    memset(stick, 0xa7, sizeof(stick));
    memset(stick + 0x00c, 0, 4);
    memcpy(stick + 0x190, dev.status + 24, 8);
    memset(stick + 0x198, 0, 8);
    dev.expected_hashstick = stick;
    if (!folder[0])
        (void)snprintf(folder, sizeof(folder), "%s", test_tmpdir());
    (void)snprintf(file, sizeof(file), "%s/stick", folder);
}

static int load(size_t size)
{
    test_write_file(file, stick, size);
    why.text[0] = 0;
    int r = vlek_load(file, &why);
    ck_assert_str_ne(why.text, "");
    return r;
}

static bool loaded(void)
{
    for (unsigned i = 0; i < dev.n_commands; i++)
        if (dev.commands[i] == 12)
            return true;
    return false;
}

static void refused(int e, const char *text)
{
    ck_assert_int_eq(load(HASHSTICK), e);
    ck_assert_msg(strstr(why.text, text) != NULL, "\"%s\" is not in \"%s\"", text, why.text);
    ck_assert(!loaded());
    for (unsigned i = 0; i < dev.n_open; i++)
        ck_assert_int_eq(dev.flags[i], O_RDONLY);
}

FIXTURE(.setup = setup, .teardown = fake_device_teardown);

TEST(loads)
{
    ck_assert_int_eq(load(HASHSTICK), 0);
    ck_assert(strstr(why.text, "for TCB 4.0.22.213"));
    ck_assert_uint_eq(dev.n_commands, 3); /* status, load, status */
    ck_assert_uint_eq(dev.commands[1], 12);
    ck_assert_int_eq(dev.flags[0], O_RDONLY);
    ck_assert_int_eq(dev.flags[1], O_RDWR);
}

TEST(loads_over_an_older_one)
{
    dev.status[8] = 4;
    ck_assert_int_eq(load(HASHSTICK), 0);
    ck_assert(loaded());
}

TEST(finds_the_one_for_this_chip_and_tcb)
{
    char name[1024], chip[512];

    dev.family = 0x1a;
    memcpy(dev.status + 24, (uint8_t[]){2, 3, 1, 7, 0, 0, 0, 72}, 8);
    memcpy(stick + 0x190, dev.status + 24, 8);
    (void)snprintf(chip, sizeof(chip), "%s/0102030405060708", folder);
    ck_assert_int_eq(vlek_load(folder, &why), -ENOENT);
    ck_assert_msg(strstr(why.text, "/0102030405060708/3.1.7.72.2.hashstick: No such file"), "%s",
                  why.text);
    ck_assert_int_eq(mkdir(chip, 0700), 0);
    (void)snprintf(name, sizeof(name), "%s/3.1.7.72.2.hashstick", chip);
    test_write_file(name, stick, HASHSTICK);
    ck_assert_int_eq(vlek_load(folder, &why), 0);
    ck_assert(loaded());
}

TEST(another_tcb_is_refused_with_both_named)
{
    stick[0x197] = 212;
    refused(-ESTALE, "for TCB 4.0.22.212, and this host reports 4.0.22.213");
}

TEST(what_is_no_hashstick)
{
    static const size_t reserved[] = {0x00c, 0x00f, 0x198, 0x19f};

    for (size_t i = 0; i < 4; i++) {
        stick[reserved[i]] = 1;
        refused(-EBADMSG, "a reserved byte is not zero");
        stick[reserved[i]] = 0;
    }
    stick[0x192] = 1; /* reserved in the TCB of a Milan */
    refused(-EBADMSG, "has not the layout of this CPU's");
    ck_assert_int_eq(load(0), -EBADMSG);
    ck_assert_int_eq(load(HASHSTICK - 1), -EBADMSG);
    ck_assert(strstr(why.text, "has 432 bytes, this has 431"));
    ck_assert_int_eq(load(HASHSTICK + 1), -EBADMSG);
    ck_assert(!loaded());
}

TEST(no_file)
{
    ck_assert_int_eq(vlek_load("/nonexistent/stick", &why), -ENOENT);
    ck_assert(strstr(why.text, "/nonexistent/stick: No such file"));
    ck_assert(!loaded());
}

TEST(host_that_cannot_keep_one)
{
    dev.status[2] = 0;
    refused(-ENODEV, "SNP is not initialised");
    dev.status[2] = 1;
    dev.model = 0x30;
    refused(-ENODEV, "model 0x30 is not known here");
    dev.amd = false;
    refused(-ENODEV, "not one of AMD's");
    dev.amd = true;
    dev.model = 1;
    dev.status[26] = 1;
    refused(-EBADMSG, "the reported TCB 0xd516000000010004 has not the layout");
    dev.open_errno = ENOENT;
    refused(-ENOENT, "/dev/sev: No such file");
}

TEST(firmwares_refusal_in_words)
{
    dev.fail_after = 1; /* the status succeeds, the load fails */
    dev.command_errno = EIO;
    dev.fw_error = 0x21;
    ck_assert_int_eq(load(HASHSTICK), -EIO);
    ck_assert(strstr(why.text, "SNP_VLEK_LOAD failed: firmware status 0x21, BAD_SVN"));
    dev.fail_after = 1;
    dev.fw_error = 0x0b;
    ck_assert_int_eq(load(HASHSTICK), -EIO);
    ck_assert(strstr(why.text, "BAD_MEASUREMENT"));
    dev.fail_after = 1;
    dev.command_errno = EINVAL;
    ck_assert_int_eq(load(HASHSTICK), -EINVAL);
    ck_assert(strstr(why.text, "SNP_VLEK_LOAD failed: Invalid argument"));
}

TEST(success_is_what_the_firmware_says_afterwards)
{
    dev.load_is_lost = true;
    ck_assert_int_eq(load(HASHSTICK), -EIO);
    ck_assert(strstr(why.text, "no VLEK is loaded"));
    dev.load_is_lost = false;
    dev.load_moves_tcb = true;
    ck_assert_int_eq(load(HASHSTICK), -EIO);
    ck_assert(strstr(why.text, "the reported TCB has changed"));
    fake_device_setup();
    dev.expected_hashstick = stick;
    dev.fail_after = 2;
    dev.command_errno = ENOMEM;
    ck_assert_int_eq(load(HASHSTICK), -EIO); /* something did change */
}

TEST(program)
{
    char *out = NULL;
    const char *none[] = {process_built("cocod-vlek-load"), NULL};

    ck_assert_int_eq(process_run(none, &out), 2);
    ck_assert(strstr(out, "usage:"));
    free(out);
    if (access("/dev/sev", F_OK) == 0)
        return; /* nothing is tried on real firmware */
    const char *absent[] = {process_built("cocod-vlek-load"), "/nonexistent", NULL};
    ck_assert_int_eq(process_run(absent, &out), 1);
    ck_assert_str_eq(out, "vlek-load: /dev/sev: No such file or directory\n");
    free(out);
}
