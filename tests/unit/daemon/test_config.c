/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include "base/sys.h"
#include "config/config.h"
#include "config/value.h"
#include "scarce.h"
#include "support.h"

/* The example file lies in the source tree; tests run from its root. */
#define EXAMPLE "cocod.conf.example"

static struct config *config;
static struct config_errors errors;

static void setup(void)
{
    config = NULL;
    errors = (struct config_errors){.n = 0};
}

static void teardown(void)
{
    config_free(config);
    config_errors_clear(&errors);
}

static int parse(const char *text)
{
    config_free(config);
    config = NULL;
    config_errors_clear(&errors);
    return config_parse("test.conf", text, strlen(text), &config, &errors);
}

static void assert_parses(const char *text)
{
    int r = parse(text);

    ck_assert_msg(r == 0, "%s: %d, %s", text, r, errors.n > 0 ? errors.items[0] : "");
    ck_assert_uint_eq(errors.n, 0);
}

/* Exactly one mistake, with that in its text. */
static void assert_mistake(const char *text, const char *said)
{
    ck_assert_msg(parse(text) == -EINVAL, "accepted: %s", text);
    ck_assert_ptr_null(config);
    for (size_t i = 1; i < errors.n; i++)
        ck_abort_msg("one mistake too many: %s", errors.items[i]);
    ck_assert_uint_eq(errors.n, 1);
    ck_assert_msg(strstr(errors.items[0], said) != NULL, "expected \"%s\" in: %s", said,
                  errors.items[0]);
}

struct mistake {
    const char *text, *said;
};

/* Each of them. */
#define assert_mistakes(rows)                                         \
    for (size_t row = 0; row < sizeof(rows) / sizeof(*(rows)); row++) \
    assert_mistake((rows)[row].text, (rows)[row].said)

static int print_config(FILE *f)
{
    return config_print(config, f);
}

/* Lines of "[section]" and "key = value": what each key has, as it would be written; of a list, all
 * items. */
static void assert_values(const char *want)
{
    char copy[2048], section[64] = "", text[256];
    const char *before = "";
    size_t item = 0;

    ck_assert_uint_lt(strlen(want), sizeof(copy));
    for (char *next = strcpy(copy, want), *line; (line = strsep(&next, "\n")) && *line;) {
        char *value = strstr(line, " = ");
        if (!value) {
            ck_assert_int_eq(sscanf(line, "[%63[^]]]", section), 1);
            continue;
        }
        *value = '\0';
        item = strcmp(before, line) == 0 ? item + 1 : 0;
        before = line;
        const struct config_key *key = config_find_key(section, line);
        ck_assert_msg(key != NULL, "[%s] %s", section, line);
        (void)config_value_text(config, key, item, text, sizeof(text));
        ck_assert_msg(strcmp(text, value + 3) == 0, "[%s] %s = %s", section, line, text);
    }
}

FIXTURE(.setup = setup, .teardown = teardown);

TEST(defaults_are_the_documented_ones)
{
    ck_assert_int_eq(config_load(NULL, &config, &errors), 0);
    assert_values("[cocod]\nlog_level = info\n"
                  "[rpc]\nlisten = /run/cocod/cocod.sock\nmode = 0660\ngroup = \n"
                  "[admin]\nlisten = /run/cocod/io.cocod.Admin\nmode = 0600\n"
                  "[certs]\ntable_file = /run/cocod/certs.table\ntable_mode = 0640\n"
                  "missing_chain = empty\ndrain_timeout = 5s\n"
                  "[quotes]\nqgs = none\nslots = 4\nqueue = 1024\ntimeout = 25s\n"
                  "max_timeout = 1min\nqgs_timer = 30s\n"
                  "[limits]\npeers = 20000\npeers_per_account = 256\nrequests_per_account = 16\n"
                  "hello_timeout = 10s\nframe_timeout = 10s\nsend_timeout = 30s\nunsent = 1MiB\n"
                  "account_linger = 1min\nevents_per_peer_per_minute = 10\n");
    ck_assert_int_eq(config->cocod_log_level, LOG_LEVEL_INFO);
    ck_assert_uint_eq(config->rpc_mode, 0660);
    ck_assert_uint_eq(config->certs_chain.n + config->certs_root.n + config->quotes_qgs.n, 0);
    ck_assert_uint_eq(config->quotes_timeout_ms, 25000);
    ck_assert_uint_eq(config->limits_unsent, 1048576);
    ck_assert_uint_eq(config->n_files, 0);
}

