/* SPDX-License-Identifier: MIT */
/*
 * proto/PROTOCOL.md is normative, so its examples are tests. Each fenced block whose info string is
 * `hex NAME` holds the bytes of tests/golden/v1/NAME.hex (of tests/golden/NAME.hex where NAME has a
 * slash), each golden file of v1 has its block, and each is what the encoders make of a struct that
 * is written out here. The numbers in the tables of statuses and limits are checked too.
 */
#include "fuzz/wire_oracle.h"
#include "support.h"
#include <dirent.h>

#define PROTOCOL_MD "proto/PROTOCOL.md"
#define FRAME_MAX   (COCO_HEADER_SIZE + COCO_REQUEST_MAX)

/* --- the messages, as structs ---------------------------------------------------------------- */

static const uint8_t empty_table[COCO_SNP_EMPTY_TABLE_SIZE];

static const struct coco_hello hello = {
    .version_min = 1,
    .version_max = 1,
    .features = COCO_FEATURE_NOTIFY | COCO_FEATURE_LEASE,
    .vm_uuid = {0x6c, 0x1f, 0x0d, 0x2e, 0x5b, 0x7a, 0x4c, 0x39, 0x9e, 0x1d, 0x02, 0xa4, 0xb6, 0xc8,
                0xd0, 0xe2},
    .vm_name = "db-7 Z\xc3\xbcrich",
    .software = "examplevmm 2.1",
};

static const struct coco_hello_reply hello_reply = {
    .version = 1,
    .features = COCO_FEATURE_NOTIFY | COCO_FEATURE_LEASE,
    .instance = 0x1122334455667788,
    .generation = 5,
    .services = COCO_SERVICE_CERTS | COCO_SERVICE_QUOTES,
    .request_max = COCO_REQUEST_MAX,
    .reply_max = COCO_REPLY_MAX,
    .in_flight_max = COCO_IN_FLIGHT_MAX,
    .busy_budget_ms = COCO_BUSY_BUDGET_MS,
    .lease_bytes = COCO_LEASE_BYTES,
    .lease_base = COCO_LEASE_BASE_MIN,
};

static const struct coco_certs_get certs_get = {.npages = 4, .gpa = 0x7f3c4000};

static const struct coco_certs_reply certs_reply = {.generation = 5,
                                                    .npages = 1,
                                                    .table_size = sizeof(empty_table),
                                                    .table = empty_table};

static const struct coco_certs_reply certs_reply_enospc = {.generation = 5, .npages = 2};

static const struct coco_guest_event guest_event = {.kind = 6, .ndata = 1, .data = {0x11100}};

static const struct coco_notify notify = {.event = COCO_NOTIFY_GENERATION, .generation = 6};

static const uint8_t quote[16] = {4, 0, 2, 0, 0x81};

static size_t quote_get_payload(uint8_t *out)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE] = {0x81};

    for (unsigned i = 0; i < COCO_TD_REPORTDATA_SIZE; i++)
        tdreport[128 + i] = (uint8_t)i;
    coco_quote_get_encode(&(struct coco_quote_get){.quote_max = 8168, .tdreport = tdreport}, out);
    return COCO_QUOTE_GET_SIZE;
}

static size_t payload(const char *name, uint8_t *out)
{
    if (strcmp(name, "hello") == 0) {
        coco_hello_encode(&hello, out);
        return COCO_HELLO_SIZE;
    }
    if (strcmp(name, "hello-reply") == 0) {
        coco_hello_reply_encode(&hello_reply, out);
        return COCO_HELLO_REPLY_SIZE;
    }
    if (strcmp(name, "certs-get") == 0) {
        coco_certs_get_encode(&certs_get, out);
        return COCO_CERTS_GET_SIZE;
    }
    if (strcmp(name, "certs-reply") == 0) {
        coco_certs_reply_encode_fixed(&certs_reply, out);
        memcpy(out + COCO_CERTS_REPLY_HEADER, empty_table, sizeof(empty_table));
        return COCO_CERTS_REPLY_HEADER + sizeof(empty_table);
    }
    if (strcmp(name, "certs-reply-enospc") == 0) {
        coco_certs_reply_encode_fixed(&certs_reply_enospc, out);
        return COCO_CERTS_REPLY_HEADER;
    }
    if (strcmp(name, "quote-get") == 0)
        return quote_get_payload(out);
    if (strcmp(name, "quote-reply") == 0) {
        memcpy(out, quote, sizeof(quote));
        return sizeof(quote);
    }
    if (strcmp(name, "guest-event") == 0) {
        coco_guest_event_encode(&guest_event, out);
        return COCO_GUEST_EVENT_SIZE;
    }
    if (strcmp(name, "notify") == 0) {
        coco_notify_encode(&notify, out);
        return COCO_NOTIFY_SIZE;
    }
    return 0;
}

