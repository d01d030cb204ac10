/* SPDX-License-Identifier: MIT */
/*
 * The exposition, read by a parser of its own that knows the format and nothing of cocod: whether
 * it is well formed, only grows where it must, adds up, and is what the documents say.
 */
#include "admin/exposition.h"
#include "coco_limits.h"
#include "world.h"
#include <ctype.h>
#include <json-c/json.h>

#define S          1000000u
#define SERIES_MAX 1024

struct series {
    char family[96];
    char name[96];
    char labels[256];
    double value;
    bool counts; /* of a counter or a histogram: it never becomes less */
};

struct parsed {
    size_t n;
    struct series items[SERIES_MAX];
    size_t n_families;
    char families[256][96];
};

static struct world world;
static struct parsed before, now;
static char *text;

/* --- the format ------------------------------------------------------------------------------- */

static size_t name_length(const char *p)
{
    size_t n = 0;

    while (isalnum((unsigned char)p[n]) || p[n] == '_')
        n++;
    ck_assert_msg(n > 0 && !isdigit((unsigned char)p[0]), "no name: %.40s", p);
    return n;
}

/* `name="value",…` up to the brace behind it. */
static const char *parse_labels(const char *p)
{
    for (;;) {
        p += name_length(p);
        ck_assert_msg(p[0] == '=' && p[1] == '"', "no label: %.40s", p);
        for (p += 2; *p != '"'; p++) {
            ck_assert_msg(*p >= ' ' && *p < 0x7f, "byte %d in a label", *p);
            if (*p == '\\') {
                p++;
                ck_assert(*p == '\\' || *p == '"' || *p == 'n');
            }
        }
        p++;
        if (*p == '}')
            return p;
        ck_assert_int_eq(*p, ',');
        p++;
    }
}

static void parse_sample(struct parsed *to, const char *line, const char *family, const char *type)
{
    struct series *series = &to->items[to->n++];
    size_t n = name_length(line);
    const char *p = line + n;
    const char *suffix = line + strlen(family);
    char *end;

    ck_assert_uint_lt(to->n, SERIES_MAX);
    *series = (struct series){.counts = strcmp(type, "gauge") != 0};
    snprintf(series->family, sizeof(series->family), "%s", family);
    snprintf(series->name, sizeof(series->name), "%.*s", (int)n, line);
    ck_assert_msg(strncmp(line, family, strlen(family)) == 0, "%s is not of %s", line, family);
    n -= strlen(family);
    if (strcmp(type, "histogram") == 0)
        ck_assert_msg((n == 7 && strncmp(suffix, "_bucket", 7) == 0) ||
                          (n == 4 && strncmp(suffix, "_sum", 4) == 0) ||
                          (n == 6 && strncmp(suffix, "_count", 6) == 0),
                      "%s", line);
    else
        ck_assert_uint_eq(n, 0);
    if (*p == '{') {
        const char *behind = parse_labels(p + 1);
        snprintf(series->labels, sizeof(series->labels), "%.*s", (int)(behind - p - 1), p + 1);
        p = behind + 1;
    }
    ck_assert_int_eq(*p, ' ');
    series->value = strtod(p + 1, &end);
    ck_assert_msg(end > p + 1 && *end == 0, "no number: %s", line);
    for (size_t i = 0; i + 1 < to->n; i++)
        ck_assert_msg(strcmp(to->items[i].name, series->name) != 0 ||
                          strcmp(to->items[i].labels, series->labels) != 0,
                      "%s{%s} is there twice", series->name, series->labels);
}