TEST(every_value_can_be_set)
{
    assert_parses("# comment\n; comment\n[cocod]\nlog_level = debug\n"
                  "[rpc]\nlisten=/a\nmode = 666\ngroup = kvm\n"
                  "[admin]\n  listen : /b\nmode=0600\ngroup = 107 ; a number\n"
                  "[certs]\nchain = /c/1.pem\r\nchain = /c/2 3.der\nroot = /r\ntable_file=/t\n"
                  "table_mode = 0644\ntable_group=libvirt-qemu\nmissing_chain = refuse\n"
                  "drain_timeout = 250ms\n"
                  "[quotes]\nqgs = vsock:1:4050\nslots = 64\nqueue=1\ntimeout=1min\n"
                  "max_timeout=90s\nqgs_timer = 1min\n"
                  "[limits]\npeers = 1\npeers_per_account=2\nrequests_per_account=3\n"
                  "hello_timeout=1s\nframe_timeout=2s\nsend_timeout=3s\nunsent=65536\n"
                  "account_linger=1h\nevents_per_peer_per_minute=1\n[rpc]\n"
                  "[admin]\nread = @adm, 12 prometheus\nimport=\n");
    assert_values("[cocod]\nlog_level = debug\n"
                  "[rpc]\nlisten = /a\nmode = 0666\ngroup = kvm\n"
                  "[admin]\nlisten = /b\nmode = 0600\ngroup = 107\n"
                  "read = @adm, 12 prometheus\nimport = \noperate = \n"
                  "[certs]\nchain = /c/1.pem\nchain = /c/2 3.der\nroot = /r\ntable_file = /t\n"
                  "table_mode = 0644\ntable_group = libvirt-qemu\nmissing_chain = refuse\n"
                  "drain_timeout = 250ms\n"
                  "[quotes]\nqgs = vsock:1:4050\nslots = 64\nqueue = 1\ntimeout = 1min\n"
                  "max_timeout = 90s\nqgs_timer = 1min\n"
                  "[limits]\npeers = 1\npeers_per_account = 2\nrequests_per_account = 3\n"
                  "hello_timeout = 1s\nframe_timeout = 2s\nsend_timeout = 3s\nunsent = 64KiB\n"
                  "account_linger = 1h\nevents_per_peer_per_minute = 1\n");
    ck_assert_int_eq(config->cocod_log_level, LOG_LEVEL_DEBUG);
    ck_assert_uint_eq(config->certs_chain.n, 2);
    ck_assert_int_eq(config->certs_missing_chain, MISSING_CHAIN_REFUSE);
    ck_assert_int_eq(config->quotes_qgs.items[0].kind, ENDPOINT_VSOCK);
    ck_assert_uint_eq(config->quotes_qgs.items[0].cid, 1);
    ck_assert_uint_eq(config->quotes_qgs.items[0].port, 4050);
    ck_assert_uint_eq(config->limits_account_linger_ms, 3600000);
    ck_assert_str_eq(config->files[0], "test.conf");
    const struct config_origin *origin =
        config_find_origin(config, config_find_key("certs", "chain"), 0);
    ck_assert_ptr_nonnull(origin);
    ck_assert_str_eq(origin->file, "test.conf");
    ck_assert_uint_eq(origin->line, 14);
    ck_assert_ptr_null(config_find_key("certs", "chains"));
}