static const struct {
    const char *name;
    struct coco_header header; /* without the length */
} messages[] = {
    {"hello", {.type = COCO_HELLO, .id = 1}},
    {"hello-reply", {.type = COCO_HELLO_REPLY, .id = 1}},
    {"certs-get", {.type = COCO_CERTS_GET, .id = 2, .timeout_ms = 1000}},
    {"certs-reply", {.type = COCO_CERTS_REPLY, .id = 2}},
    {"certs-reply-enospc", {.type = COCO_CERTS_REPLY, .id = 2, .status = COCO_ENOSPC}},
    {"quote-get", {.type = COCO_QUOTE_GET, .id = 3, .timeout_ms = 30000}},
    {"quote-reply", {.type = COCO_QUOTE_REPLY, .id = 3}},
    {"error-reply", {.type = COCO_QUOTE_REPLY, .id = 3, .status = COCO_ETIMEDOUT}},
    {"ping", {.type = COCO_PING, .id = 4}},
    {"ping-reply", {.type = COCO_PING_REPLY, .id = 4}},
    {"cancel", {.type = COCO_CANCEL, .id = 3}},
    {"guest-event", {.type = COCO_GUEST_EVENT}},
    {"notify", {.type = COCO_NOTIFY}},
};
#define N_MESSAGES (sizeof(messages) / sizeof(messages[0]))

static size_t encode(size_t i, uint8_t out[FRAME_MAX])
{
    struct coco_header header = messages[i].header;
    size_t length = payload(messages[i].name, out + COCO_HEADER_SIZE);

    header.length = (uint32_t)length;
    coco_header_encode(&header, out);
    return COCO_HEADER_SIZE + length;
}

static void golden_path(const char *name, char *out, size_t size)
{
    const char *folder = strchr(name, '/') ? "tests/golden" : "tests/golden/v1";

    ck_assert_int_lt(snprintf(out, size, "%s/%s.hex", folder, name), (int)size);
}

/* --- the document ---------------------------------------------------------------------------- */

static char *document(void)
{
    size_t size;

    return (char *)test_read_file(PROTOCOL_MD, &size);
}

/* The next block after `from` whose info string is `hex NAME`, its text malloc'ed; NULL: no more.
 */
static char *next_block(const char **from, char *ret_name, size_t name_size)
{
    static const char fence[] = "\n```hex ";
    const char *p = strstr(*from, fence);

    if (!p)
        return NULL;
    p += strlen(fence);
    size_t n = strcspn(p, "\n");
    ck_assert_uint_lt(n, name_size);
    memcpy(ret_name, p, n);
    ret_name[n] = 0;
    p += n;
    const char *end = strstr(p, "\n```");
    ck_assert_msg(end != NULL, "block %s does not end", ret_name);
    *from = end;
    char *text = strndup(p, (size_t)(end - p));
    ck_assert_ptr_nonnull(text);
    return text;
}

TEST(blocks_are_golden_files)
{
    char *text = document();
    const char *from = text;
    char name[64], path[256];
    size_t n = 0;

    for (char *block; (block = next_block(&from, name, sizeof(name))) != NULL; n++) {
        size_t block_size, golden_size;
        golden_path(name, path, sizeof(path));
        uint8_t *golden = test_read_hex(path, &golden_size);
        uint8_t *bytes = test_unhex(block, &block_size);
        ck_assert_msg(block_size == golden_size && memcmp(bytes, golden, golden_size) == 0,
                      "the block `hex %s` differs from %s", name, path);
        free(bytes);
        free(golden);
        free(block);
    }
    ck_assert_uint_ge(n, N_MESSAGES);
    free(text);
}

