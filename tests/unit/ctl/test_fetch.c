/* SPDX-License-Identifier: MIT */
/*
 * cococtl certs fetch against a local key distribution service and a scripted daemon, with a test
 * PKI: what is asked for, what goes where, and what a second run does.
 */
#include "ctl_rig.h"
#include "kds_sim.h"
#include "lib/ctl.h"
#include "snp_pki.h"
#include <ctype.h>
#include <ftw.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define CHIPS 3

static struct kds_sim *sim;
static char ca[300];
static uint8_t chips[CHIPS][64];
static char chip_hex[CHIPS][129];
static struct snp_pki_leaf leaves[CHIPS];
static uint8_t *crl;
static size_t crl_size;
static char chain[8192];
static atomic_bool away, ready, wrong_chip, no_platform;
static _Atomic(const char *) crl_answer; /* NULL: the list; "404"; or a body */
static atomic_int away_from;             /* requests from this number on fail; -1: none */
static char asked[64][400];
static unsigned n_asked, n_imported;
static char imported[4096];

static void make_material(void)
{
    struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir()};
    struct snp_pki_crl_options crl_options = {.number = 1};
    struct snp_pki *pki = snp_pki_new(&options);
    const struct snp_pki_tcb tcb = {.bl = 3, .snp = 8, .ucode = 115};

    ck_assert_ptr_nonnull(pki);
    for (size_t i = 0; i < CHIPS; i++) {
        for (size_t k = 0; k < 64; k++) {
            chips[i][k] = (uint8_t)(i + 5 * k);
            (void)snprintf(chip_hex[i] + 2 * k, 3, "%02x", chips[i][k]);
        }
        ck_assert_int_eq(snp_pki_make_vcek(pki, tcb, chips[i], &leaves[i]), 0);
    }
    ck_assert_int_eq(snp_pki_make_crl(pki, &crl_options, &crl, &crl_size), 0);
    ck_assert_int_eq(snp_pki_write_dir(pki, &leaves[0], rig_path("pki")), 0);
    size_t ask_size, ark_size;
    char *ask = (char *)test_read_file(rig_path("pki/ask.pem"), &ask_size);
    char *ark = (char *)test_read_file(rig_path("pki/ark.pem"), &ark_size);
    (void)snprintf(chain, sizeof(chain), "%s%s", ask, ark);
    free(ask);
    free(ark);
    snp_pki_free(pki);
}

static void serve(const char *path, unsigned n, struct kds_answer *a, void *userdata)
{
    (void)userdata;
    if (n < 64)
        (void)snprintf(asked[n], sizeof(asked[n]), "%s", path);
    n_asked = n + 1;
    if (away || (away_from >= 0 && (int)n >= away_from)) {
        a->status = 429;
        a->headers = "Retry-After: 86400\r\n";
        return;
    }
    if (strstr(path, "/cert_chain")) {
        a->body = chain;
        a->size = strlen(chain);
    } else if (strstr(path, "/crl") && crl_answer) {
        if (strcmp(crl_answer, "404") == 0)
            a->status = 404;
        a->body = crl_answer;
        a->size = strlen(crl_answer);
    } else if (strstr(path, "/crl")) {
        a->body = crl;
        a->size = crl_size;
    } else {
        a->status = 404;
        for (size_t i = 0; i < CHIPS; i++) {
            if (!strstr(path, chip_hex[i]))
                continue;
            size_t which = wrong_chip ? (i + 1) % CHIPS : i;
            *a = (struct kds_answer){.body = leaves[which].der, .size = leaves[which].der_size};
        }
    }
}

static char *answer(const char *method, struct json_object *parameters)
{
    struct json_object *files, *value;
    char *text = NULL;
    size_t size;

    if (strcmp(method, "GetStatus") == 0)
        return no_platform ? rig_say("{\"parameters\":{\"certificates\":{}}}")
                           : rig_say("{\"parameters\":{\"certificates\":{\"platform\":{\"product\":"
                                     "\"Milan\",\"chipId\":\"%s\",\"tcb\":\"3.0.8.115\"}}}}",
                                     chip_hex[0]);
    if (strcmp(method, "Preflight") == 0)
        return rig_say("{\"parameters\":{\"ready\":%s}}", ready ? "true" : "false");
    ck_assert_str_eq(method, "Import");
    json_object_object_get_ex(parameters, "files", &files);
    FILE *to = open_memstream(&text, &size);
    (void)fputs("{\"parameters\":{\"results\":[", to);
    imported[0] = 0;
    for (size_t i = 0; i < json_object_array_length(files); i++) {
        json_object_object_get_ex(json_object_array_get_idx(files, i), "name", &value);
        (void)fprintf(to, "%s{\"name\":%s,\"kind\":\"ASK\",\"action\":\"added\"}", i ? "," : "",
                      json_object_to_json_string(value));
        size_t n = strlen(imported);
        (void)snprintf(imported + n, sizeof(imported) - n, "%s\n", json_object_get_string(value));
        n_imported++;
    }
    (void)fputs("]}}", to);
    (void)fclose(to);
    return text;
}