TEST(quoting_services_and_what_is_kept_can_be_set)
{
    assert_parses("[quotes]\nqgs = unix:/var/run/tdx-qgs/qgs.socket\n");
    ck_assert_int_eq(config->quotes_qgs.items[0].kind, ENDPOINT_UNIX);
    ck_assert_str_eq(config->quotes_qgs.items[0].path, "/var/run/tdx-qgs/qgs.socket");
    ck_assert_ptr_null(config_find_origin(config, config_find_key("quotes", "slots"), 0));

    assert_parses("[quotes]\nqgs = unix:/a b/q slots=2\nqgs = vsock:1:4050\nqgs = unix:/b\n"
                  "vmm_users = root, qemu 107\nreuse = no\nkeep = 0s\nkeep_quotes = 0\n"
                  "keep_memory = 1MiB\nqueue_memory = 64KiB\nverify_quote_signature = no\n"
                  "[limits]\nrequests_per_user = 9\n");
    assert_values("[quotes]\nqgs = unix:/a b/q slots=2\nqgs = vsock:1:4050\nqgs = unix:/b\n"
                  "vmm_users = root, qemu 107\nreuse = no\nkeep = 0ms\nkeep_quotes = 0\n"
                  "keep_memory = 1MiB\nqueue_memory = 64KiB\nverify_quote_signature = no\n"
                  "[limits]\nrequests_per_user = 9\n");
    ck_assert_uint_eq(config->quotes_qgs.n, 3);
    ck_assert_uint_eq(config->quotes_qgs.items[0].slots, 2);
    ck_assert_uint_eq(config->quotes_qgs.items[1].slots, 0);
    ck_assert(!config->quotes_reuse);
    ck_assert_uint_eq(config->quotes_queue_memory, 64u << 10);
}

TEST(the_front_doors_keys)
{
    ck_assert_int_eq(config_load(NULL, &config, &errors), 0);
    ck_assert_uint_eq(config->qgs_door_listen.n, 0);
    ck_assert_uint_eq(config->qgs_door_vsock_allow.n, 0);
    assert_values("[qgs_door]\nmode = 0660\nrequest_timeout = 5s\ntimeout = 28s\n"
                  "allow_collateral = no\nallow_platform_info = no\n"
                  "[quotes]\nqgs_restart_file = \n");

    assert_parses("[quotes]\nqgs_restart_file = /run/cocod/restart-qgs\n"
                  "[qgs_door]\nlisten = unix:/d/gone\nlisten =\nlisten = unix:/d/a\nlisten = "
                  "vsock::4050\nmode = 666\n"
                  "group = kvm\nvsock_allow = 3\nvsock_allow = 4294967294\n"
                  "request_timeout = 1s\ntimeout = 10s\nallow_collateral = yes\n"
                  "allow_platform_info = yes\n");
    ck_assert_uint_eq(config->qgs_door_listen.n, 2);
    ck_assert_uint_eq(config->qgs_door_listen.items[1].cid, CONFIG_ANY_CID);
    ck_assert_uint_eq(config->qgs_door_vsock_allow.n, 2);
    ck_assert_uint_eq(config->qgs_door_vsock_allow.items[1], 4294967294u);
    assert_values("[quotes]\nqgs_restart_file = /run/cocod/restart-qgs\n"
                  "[qgs_door]\nlisten = unix:/d/a\nlisten = vsock::4050\nmode = 0666\n"
                  "group = kvm\nvsock_allow = 3\nvsock_allow = 4294967294\n"
                  "request_timeout = 1s\ntimeout = 10s\nallow_collateral = yes\n"
                  "allow_platform_info = yes\n");

    /* What is printed says the same again. */
    char *text = test_printed(print_config);
    ck_assert_ptr_nonnull(strstr(text, "listen = vsock::4050  ;"));
    assert_parses(text);
    ck_assert_uint_eq(config->qgs_door_listen.n, 2);
    ck_assert_uint_eq(config->qgs_door_vsock_allow.n, 2);
    free(text);
}