static bool has_block(const char *text, const char *wanted)
{
    const char *from = text;
    char name[64];
    bool found = false;

    for (char *block; (block = next_block(&from, name, sizeof(name))) != NULL; free(block))
        found = found || strcmp(name, wanted) == 0;
    return found;
}

static bool has_struct(const char *wanted)
{
    for (size_t i = 0; i < N_MESSAGES; i++)
        if (strcmp(messages[i].name, wanted) == 0)
            return true;
    return false;
}

TEST(golden_files_are_blocks)
{
    char *text = document();
    DIR *folder = opendir("tests/golden/v1");
    size_t n = 0;

    ck_assert_ptr_nonnull(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char name[256];
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(name, sizeof(name), "%s", entry->d_name);
        char *end = strstr(name, ".hex");
        ck_assert_msg(end != NULL && end[4] == 0, "%s is not a golden file", name);
        *end = 0;
        ck_assert_msg(has_block(text, name), "no block `hex %s` in " PROTOCOL_MD, name);
        ck_assert_msg(has_struct(name), "no struct for %s in this test", name);
        n++;
    }
    closedir(folder);
    ck_assert_uint_eq(n, N_MESSAGES);
    free(text);
}

TEST(golden_files_are_what_the_encoders_make)
{
    for (size_t i = 0; i < N_MESSAGES; i++) {
        uint8_t frame[FRAME_MAX];
        char path[256];
        size_t golden_size, size = encode(i, frame);
        golden_path(messages[i].name, path, sizeof(path));
        uint8_t *golden = test_read_hex(path, &golden_size);
        ck_assert_msg(size == golden_size && memcmp(frame, golden, size) == 0,
                      "the encoder's bytes differ from %s", path);
        ck_assert_int_eq(wire_oracle_frame(golden, golden_size), 0);
        free(golden);
    }
}

TEST(directions)
{
    for (size_t i = 0; i < N_MESSAGES; i++) {
        const struct coco_header *header = &messages[i].header;
        bool client = !(header->type & 1) && header->type < 0x8000;

        ck_assert_int_eq(coco_header_check_from_client(header), client ? 0 : -EBADMSG);
        ck_assert_int_eq(coco_header_check_from_server(header), client ? -EBADMSG : 0);
    }
}

static void has_row(const char *text, const char *name, unsigned value)
{
    char row[128];

    (void)snprintf(row, sizeof(row), "\n| `%s` | %u |", name, value);
    ck_assert_msg(strstr(text, row) != NULL, "no row \"%s\" in " PROTOCOL_MD, row + 1);
}

TEST(statuses_are_documented)
{
    char *text = document();

    for (uint32_t status = 1; status < 4096; status++)
        if (coco_status_known(status))
            has_row(text, coco_status_name(status), status);
    free(text);
}

#define LIMIT(name) has_row(text, #name, name)

TEST(limits_are_documented)
{
    char *text = document();

    LIMIT(COCO_HEADER_SIZE);
    LIMIT(COCO_REQUEST_MAX);
    LIMIT(COCO_QUOTE_MAX);
    LIMIT(COCO_REPLY_MAX);
    LIMIT(COCO_IN_FLIGHT_MAX);
    LIMIT(COCO_NAME_SIZE);
    LIMIT(COCO_SOFTWARE_SIZE);
    LIMIT(COCO_GUEST_EVENT_DATA);
    LIMIT(COCO_BUSY_BUDGET_MS);
    LIMIT(COCO_EXIT_WAIT_MS);
    LIMIT(COCO_LEASE_BYTES);
    LIMIT(COCO_LEASE_BASE_MIN);
    LIMIT(COCO_PAGE_SIZE);
    LIMIT(COCO_SNP_TABLE_MAX);
    LIMIT(COCO_SNP_TABLE_ENTRIES_MAX);
    LIMIT(COCO_SNP_EMPTY_TABLE_SIZE);
    LIMIT(COCO_TDREPORT_SIZE);
    free(text);
}