static void parse(struct parsed *to, const char *from)
{
    char line[1024], family[96] = "", help[96] = "", type[32] = "";

    memset(to, 0, sizeof(*to));
    while (*from) {
        size_t n = strcspn(from, "\n");
        ck_assert_int_eq(from[n], '\n'); /* the last line ends, too */
        ck_assert_uint_lt(n, sizeof(line));
        snprintf(line, sizeof(line), "%.*s", (int)n, from);
        from += n + 1;
        if (strncmp(line, "# HELP ", 7) == 0) {
            ck_assert_int_eq(sscanf(line + 7, "%95s", help), 1);
            ck_assert_uint_gt(strlen(line), 8 + strlen(help));
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            ck_assert_int_eq(sscanf(line + 7, "%95s %31s", family, type), 2);
            ck_assert_str_eq(family, help);
            ck_assert_uint_eq(strncmp(family, "cocod_", 6), 0);
            ck_assert(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 ||
                      strcmp(type, "histogram") == 0);
            size_t length = strlen(family);
            bool total = strcmp(family + length - 6, "_total") == 0;
            ck_assert_msg(total == (strcmp(type, "counter") == 0), "%s is a %s", family, type);
            for (size_t i = 0; i < to->n_families; i++)
                ck_assert_str_ne(to->families[i], family);
            snprintf(to->families[to->n_families++], 96, "%s", family);
        } else {
            ck_assert_str_ne(family, "");
            parse_sample(to, line, family, type);
        }
    }
}

/* --- asking ----------------------------------------------------------------------------------- */

static void look(struct parsed *to)
{
    world_pass(&world, EXPOSITION_KEEP_US);
    struct blob *blob = exposition_text(&world.cocod->admin);

    ck_assert_ptr_nonnull(blob);
    free(text);
    text = strndup((const char *)blob->data, blob->size);
    blob_unref(blob);
    parse(to, text);
}

static double value(const char *name, const char *labels)
{
    for (size_t i = 0; i < now.n; i++)
        if (strcmp(now.items[i].name, name) == 0 && strcmp(now.items[i].labels, labels) == 0)
            return now.items[i].value;
    ck_abort_msg("there is no %s{%s}", name, labels);
}

static double sum(const char *name)
{
    double all = 0;

    for (size_t i = 0; i < now.n; i++)
        if (strcmp(now.items[i].name, name) == 0)
            all += now.items[i].value;
    return all;
}

static void setup(void)
{
    world_open(&world, "[quotes]\nqgs = unix:/a \"b\"\nslots = 1\nqueue = 3\n"
                       "[limits]\nsend_timeout = 1s\n");
    memset(&metrics, 0, sizeof(metrics));
}

static void teardown(void)
{
    world_close(&world);
    free(text);
    text = NULL;
}

static void ask_certs(struct world_client *client)
{
    world_certs_get(client, 4);
    world_send(&world, client, SIZE_MAX);
    world_settle(&world);
    world_receive(&world, client);
}

static void quote_get(struct world_client *client, uint64_t seed, bool good)
{
    world_quote_get(client, seed, good, 5000, COCO_QUOTE_MAX);
    world_send(&world, client, SIZE_MAX);
    world_settle(&world);
}

/* Some of everything. */
static void work(struct world_client *client, uint64_t seed)
{
    ask_certs(client);
    quote_get(client, seed, true);
    for (int i = 0; i < WORLD_EXCHANGES; i++)
        (void)world_qgs_answer(&world, &world.exchanges[i], seed % 3 ? WORLD_QUOTE : WORLD_ERROR);
    quote_get(client, seed + 1000, false);
    for (uint64_t i = 0; i < 6; i++)
        quote_get(client, seed + 2000 + i, true);
    world_settle(&world);
    world_receive(&world, client);
}

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

/* --- tests ------------------------------------------------------------------------------------ */

TEST(histograms_are_cumulative_and_whole)
{
    struct world_client *client = world_connect(&world);

    world_hello(&world, client, 0);
    for (uint64_t seed = 1; seed < 40; seed++)
        work(client, seed);
    look(&now);
    size_t histograms = 0;
    for (size_t i = 0; i < now.n; i++) {
        const struct series *series = &now.items[i];
        const char *le = strstr(series->labels, "le=\"");
        if (!le || !strstr(series->name, "_bucket"))
            continue;
        if (strncmp(le, "le=\"+Inf\"", 9) != 0) {
            const struct series *next = &now.items[i + 1];
            double bound = strtod(le + 4, NULL),
                   above = strtod(strstr(next->labels, "le=\"") + 4, NULL);
            ck_assert_msg(bound < above && series->value <= next->value, "%s", series->labels);
            continue;
        }
        histograms++;
        ck_assert_msg(strstr(now.items[i + 2].name, "_count") &&
                          now.items[i + 2].value == series->value,
                      "%s{%s}", series->name, series->labels);
    }
    ck_assert_uint_eq(histograms, CERTS_ENDS + QUOTE_ENDS + 2 + 1);
}