TEST(form_of_the_file_is_forgiving_where_it_is_harmless)
{
    assert_parses("");
    assert_parses("\xEF\xBB\xBF[cocod]\r\nlog_level = error");
    ck_assert_int_eq(config->cocod_log_level, LOG_LEVEL_ERROR);
    /* An indented line is no continuation of the one above. */
    assert_parses("[quotes]\nslots = 2\n    queue = 7\n");
    ck_assert_uint_eq(config->quotes_slots, 2);
    ck_assert_uint_eq(config->quotes_queue, 7);
    assert_parses("[certs]\nchain =\nroot = ; none\n");
    ck_assert_uint_eq(config->certs_chain.n, 0);
    ck_assert_uint_eq(config->certs_root.n, 0);
    assert_parses("[limits] # comment\n\t\n[rpc] ; comment\n");
}

static const struct mistake wrong_values[] = {
    {"[cocod]\nlog_level = loud\n",
     "test.conf:2: [cocod] log_level = loud: must be one of critical, error, warning, notice, "
     "info, debug"},
    {"[quotes]\n\nslots = 0\n",
     "test.conf:3: [quotes] slots = 0: must be a whole number from 1 to 64"},
    {"[quotes]\nslots = 65\n", "from 1 to 64"},
    {"[quotes]\nslots = -1\n", "from 1 to 64"},
    {"[quotes]\nslots = +1\n", "from 1 to 64"},
    {"[quotes]\nslots = 4x\n", "from 1 to 64"},
    {"[quotes]\nslots = 0x4\n", "from 1 to 64"},
    {"[quotes]\nslots =\n", "from 1 to 64"},
    {"[quotes]\nslots = 18446744073709551617\n", "from 1 to 64"},
    {"[quotes]\nslots = 4294967300\n", "from 1 to 64"},
    {"[quotes]\ntimeout = 25\n", "has no unit: write 25s for seconds or 25ms"},
    {"[quotes]\ntimeout = 25 s\n", "must be a time from 1s to 5min"},
    {"[quotes]\ntimeout = 25S\n", "must be a time from 1s to 5min"},
    {"[quotes]\ntimeout = 999ms\n", "must be a time from 1s to 5min"},
    {"[quotes]\ntimeout = 6min\n", "must be a time from 1s to 5min"},
    {"[quotes]\ntimeout = 5124095576030432h\n", "must be a time from 1s to 5min"},
    {"[limits]\nunsent = 1MB\n", "must be a size from 64KiB to 64MiB"},
    {"[limits]\nunsent = 17179869184GiB\n", "must be a size from 64KiB to 64MiB"},
    {"[limits]\nunsent = 65535\n", "must be a size from 64KiB to 64MiB"},
    {"[rpc]\nlisten =\n", "must be an absolute path of at most 107 bytes"},
    {"[rpc]\nlisten = run/x\n", "is no absolute path"},
    {"[rpc]\nlisten = /run/\n", "is the path of a folder"},
    {"[rpc]\nlisten = /run/x # here\n", "a comment behind a value starts with a space and ';'"},
    {"[rpc]\nlisten = /a /b\n", "looks like several paths"},
    {"[certs]\nchain = /a,/b\n", "looks like several paths"},
    {"[certs]\nchain = a.pem\n", "[certs] chain = a.pem: is no absolute path"},
    {"[rpc]\nmode = 0677\n", "an octal mode with the bits 0600 set and none outside of 0666"},
    {"[rpc]\nmode = 0460\n", "an octal mode"},
    {"[rpc]\nmode = 660x\n", "an octal mode"},
    {"[rpc]\nmode = 06 60\n", "an octal mode"},
    {"[rpc]\nmode = 0680\n", "an octal mode"},
    {"[rpc]\nmode = 00660\n", "an octal mode"},
    {"[rpc]\nmode = 60\n", "an octal mode"},
    {"[certs]\ntable_mode = 0660\n", "none outside of 0644"},
    {"[rpc]\ngroup = two words\n", "a group's name or number"},
    {"[rpc]\ngroup = 4294967295\n", "a group's name or number"},
    {"[rpc]\ngroup = -kvm\n", "a group's name or number"},
    {"[certs]\nmissing_chain = maybe\n", "must be one of empty, refuse"},
    {"[quotes]\nqgs = /var/run/qgs\n", "is not none, unix:/PATH or vsock:CID:PORT"},
    {"[quotes]\nqgs =\n", "is not none, unix:/PATH or vsock:CID:PORT"},
    {"[quotes]\nqgs = unix:qgs\n", "is no absolute path"},
    {"[quotes]\nqgs = vsock:1\n", "is not vsock:CID:PORT"},
    {"[quotes]\nqgs = vsock:0:1\n", "is not vsock:CID:PORT"},
    {"[quotes]\nqgs = vsock:4294967295:1\n", "is not vsock:CID:PORT"},
    {"[quotes]\nqgs = vsock:1:4294967295\n", "is not vsock:CID:PORT"},
    {"[quotes]\nqgs = vsock:1:2:3\n", "is not vsock:CID:PORT"},
    {"[quotes]\nqgs = unix:/q slots=0\n", "slots= must be a whole number from 1 to 64"},
    {"[quotes]\nqgs = unix:/q slots=two\n", "slots= must be a whole number from 1 to 64"},
    {"[quotes]\nqgs = unix:/q\nqgs = unix:/q slots=2\n", "is there twice"},
    {"[quotes]\nvmm_users = @kvm\n", "must be users' names or numbers"},
    {"[admin]\nread = @\n", "and of groups with an @ before"},
    {"[admin]\nimport = @@kvm\n", "and of groups with an @ before"},
    {"[admin]\noperate = a@b\n", "and of groups with an @ before"},
    {"[admin]\nimport_user = cocod-fetch\n", "no such key"},
    {"[quotes]\nvmm_users = root;qemu\n", "must be users' names or numbers"},
};