static void setup(void)
{
    rig_open(answer);
    make_material();
    (void)snprintf(ca, sizeof(ca), "%s", rig_path("ca.pem"));
    away = ready = wrong_chip = no_platform = false;
    away_from = -1;
    crl_answer = NULL;
    n_asked = n_imported = 0;
    unsetenv("https_proxy");
    unsetenv("HTTPS_PROXY");
    unsetenv("ALL_PROXY");
    unsetenv("all_proxy");
    sim = kds_sim_start(ca, serve, NULL);
    ck_assert_ptr_nonnull(sim);
}

static void teardown(void)
{
    kds_sim_stop(sim);
    for (size_t i = 0; i < CHIPS; i++)
        snp_pki_leaf_done(&leaves[i]);
    free(crl);
    rig_stop_server();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int remove_tree(const char *path)
{
    return nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#define FETCH(...) \
    RIG_RUN("certs", "fetch", "--gap", "0", "--url", kds_sim_url(sim), "--ca", ca, ##__VA_ARGS__)

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 120);

TEST(for_this_platform)
{
    ck_assert_int_eq(FETCH("--timeout", "60"), 0);
    ck_assert_uint_eq(n_asked, 3);
    ck_assert_str_eq(asked[0], "/vcek/v1/Milan/cert_chain");
    ck_assert_str_eq(asked[1], "/vcek/v1/Milan/crl");
    RIG_HAS(asked[2], chip_hex[0], "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115");
    ck_assert_str_eq(rig_calls(), "GetStatus Preflight Import ");
    ck_assert_uint_eq(n_imported, 3);
    rig_has(imported, "kds:/vcek/v1/Milan/crl");
    RIG_HAS(rig_out, "fetched    Milan/vcek/", "added      ASK   kds:/vcek/v1/Milan/cert_chain");
    /* What the store has is not asked for again. */
    ready = true;
    ck_assert_int_eq(FETCH("--json"), 0);
    ck_assert_uint_eq(n_asked, 5);
    rig_has(rig_out, "\"action\":\"unchanged\"");
    /* A mirror's URL may end in a slash. */
    char url[128];
    (void)snprintf(url, sizeof(url), "%s/", kds_sim_url(sim));
    ck_assert_int_eq(RIG_RUN("certs", "fetch", "--url", url, "--ca", ca), 0);
    ck_assert_str_eq(asked[5], "/vcek/v1/Milan/cert_chain");
}

TEST(for_a_platform_that_is_named)
{
    ck_assert_int_eq(FETCH("--product", "Milan", "--chip-id", chip_hex[1], "--tcb", "3.0.8.115"),
                     0);
    rig_has(asked[2], chip_hex[1]);
    ck_assert_str_eq(rig_calls(), "Preflight Import ");
    /* The coming TCB of this platform: the test service has it for another only. */
    RIG_OUT(FETCH("--tcb", "4.0.8.115"), 1, "the certificate is for another TCB");
    ck_assert_uint_eq(n_imported, 3 + 2); /* what did come is kept */
    no_platform = true;
    RIG_ERR(FETCH(NULL), 1, "does not know this host's product");
    ck_assert_int_eq(FETCH("--product", "Milan", "--signer", "VLEK"), 0);
    ck_assert_str_eq(asked[6], "/vlek/v1/Milan/cert_chain");
    ck_assert_str_eq(asked[7], "/vlek/v1/Milan/crl");
}

TEST(refused_and_later)
{
    wrong_chip = true;
    RIG_OUT(FETCH(NULL), 1, "the certificate is for another chip");
    wrong_chip = false;
    away = true;
    RIG_OUT(FETCH(NULL), 75, "it says to ask again in 86400 s");
    rig_has(rig_err, "goes on from here");
    ck_assert_int_eq(FETCH("--product", "Milan", "--chip-id", "00", "--tcb", "1.2.3.4"), 2);
    ck_assert_int_eq(FETCH("--product", "Rome", "--signer", "VLEK"), 2);
    ck_assert_int_eq(FETCH("--signer", "ARK"), 2);
    ck_assert_int_eq(FETCH("--inventory", "x"), 2);
    ck_assert_int_eq(FETCH("--inventory", "x", "--out", "y", "--tcb", "1.2.3.4"), 2);
    ck_assert_int_eq(RIG_RUN("certs", "fetch", "--url", "file:///etc", "--tcb", "1.2.3.4"), 2);
    ck_assert_int_eq(RIG_RUN("certs", "fetch", "--gap", "x"), 2);
}

static void assert_leaf(size_t i)
{
    char name[512];

    (void)snprintf(name, sizeof(name), "out/Milan/vcek/%s/3.0.8.115.der", chip_hex[i]);
    rig_file_is(rig_path(name), leaves[i].der, leaves[i].der_size);
}

TEST(inventory)
{
    char text[1024], name[300], out[300];

    (void)snprintf(out, sizeof(out), "%s", rig_path("out"));
    (void)snprintf(text, sizeof(text),
                   "# the hosts of row 7\nMilan %s 3.0.8.115\n\nMilan,%s,3.0.8.115 # spare\n"
                   "Milan %s 3.0.8.115\r\n",
                   chip_hex[0], chip_hex[1], chip_hex[2]);
    test_write_file(rig_path("hosts"), text, strlen(text));
    /* The service has enough in the middle. */
    away_from = 3;
    ck_assert_int_eq(FETCH("--inventory", rig_path("hosts"), "--out", out), 75);
    ck_assert_uint_eq(n_asked, 4); /* nobody asks on after that */
    assert_leaf(0);
    rig_has(rig_out, "later      Milan/vcek/");
    /* A file that was damaged since does not count as there. */
    (void)snprintf(name, sizeof(name), "out/Milan/vcek/%s/3.0.8.115.der", chip_hex[0]);
    test_write_file(rig_path(name), "half", 4);
    away_from = -1;
    n_asked = 0;
    ck_assert_int_eq(FETCH("--inventory", rig_path("hosts"), "--out", out), 0);
    for (size_t i = 0; i < CHIPS; i++)
        assert_leaf(i);
    unsigned before = kds_sim_requests(sim);
    ck_assert_int_eq(FETCH("--inventory", rig_path("hosts"), "--out", out), 0);
    ck_assert_uint_eq(kds_sim_requests(sim), before + 2); /* chain and list alone */
    rig_has(rig_out, "unchanged  Milan/vcek/");
    ck_assert_str_eq(rig_calls(), ""); /* no daemon is needed for it */
    /* The folder is one that import takes. */
    ck_assert_int_eq(RIG_RUN("certs", "import", out), 0);
    ck_assert_uint_eq(n_imported, 5);
    rig_lacks(rig_out, "passed over");
}

/* Such a list was once a wrong chip id; a proxy's page, no list; nothing, no certificate. */
TEST(answers_that_are_something_else_are_named)
{
    static const struct {
        const char *answer, *why;
        int code;
    } cases[] = {
        {"404",
         "the service knows no such file (404): it has no revocation list of this product. Is the",
         1},
        {"", "the service answered with nothing (200, no bytes); the next try would be in", 75},
        {"<!DOCTYPE html><html>Blocked",
         "is a web page or XML, and not a revocation list: it comes "
         "from a proxy",
         1},
        {"{\"error\": \"quota\"}", "is a text, and not a revocation list: ", 1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        crl_answer = cases[i].answer;
        ck_assert_int_eq(RIG_RUN("certs", "fetch", "--json", "--gap", "0", "--timeout", "2",
                                 "--url", kds_sim_url(sim), "--ca", ca),
                         cases[i].code);
        rig_has(rig_out, cases[i].why);
        rig_lacks(rig_out, "chip id right");
    }
}

#define ASKS_MILAN "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"

/* Inventories as people have them: each asks for chip 0 at 3.0.8.115, of Milan mostly. */
TEST(inventories_in_every_spelling)
{
    static const struct {
        const char *text; /* @: the chip's id */
        const char *product;
    } cases[] = {
        {"\xef\xbb\xbfMilan @ 3.0.8.115\n", "Milan"},
        {"\xef\xbb\xbf# hosts\r\n\r\nmilan;@;3.0.8.115\r\n", "Milan"},
        {"MILAN 0x@ 03.00.08.115", "Milan"},
        {"Milan-B0\t@\t03.000.08.0115\n", "Milan"},
        {"\"Milan\",\"@\",\"3.0.8.115\"\n", "Milan"},
        {"'Milan', '@', '3.0.8.115'\n", "Milan"},
        {"Milan @ blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115\n", "Milan"},
        {"Milan @ bl03_tee00_snp08_ucode115\n", "Milan"},
        {"https://kdsintf.amd.com/vcek/v1/Milan/@?ucodeSPL=115&snpSPL=08&teeSPL=00&blSPL=03\n",
         "Milan"},
        {"Product,Chip_ID,TCB\nMilan,@,3.0.8.115\n", "Milan"},
        {"# ours\nhost;tcb;rack;chip id;product\na;3.0.8.115;;@;Milan\n", "Milan"},
        {"rack,product,hwid,reported_tcb\n\"7, upper\",Milan,\"@\",\"3.0.8.115\"\n", "Milan"},
        {"product chipid tcb host\nMilan @ 3.0.8.115 h # spare\n", "Milan"},
        {"Bergamo @ 3.0.8.115\n", "Genoa"},
        {"SIENA @ 3.0.8.115\n", "Genoa"},
        {"Genoa-B1 @ 3.0.8.115\n", "Genoa"},
    };
    char text[1024], expected[300], upper[129];

    for (size_t i = 0; i < 129; i++)
        upper[i] = (char)toupper((unsigned char)chip_hex[0][i]);
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        int before = (int)strcspn(cases[i / 2].text, "@");
        (void)snprintf(text, sizeof(text), "%.*s%s%s", before, cases[i / 2].text,
                       i % 2 ? upper : chip_hex[0], cases[i / 2].text + before + 1);
        test_write_file(rig_path("hosts"), text, strlen(text));
        (void)snprintf(expected, sizeof(expected), "/vcek/v1/%s/%s" ASKS_MILAN,
                       cases[i / 2].product, chip_hex[0]);
        memset(asked, 0, sizeof(asked));
        kds_sim_stop(sim); /* requests are counted anew */
        sim = kds_sim_start(ca, serve, NULL);
        (void)FETCH("--inventory", rig_path("hosts"), "--out", rig_path("none"));
        ck_assert_msg(strcmp(asked[2], expected) == 0, "%s: %s (%s)", text, asked[2], rig_err);
        ck_assert_int_eq(remove_tree(rig_path("none")), 0);
    }
}

/* KDS writes levels with leading zeros, in decimal: 072 is not 58. */
TEST(leading_zeros_are_decimal)
{
    ck_assert_int_eq(FETCH("--product", "siena", "--chip-id", chip_hex[1], "--tcb", "03.00.08.072"),
                     1);
    RIG_HAS(asked[2], "/vcek/v1/Genoa/", "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=72");
    ck_assert_int_eq(FETCH("--product", "Bergamo", "--signer", "VLEK"), 0);
    ck_assert_str_eq(asked[3], "/vlek/v1/Genoa/cert_chain");
}

TEST(field_inventories)
{
    static const struct {
        const char *name, *path;
    } cases[] = {
        {"field/inventory/bom.txt",
         "/vcek/v1/Milan/b12164b45a2a27426e04ab52c5781d404fe2eab35ef5c4f714ce0fc23d2fb3f3"},
        {"field/inventory/bergamo.txt",
         "/vcek/v1/Genoa/b12164b45a2a27426e04ab52c5781d404fe2eab35ef5c4f714ce0fc23d2fb3f3"},
    };

    for (size_t i = 0; i < 2; i++) {
        const char *path = test_data(cases[i].name);
        if (!path)
            return;
        memset(asked, 0, sizeof(asked));
        kds_sim_stop(sim);
        sim = kds_sim_start(ca, serve, NULL);
        ck_assert_int_eq(FETCH("--inventory", path, "--out", rig_path("none")),
                         1); /* not that chip */
        rig_has(rig_out, "(404): is the chip id right");
        ck_assert_msg(strncmp(asked[2], cases[i].path, strlen(cases[i].path)) == 0, "%s", asked[2]);
        rig_has(asked[2], i == 0 ? ASKS_MILAN : "?blSPL=10&teeSPL=00&snpSPL=23&ucodeSPL=84");
    }
}

TEST(inventories_that_are_none)
{
    static const char *const texts[] = {"Milan 00 1.2.3.4\n",
                                        "Milan\n",
                                        "a b c d e\n",
                                        "Turin 0011223344556677 1.2.3.4\n",
                                        "https://kdsintf.amd.com/vcek/v1/Milan/cert_chain\n",
                                        "\xff\xfeM\0i\0"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        test_write_file(rig_path("hosts"), texts[i], strlen(texts[i]));
        RIG_ERR(FETCH("--inventory", rig_path("hosts"), "--out", rig_path("out")), 2, "line 1");
    }
    static const char short_line[] = "product,chip_id,tcb\nMilan,00\n";
    test_write_file(rig_path("hosts"), short_line, strlen(short_line));
    RIG_ERR(FETCH("--inventory", rig_path("hosts"), "--out", rig_path("out")), 2,
            "line 2: the line has fewer columns than the first");
    char *text = malloc(5000);
    memset(text, 'x', 5000);
    test_write_file(rig_path("hosts"), text, 5000);
    free(text);
    ck_assert_int_eq(FETCH("--inventory", rig_path("hosts"), "--out", rig_path("out")), 2);
    ck_assert_int_eq(FETCH("--inventory", "/no/such/file", "--out", rig_path("out")), 1);
    ck_assert_uint_eq(n_asked, 0); /* not a request for a list that is wrong in the end */
}