TEST(counters_only_grow_and_series_stay)
{
    struct world_client *client = world_connect(&world);

    world_hello(&world, client, 0);
    look(&before);
    for (uint64_t seed = 1; seed < 30; seed++) {
        work(client, seed);
        look(&now);
        ck_assert_uint_eq(before.n, now.n);
        for (size_t i = 0; i < now.n; i++) {
            ck_assert_str_eq(now.items[i].name, before.items[i].name);
            ck_assert_str_eq(now.items[i].labels, before.items[i].labels);
            ck_assert_msg(!now.items[i].counts || now.items[i].value >= before.items[i].value,
                          "%s{%s}: %g after %g", now.items[i].name, now.items[i].labels,
                          now.items[i].value, before.items[i].value);
        }
        before = now;
    }
}

TEST(outcomes_and_reasons_add_up)
{
    struct world_client *client = world_connect(&world);

    world_hello(&world, client, 0);
    for (uint64_t seed = 1; seed < 40; seed++)
        work(client, seed);
    look(&now);
    ck_assert_double_eq(sum("cocod_quote_eagain_total"),
                        value("cocod_quote_get_total", "outcome=\"eagain\""));
    ck_assert_double_gt(sum("cocod_quote_eagain_total"), 0);
    ck_assert_double_gt(value("cocod_quote_get_total", "outcome=\"einval\""), 0);
    ck_assert_double_gt(value("cocod_quote_get_total", "outcome=\"ok\""), 0);
    ck_assert_double_eq(sum("cocod_quote_get_seconds_count"), sum("cocod_quote_get_total"));
    ck_assert_double_eq(sum("cocod_certs_empty_total"),
                        value("cocod_certs_get_total", "outcome=\"empty\""));
    ck_assert_double_eq(sum("cocod_certs_eagain_total"),
                        value("cocod_certs_get_total", "outcome=\"eagain\""));
    ck_assert_double_eq(sum("cocod_qgs_service_seconds_count"),
                        (double)(metrics.qgs_answers - metrics.qgs_probes));
}

TEST(ages_and_states_are_shown)
{
    struct world_client *client = world_connect(&world);

    world_hello(&world, client, 0);
    quote_get(client, 1, true);
    world_pass(&world, 2 * S);
    look(&now);
    ck_assert_double_eq(value("cocod_oldest_request_seconds", ""), 3);
    ck_assert_double_eq(value("cocod_qgs_slots_busy", "backend=\"unix:/a \\\"b\\\"\""), 1);
    ck_assert_double_eq(value("cocod_qgs_breaker_state",
                              "backend=\"unix:/a \\\"b\\\"\",state=\"closed\""),
                        1);
    ck_assert_double_eq(value("cocod_degraded", ""), 0);
    cocod_refuse_config(world.cocod, CONFIG_SOURCE_LAST_GOOD, "line 3");
    cocod_refuse_config(world.cocod, CONFIG_SOURCE_BEFORE, "line 4"); /* a reload after that */
    look(&now);
    ck_assert_double_eq(value("cocod_degraded", ""), 1);
    ck_assert_double_eq(value("cocod_degraded_by", "part=\"configuration\""), 1);
    ck_assert_double_eq(value("cocod_config_source", "source=\"last_good\""), 1);
    ck_assert_double_eq(sum("cocod_config_source"), 1);
}

/* --- the socket ------------------------------------------------------------------------------- */