TEST(wrong_values_are_named_with_file_and_line)
{
    assert_mistakes(wrong_values);
}

static const struct mistake door_mistakes[] = {
    {"[qgs_door]\nlisten = none\n", "is not unix:/PATH or vsock::PORT"},
    {"[qgs_door]\nlisten = vsock:3:4050\n", "is not unix:/PATH or vsock::PORT"},
    {"[qgs_door]\nlisten = vsock::0\n", "is not unix:/PATH or vsock::PORT"},
    {"[qgs_door]\nlisten = vsock::4294967295\n", "is not unix:/PATH or"},
    {"[qgs_door]\nlisten = unix:a\n", "is no absolute path"},
    {"[qgs_door]\nvsock_allow = 2\n", "is no guest's CID"},
    {"[qgs_door]\nvsock_allow = 4294967295\n", "is no guest's CID"},
    {"[qgs_door]\nvsock_allow = 3 4\n", "is no guest's CID"},
    {"[qgs_door]\ntimeout = 1s\nrequest_timeout = 2s\n",
     "test.conf:3: [qgs_door] request_timeout (2000 ms) is longer than timeout"},
    {"[qgs_door]\nlisten = unix:/x\n[rpc]\nlisten = /x\n",
     "test.conf:4: [rpc] listen and [qgs_door] listen are the same path, /x"},
    {"[qgs_door]\nlisten = unix:/x\n[quotes]\nqgs = unix:/x\n",
     "test.conf:4: [quotes] qgs and [qgs_door] listen are the same path, /x"},
    {"[qgs_door]\nlisten = unix:/x\nlisten = unix:/x\n",
     "test.conf:3: [qgs_door] listen = unix:/x: is there twice"},
    {"[qgs_door]\nlisten = vsock::5\nlisten = vsock::5\n", "vsock::5: is there twice"},
    {"[quotes]\nqgs_restart_file = x\n", "is no absolute path"},
};