TEST(the_socket_dumps_and_closes)
{
    static char got[200000];
    int pair[2];
    size_t size = 0;
    ssize_t n;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    server_adopt(world.cocod->server, &metrics_dialect, &world.cocod->admin, pair[0]);
    int fd = pair[1];
    ck_assert_uint_eq(metrics.now_peers, 0);
    while ((n = recv(fd, got + size, sizeof(got) - 1 - size, 0)) > 0)
        size += (size_t)n;
    ck_assert_int_eq(n, 0);
    got[size] = 0;
    parse(&now, got);
    ck_assert_uint_gt(now.n_families, 60);
    ck_assert_uint_eq(world.cocod->server->closed[CLOSE_ANSWERED], 1);
    close(fd);
}

TEST(who_does_not_read_is_closed_in_time_and_costs_a_reference)
{
    int fds[50], small = 1;

    for (int i = 0; i < 50; i++) {
        int pair[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                         0);
        ck_assert_int_eq(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
        (void)!write(pair[1], "GET /metrics HTTP/1.1\r\n\r\n", 25); /* nobody asked */
        server_adopt(world.cocod->server, &metrics_dialect, &world.cocod->admin, pair[0]);
        fds[i] = pair[1];
    }
    ck_assert_uint_eq(metrics.now_peers, 50);
    ck_assert_uint_eq(world.cocod->admin.page->refs, 51); /* one text for all of them */
    world_settle(&world);
    ck_assert_uint_eq(metrics.now_peers, 50);
    world_pass(&world, S + 1);
    ck_assert_uint_eq(metrics.now_peers, 0);
    ck_assert_uint_eq(metrics.now_unsent_bytes, 0);
    ck_assert_uint_eq(world.cocod->server->closed[CLOSE_SEND_TIMEOUT], 50);
    for (int i = 0; i < 50; i++)
        close(fds[i]);
}

/* --- the documents ---------------------------------------------------------------------------- */

TEST(the_documented_list_is_the_programs)
{
    char *printed = test_printed(exposition_print_reference);
    size_t size;
    char *file = (char *)test_read_file("docs/metrics.md", &size);
    ck_assert_msg(strcmp(file, printed) == 0, "docs/metrics.md is not `cocod --metrics`");
    look(&now);
    for (size_t i = 0; i < now.n_families; i++) {
        char row[128];
        snprintf(row, sizeof(row), "| `%s` |", now.families[i]);
        ck_assert_msg(strstr(file, row), "%s is not documented", now.families[i]);
    }
    free(file);
    free(printed);
}

static bool is_family(const char *name, size_t n)
{
    static const char *const suffixes[] = {"", "_bucket", "_sum", "_count"};

    for (size_t i = 0; i < now.n_families; i++)
        for (size_t k = 0; k < 4; k++) {
            char whole[128];
            snprintf(whole, sizeof(whole), "%s%s", now.families[i], suffixes[k]);
            if (strlen(whole) == n && strncmp(whole, name, n) == 0)
                return true;
        }
    return false;
}

static void only_known_names(const char *path)
{
    size_t size;
    char *file = (char *)test_read_file(path, &size);
    unsigned found = 0;

    for (const char *p = file; (p = strstr(p, "cocod_")); found++) {
        size_t n = name_length(p);
        ck_assert_msg(is_family(p, n), "%s: there is no metric %.*s", path, (int)n, p);
        p += n;
    }
    ck_assert_uint_gt(found, 10);
    free(file);
}

TEST(alerts_and_dashboard_name_what_exists)
{
    size_t size;

    look(&now);
    only_known_names("docs/alerts.yml");
    only_known_names("docs/grafana-dashboard.json");
    char *file = (char *)test_read_file("docs/grafana-dashboard.json", &size);
    struct json_object *dashboard = json_tokener_parse(file);
    ck_assert_ptr_nonnull(dashboard);
    ck_assert(json_object_object_get_ex(dashboard, "panels", NULL));
    json_object_put(dashboard);
    free(file);
}