TEST(the_front_doors_mistakes)
{
    assert_mistakes(door_mistakes);
}

TEST(unknown_names_are_named_with_the_nearest_known)
{
    assert_mistake("[quots]\nslots = 1\nfoo = 2\n",
                   "test.conf:1: [quots] is no known section; did you mean [quotes]?");
    assert_mistake("[ quotes ]\n", "did you mean [quotes]?");
    assert_mistake("[zzzzzzzzzzzzzzzzzz]\n", "is no known section");
    ck_assert_ptr_null(strstr(errors.items[0], "did you mean"));
    assert_mistake("[]\n", "is no known section");
    assert_mistake("[quotes]\nslot = 1\n",
                   "test.conf:2: [quotes] slot: there is no such key; did you mean slots?");
    assert_mistake("[quotes]\npeers = 1\n", "it belongs to [limits]");
    assert_mistake("[quotes]\nxyzzy = 1\n", "[quotes] xyzzy: there is no such key");
    ck_assert_ptr_null(strstr(errors.items[0], "did you mean"));
    assert_mistake("[quotes]\n = 1\n", "there is no such key");
    assert_mistake("[quotes]\nSlots = 1\n", "did you mean slots?");
    assert_mistake("slots = 1\n", "test.conf:1: slots stands before the first [section]");
}

TEST(what_would_be_passed_over_is_a_mistake)
{
    char text[600];

    assert_mistake("[quotes]\nslots\n", "test.conf:2: is neither [section] nor key = value");
    assert_mistake("[quotes]\nslots ; = 4\n", "is neither [section] nor key = value");
    assert_mistake("[quotes\nslots = 4\n", "test.conf:1: the section's name is not closed by ']'");
    assert_mistake("[quotes] slots = 4\n", "nothing may stand behind a section's name");
    assert_mistake("[cocod]\n[quotes]x\nslots = x\n", "test.conf:2: nothing may stand behind");
    assert_mistake("[quotes]\nslots = 4\n[quotes]\nslots = 4\n",
                   "test.conf:4: [quotes] slots = 4: was set in line 2 already");
    assert_mistake("[rpc]\nlisten = /a\033[2J\n", "test.conf:2: holds a control character");

    (void)snprintf(text, sizeof(text), "[certs]\nchain = /%0188d\nchain = /b\n", 1);
    assert_parses(text);
    ck_assert_uint_eq(strlen(config->certs_chain.items[0]), 189);
    (void)snprintf(text, sizeof(text), "[certs]\nchain = /%0189d\nchain = /b\n", 1);
    assert_mistake(text, "test.conf:2: is 198 bytes long; at most 197 are allowed");
    (void)snprintf(text, sizeof(text), "# %0400d\n[certs]\n", 1);
    assert_parses(text);
    (void)snprintf(text, sizeof(text), "[%0400d]\nfoo = 1\n", 1);
    assert_mistake(text, "test.conf:1: is 402 bytes long");
}

TEST(nul_bytes_are_mistakes)
{
    static const char text[] = "[rpc]\nlisten = /a\0b\n";

    ck_assert_int_eq(config_parse("f", text, sizeof(text) - 1, &config, &errors), -EINVAL);
    ck_assert_uint_eq(errors.n, 1);
    ck_assert_str_eq(errors.items[0], "f:2: holds a control character");
}

TEST(keys_must_agree_with_each_other)
{
    assert_mistake(
        "[quotes]\nmax_timeout = 20s\n",
        "test.conf:2: [quotes] timeout (25000 ms) is longer than max_timeout (20000 ms)");
    assert_mistake("[quotes]\ntimeout = 2min\n", "test.conf:2: [quotes] timeout (120000 ms)");
    assert_mistake("[rpc]\nlisten = /x\n[admin]\nlisten = /x\n",
                   "test.conf:4: [rpc] listen and [admin] listen are the same path, /x");
    assert_mistake("[certs]\ntable_file = /run/cocod/cocod.sock\n",
                   "test.conf:2: [rpc] listen and [certs] table_file are the same path");
    assert_mistake("[rpc]\nlisten = /x\n[quotes]\nqgs = unix:/x\n",
                   "test.conf:4: [rpc] listen and [quotes] qgs are the same path, /x");
}

TEST(all_mistakes_are_collected)
{
    char text[8192] = "[quotes]\n";

    ck_assert_int_eq(
        parse("[quotes]\nslots = 0\nqueue = x\nfoo = 1\n[bar]\nbaz = 1\n[rpc]\nmode=1\n"), -EINVAL);
    ck_assert_uint_eq(errors.n, 5);
    ck_assert_uint_eq(errors.left_out, 0);
    for (int i = 0; i < 150; i++)
        strcat(text, "nonsense\n");
    ck_assert_int_eq(parse(text), -EINVAL);
    ck_assert_uint_eq(errors.n, 100);
    ck_assert_uint_eq(errors.left_out, 50);
    ck_assert_int_eq(config_parse("f", "x\n", 2, &config, NULL), -EINVAL);
}

TEST(foreign_text_in_mistakes_is_escaped)
{
    static const char text[] = "[cocod]\nlog_level = \xE2\x80\xAE\xFF\n";

    ck_assert_int_eq(config_parse("a\nb", text, sizeof(text) - 1, &config, &errors), -EINVAL);
    ck_assert_uint_eq(errors.n, 1);
    ck_assert_ptr_nonnull(
        strstr(errors.items[0], "a\\x0ab:2: [cocod] log_level = \\xe2\\x80\\xae\\xff: must be"));
}

TEST(example_file_is_what_the_table_says)
{
    size_t size = 0;
    char *expected = test_printed(config_print_example);
    char *found = (char *)test_read_file(EXAMPLE, &size);

    ck_assert_msg(strcmp(expected, found) == 0, "%s differs from config_print_example()", EXAMPLE);
    ck_assert_int_eq(config_load(EXAMPLE, &config, &errors), 0);
    free(expected);
    free(found);
}

/* The example with its comment signs taken off sets every key to its default. */
TEST(example_keys_parse_as_they_stand)
{
    char *text = test_printed(config_print_example);
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);

    for (char *p = text; (p = strchr(p, '#')) != NULL; p++)
        if (p[1] != ' ' && p[1] != '\n')
            *p = ' ';
    assert_parses(text);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(config_find_origin(config, &keys[i], 0) != NULL,
                      "[%s] %s is not in the example", keys[i].section, keys[i].name);
    free(text);
}

TEST(printed_values_read_back_the_same)
{
    assert_parses("[certs]\nchain = /a\nroot = /r\nchain = /b c\n[quotes]\nqgs = vsock:2:1\n"
                  "timeout = 61001ms\nmax_timeout = 120s\n[limits]\nunsent = 100000\n"
                  "hello_timeout = 120s\n[cocod]\nlog_level = warning\n[rpc]\ngroup = kvm\n");
    char *first = test_printed(print_config);
    ck_assert_ptr_nonnull(
        strstr(first, "chain = /a  ; test.conf:2\nchain = /b c  ; test.conf:4\n"));
    ck_assert_ptr_nonnull(strstr(first, "slots = 4  ; default\n"));
    ck_assert_ptr_nonnull(strstr(first, "timeout = 61001ms  ; test.conf:7\n"));
    ck_assert_ptr_nonnull(strstr(first, "max_timeout = 2min  ; test.conf:8\n"));
    ck_assert_ptr_nonnull(strstr(first, "unsent = 100000  ; test.conf:10\n"));
    ck_assert_ptr_nonnull(strstr(first, "group = kvm  ; test.conf:15\n"));

    struct config *before = config;
    config = NULL;
    assert_parses(first);
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(config_same_value(before, config, &keys[i]), "[%s] %s", keys[i].section,
                      keys[i].name);
    config_free(before);
    free(first);
}

TEST(reference_names_every_key)
{
    char *text = test_printed(config_print_reference);
    size_t n = 0;
    const struct config_key *keys = config_keys(&n);

    ck_assert_ptr_nonnull(strstr(text, "## [quotes]\n"));
    ck_assert_ptr_nonnull(strstr(text, "\n*slots* = 4\n\tHow many"));
    ck_assert_ptr_nonnull(strstr(text, "*events\\_per\\_peer\\_per\\_minute* = 10\n"));
    ck_assert_uint_le(n, CONFIG_KEYS_MAX);
    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_gt(strlen(keys[i].doc), 10);
        ck_assert_int_eq(keys[i].doc[strlen(keys[i].doc) - 1], '.');
        ck_assert_uint_gt(strlen(config_section_doc(keys[i].section)), 5);
    }
    free(text);
}

TEST(booleans_are_yes_and_no)
{
    const struct config_key key = {.name = "x",
                                   .type = CONFIG_BOOL,
                                   .offset = offsetof(struct config, quotes_reuse)};
    char text[16];
    struct why why;

    ck_assert_int_eq(config_load(NULL, &config, NULL), 0);
    ck_assert_int_eq(config_value_set(config, &key, "yes", &why), 0);
    ck_assert_int_eq(config_value_text(config, &key, 0, text, sizeof(text)), 3);
    ck_assert_str_eq(text, "yes");
    ck_assert_int_eq(config_value_set(config, &key, "false", &why), 0);
    ck_assert_int_eq(config_value_text(config, &key, 0, text, sizeof(text)), 2);
    ck_assert_str_eq(text, "no");
    ck_assert_int_eq(config_value_set(config, &key, "1", &why), -EINVAL);
    ck_assert_str_eq(why.text, "must be yes or no");
}

TEST(files_that_cannot_be_read_say_so)
{
    char path[4096];
    char *large = calloc(1, CONFIG_FILE_MAX + 2);

    (void)snprintf(path, sizeof(path), "%s/missing.conf", test_tmpdir());
    ck_assert_int_eq(config_load(path, &config, &errors), -ENOENT);
    ck_assert_uint_eq(errors.n, 1);
    ck_assert_ptr_nonnull(
        strstr(errors.items[0], "missing.conf: cannot be read: No such file or directory"));
    ck_assert_int_eq(config_load(test_tmpdir(), &config, &errors), -EISDIR);
    ck_assert_uint_eq(errors.n, 2);
    ck_assert_ptr_nonnull(large);
    memset(large, '\n', CONFIG_FILE_MAX + 1);
    (void)snprintf(path, sizeof(path), "%s/large.conf", test_tmpdir());
    test_write_file(path, large, CONFIG_FILE_MAX + 1);
    ck_assert_int_eq(config_load(path, &config, &errors), -EFBIG);
    ck_assert_ptr_null(config);
    test_write_file(path, large, CONFIG_FILE_MAX);
    ck_assert_int_eq(config_load(path, &config, NULL), 0);
    free(large);
}

TEST(out_of_memory_is_an_error_like_any)
{
    static const char good[] = "[certs]\nchain = /a\nchain = /b\n[rpc]\nlisten = /x\n";
    static const char bad[] = "[certs]\nchain = a\nchains = /b\n";
    unsigned n = 0;
    int r = -ENOMEM;

    for (n = 0; r == -ENOMEM && n < 200; n++) {
        memory_fail(n);
        r = parse(good);
        ck_assert(r == 0 || (r == -ENOMEM && !config));
    }
    ck_assert_int_eq(r, 0);
    r = -ENOMEM;
    for (n = 0; r == -ENOMEM && n < 200; n++) {
        memory_fail(n);
        r = parse(bad);
        ck_assert_ptr_null(config);
    }
    sys = sys_real;
    ck_assert_int_eq(r, -EINVAL);
    ck_assert_uint_eq(errors.n, 2);
}
