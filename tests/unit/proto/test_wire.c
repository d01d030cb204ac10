/* SPDX-License-Identifier: MIT */
/*
 * The RPC's header and messages: each rule of PROTOCOL.md on its own, and then every truncation,
 * every single-bit flip and every extension of every golden message.
 */
#include "fuzz/wire_oracle.h"
#include "support.h"
#include <glob.h>

TEST(type_classes)
{
    static const struct {
        uint16_t type;
        enum coco_type_class class;
    } cases[] = {
        {0x0000, COCO_CLASS_REQUEST},       {0x0001, COCO_CLASS_REPLY},
        {0x3FFE, COCO_CLASS_REQUEST},       {0x3FFF, COCO_CLASS_REPLY},
        {0x4000, COCO_CLASS_CLIENT_ONEWAY}, {0x4001, COCO_CLASS_CLIENT_ONEWAY},
        {0x7FFF, COCO_CLASS_CLIENT_ONEWAY}, {0x8000, COCO_CLASS_SERVER_ONEWAY},
        {0xBFFF, COCO_CLASS_SERVER_ONEWAY}, {0xC000, COCO_CLASS_INVALID},
        {0xFFFF, COCO_CLASS_INVALID},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ck_assert_int_eq(coco_type_class(cases[i].type), cases[i].class);
}

TEST(type_numbers)
{
    ck_assert_uint_eq(COCO_HELLO, 0x0000);
    ck_assert_uint_eq(COCO_HELLO_REPLY, 0x0001);
    ck_assert_uint_eq(COCO_CERTS_GET, 0x0002);
    ck_assert_uint_eq(COCO_CERTS_REPLY, 0x0003);
    ck_assert_uint_eq(COCO_QUOTE_GET, 0x0004);
    ck_assert_uint_eq(COCO_QUOTE_REPLY, 0x0005);
    ck_assert_uint_eq(COCO_PING, 0x0006);
    ck_assert_uint_eq(COCO_PING_REPLY, 0x0007);
    ck_assert_uint_eq(COCO_CANCEL, 0x4000);
    ck_assert_uint_eq(COCO_GUEST_EVENT, 0x4002);
    ck_assert_uint_eq(COCO_NOTIFY, 0x8000);
}

TEST(header_form)
{
    const struct coco_header header = {.type = COCO_QUOTE_GET,
                                       .length = 0x01020304,
                                       .status = 0x11121314,
                                       .id = 0x2122232425262728,
                                       .timeout_ms = 0x31323334};
    struct coco_header back;
    uint8_t bytes[COCO_HEADER_SIZE];

    coco_header_encode(&header, bytes);
    ck_assert_int_eq(coco_header_decode(bytes, &back), 0);
    ck_assert_uint_eq(back.type, header.type);
    ck_assert_uint_eq(back.length, header.length);
    ck_assert_uint_eq(back.status, header.status);
    ck_assert_uint_eq(back.id, header.id);
    ck_assert_uint_eq(back.timeout_ms, header.timeout_ms);
    /* Magic, flags and reserved have one right value; everything else may be anything. */
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        size_t byte = bit / 8;
        bool fixed = byte < 4 || byte == 6 || byte == 7 || byte >= 28;

        bytes[byte] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(coco_header_decode(bytes, &back), fixed ? -EBADMSG : 0);
        bytes[byte] ^= (uint8_t)(1u << bit % 8);
    }
}

static int from_client(uint16_t type, uint32_t length, uint32_t status)
{
    return coco_header_check_from_client(
        &(struct coco_header){.type = type, .length = length, .status = status});
}

static int from_server(uint16_t type, uint32_t length, uint32_t status)
{
    return coco_header_check_from_server(
        &(struct coco_header){.type = type, .length = length, .status = status});
}

TEST(header_from_client)
{
    ck_assert_int_eq(from_client(COCO_CERTS_GET, 16, 0), 0);
    ck_assert_int_eq(from_client(0x3FFE, 0, 0), 0);
    ck_assert_int_eq(from_client(COCO_CANCEL, 0, 0), 0);
    ck_assert_int_eq(from_client(0x7FFF, 0, 0), 0);
    ck_assert_int_eq(from_client(COCO_CERTS_GET, 4096, 0), 0);
    ck_assert_int_eq(from_client(COCO_CERTS_GET, 4097, 0), -EBADMSG);
    ck_assert_int_eq(from_client(COCO_CERTS_GET, UINT32_MAX, 0), -EBADMSG);
    ck_assert_int_eq(from_client(COCO_GUEST_EVENT, 4097, 0), -EBADMSG);
    ck_assert_int_eq(from_client(COCO_CERTS_GET, 16, 5), -EBADMSG);
    ck_assert_int_eq(from_client(COCO_CANCEL, 0, 5), -EBADMSG);
    ck_assert_int_eq(from_client(COCO_CERTS_REPLY, 16, 0), -EBADMSG);
    ck_assert_int_eq(from_client(COCO_NOTIFY, 16, 0), -EBADMSG);
    ck_assert_int_eq(from_client(0xC000, 0, 0), -EBADMSG);
}

TEST(header_from_server)
{
    ck_assert_int_eq(from_server(COCO_CERTS_REPLY, 40, 0), 0);
    ck_assert_int_eq(from_server(COCO_NOTIFY, 16, 0), 0);
    ck_assert_int_eq(from_server(COCO_QUOTE_REPLY, 4259840, 0), 0);
    ck_assert_int_eq(from_server(COCO_QUOTE_REPLY, 4259841, 0), -EBADMSG);
    ck_assert_int_eq(from_server(COCO_QUOTE_REPLY, 0, COCO_ETIMEDOUT), 0);
    ck_assert_int_eq(from_server(COCO_QUOTE_REPLY, 1, COCO_ETIMEDOUT), -EBADMSG);
    ck_assert_int_eq(from_server(COCO_QUOTE_REPLY, 16, COCO_ENOSPC), -EBADMSG);
    ck_assert_int_eq(from_server(COCO_CERTS_REPLY, 16, COCO_ENOSPC), 0);
    ck_assert_int_eq(from_server(COCO_CERTS_REPLY, 0, COCO_EAGAIN), 0);
    ck_assert_int_eq(from_server(COCO_CERTS_REPLY, 16, COCO_EAGAIN), -EBADMSG);
    /* A status that this side does not know is still a reply. */
    ck_assert_int_eq(from_server(COCO_CERTS_REPLY, 0, 9999), 0);
    ck_assert_int_eq(from_server(COCO_NOTIFY, 16, COCO_EIO), -EBADMSG);
    ck_assert_int_eq(from_server(COCO_CERTS_GET, 16, 0), -EBADMSG);
    ck_assert_int_eq(from_server(COCO_CANCEL, 0, 0), -EBADMSG);
    ck_assert_int_eq(from_server(0xC001, 0, 0), -EBADMSG);
}

static struct coco_hello a_hello(void)
{
    return (struct coco_hello){.version_min = 1, .version_max = 1, .vm_name = "n", .software = "s"};
}

TEST(hello_versions)
{
    static const struct {
        uint16_t min, max;
        int result;
    } cases[] = {{1, 1, 0},        {1, 2, 0},        {2, 9, 0},       {0xFFFF, 0xFFFF, 0},
                 {0, 0, -EBADMSG}, {0, 1, -EBADMSG}, {2, 1, -EBADMSG}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct coco_hello hello = a_hello(), back;
        uint8_t bytes[COCO_HELLO_SIZE];

        hello.version_min = cases[i].min;
        hello.version_max = cases[i].max;
        coco_hello_encode(&hello, bytes);
        ck_assert_int_eq(coco_hello_decode(bytes, sizeof(bytes), &back), cases[i].result);
    }
}

TEST(hello_keeps_unknown_features)
{
    struct coco_hello hello = a_hello(), back;
    uint8_t bytes[COCO_HELLO_SIZE];

    hello.features = 0x80000003;
    coco_hello_encode(&hello, bytes);
    ck_assert_int_eq(coco_hello_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_uint_eq(back.features, 0x80000003);
}

#define NAME_OFF     24
#define SOFTWARE_OFF 88

TEST(hello_texts_are_utf8)
{
    static const struct {
        const char *text;
        int result;
    } cases[] = {
        {"", 0},
        {"plain", 0},
        {"\x7f", 0},
        {"\xc2\x80", 0},
        {"\xdf\xbf", 0},
        {"\xe0\xa0\x80", 0},
        {"\xed\x9f\xbf", 0},
        {"\xee\x80\x80", 0},
        {"\xef\xbf\xbf", 0},
        {"\xf0\x90\x80\x80", 0},
        {"\xf4\x8f\xbf\xbf", 0},
        {"\x80", -EBADMSG},             /* a continuation alone */
        {"\xc0\x80", -EBADMSG},         /* overlong NUL */
        {"\xc1\xbf", -EBADMSG},         /* overlong */
        {"\xe0\x9f\xbf", -EBADMSG},     /* overlong */
        {"\xf0\x8f\xbf\xbf", -EBADMSG}, /* overlong */
        {"\xed\xa0\x80", -EBADMSG},     /* surrogate */
        {"\xed\xbf\xbf", -EBADMSG},     /* surrogate */
        {"\xf4\x90\x80\x80", -EBADMSG}, /* U+110000 */
        {"\xf5\x80\x80\x80", -EBADMSG},
        {"\xff", -EBADMSG},
        {"\xc3", -EBADMSG}, /* cut */
        {"\xe2\x82", -EBADMSG},
        {"\xf0\x9f\x98", -EBADMSG},
        {"\xe2\x82z", -EBADMSG},
        {"\xc3\xc3", -EBADMSG},
        {"a\xe2\x82\xac\xc3", -EBADMSG},
    };
    static const size_t fields[] = {NAME_OFF, SOFTWARE_OFF};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t f = 0; f < 2; f++) {
            struct coco_hello hello = a_hello(), back;
            uint8_t bytes[COCO_HELLO_SIZE];

            coco_hello_encode(&hello, bytes);
            memset(bytes + fields[f], 0, 4);
            memcpy(bytes + fields[f], cases[i].text, strlen(cases[i].text));
            ck_assert_msg(coco_hello_decode(bytes, sizeof(bytes), &back) == cases[i].result,
                          "case %zu", i);
            if (cases[i].result == 0)
                ck_assert_str_eq(f == 0 ? back.vm_name : back.software, cases[i].text);
        }
    }
}

TEST(hello_bytes_behind_the_nul)
{
    for (size_t i = NAME_OFF + 2; i < COCO_HELLO_SIZE; i++) {
        struct coco_hello hello = a_hello(), back;
        uint8_t bytes[COCO_HELLO_SIZE];

        if (i == SOFTWARE_OFF || i == SOFTWARE_OFF + 1)
            continue;
        coco_hello_encode(&hello, bytes);
        ck_assert_uint_eq(bytes[i], 0);
        bytes[i] = 'x';
        ck_assert_int_eq(coco_hello_decode(bytes, sizeof(bytes), &back), -EBADMSG);
    }
}

TEST(hello_full_fields_have_no_nul)
{
    struct coco_hello hello = a_hello(), back;
    uint8_t bytes[COCO_HELLO_SIZE];

    memset(hello.vm_name, 'n', COCO_NAME_SIZE);
    memset(hello.software, 's', COCO_SOFTWARE_SIZE);
    coco_hello_encode(&hello, bytes);
    ck_assert_uint_eq(bytes[NAME_OFF + COCO_NAME_SIZE - 1], 'n');
    ck_assert_uint_eq(bytes[COCO_HELLO_SIZE - 1], 's');
    ck_assert_int_eq(coco_hello_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_uint_eq(strlen(back.vm_name), COCO_NAME_SIZE);
    ck_assert_uint_eq(strlen(back.software), COCO_SOFTWARE_SIZE);
}

TEST(hello_cuts_behind_a_whole_character)
{
    static const char euro[] = "\xe2\x82\xac";
    struct coco_hello hello = a_hello(), back;
    uint8_t bytes[COCO_HELLO_SIZE];

    /* 62 letters and a character of 3 bytes: 65 bytes, no NUL in the array. */
    memset(hello.vm_name, 'a', 62);
    memcpy(hello.vm_name + 62, euro, 3);
    coco_hello_encode(&hello, bytes);
    ck_assert_int_eq(coco_hello_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_uint_eq(strlen(back.vm_name), 62);

    /* A copy that was cut inside a character. */
    memset(hello.vm_name, 0, sizeof(hello.vm_name));
    memcpy(hello.vm_name, "VM \xe2\x82", 5);
    coco_hello_encode(&hello, bytes);
    ck_assert_int_eq(coco_hello_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_str_eq(back.vm_name, "VM ");

    /* Latin-1 by mistake. */
    memcpy(hello.software, "Z\xfcrich", 7);
    coco_hello_encode(&hello, bytes);
    ck_assert_int_eq(coco_hello_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_str_eq(back.software, "Z");
}

static struct coco_hello_reply a_hello_reply(void)
{
    return (struct coco_hello_reply){.version = 1, .in_flight_max = 64};
}

static int reply_round(const struct coco_hello_reply *reply)
{
    struct coco_hello_reply back;
    uint8_t bytes[COCO_HELLO_REPLY_SIZE];

    coco_hello_reply_encode(reply, bytes);
    return coco_hello_reply_decode(bytes, sizeof(bytes), &back);
}

TEST(hello_reply_limits)
{
    struct coco_hello_reply reply = a_hello_reply();

    ck_assert_int_eq(reply_round(&reply), 0);
    reply.version = 0;
    ck_assert_int_eq(reply_round(&reply), -EBADMSG);
    reply = a_hello_reply();
    reply.in_flight_max = 0;
    ck_assert_int_eq(reply_round(&reply), -EBADMSG);
    reply = a_hello_reply();
    reply.lease_bytes = 4096;
    reply.lease_base = (uint64_t)INT64_MAX - 4096;
    ck_assert_int_eq(reply_round(&reply), 0);
    reply.lease_base++;
    ck_assert_int_eq(reply_round(&reply), -EBADMSG);
    reply.lease_base = UINT64_MAX - 100;
    ck_assert_int_eq(reply_round(&reply), -EBADMSG);
}

TEST(hello_reply_reserved)
{
    struct coco_hello_reply reply = a_hello_reply();
    uint8_t bytes[COCO_HELLO_REPLY_SIZE];

    coco_hello_reply_encode(&reply, bytes);
    bytes[2] = 1;
    ck_assert_int_eq(coco_hello_reply_decode(bytes, sizeof(bytes), &reply), -EBADMSG);
    bytes[2] = 0;
    bytes[3] = 1;
    ck_assert_int_eq(coco_hello_reply_decode(bytes, sizeof(bytes), &reply), -EBADMSG);
}

/* A reply with `table_size` bytes said and `size` bytes of table there. */
static int certs_reply(uint32_t npages, uint32_t table_size, size_t size, uint32_t status)
{
    const struct coco_certs_reply reply = {.generation = 7,
                                           .npages = npages,
                                           .table_size = table_size};
    uint8_t *bytes = calloc(1, COCO_CERTS_REPLY_HEADER + size);

    ck_assert_ptr_nonnull(bytes);
    coco_certs_reply_encode_fixed(&reply, bytes);
    int r = wire_oracle_payload(COCO_CERTS_REPLY, status, bytes, COCO_CERTS_REPLY_HEADER + size);
    free(bytes);
    return r;
}

TEST(certs_reply_with_a_table)
{
    ck_assert_int_eq(certs_reply(1, 24, 24, COCO_OK), 0);
    ck_assert_int_eq(certs_reply(2, 4772, 4772, COCO_OK), 0);
    ck_assert_int_eq(certs_reply(1, 4096, 4096, COCO_OK), 0);
    ck_assert_int_eq(certs_reply(2, 4097, 4097, COCO_OK), 0);
    ck_assert_int_eq(certs_reply(4, 16384, 16384, COCO_OK), 0);
    ck_assert_int_eq(certs_reply(5, 16385, 16385, COCO_OK), -EBADMSG);
    /* npages must be what the table takes. */
    ck_assert_int_eq(certs_reply(0, 24, 24, COCO_OK), -EBADMSG);
    ck_assert_int_eq(certs_reply(2, 4096, 4096, COCO_OK), -EBADMSG);
    ck_assert_int_eq(certs_reply(1, 4097, 4097, COCO_OK), -EBADMSG);
    /* Success without even the empty table. */
    ck_assert_int_eq(certs_reply(0, 0, 0, COCO_OK), -EBADMSG);
    ck_assert_int_eq(certs_reply(1, 23, 23, COCO_OK), -EBADMSG);
    /* The table is shorter or longer than said. */
    ck_assert_int_eq(certs_reply(1, 25, 24, COCO_OK), -EBADMSG);
    ck_assert_int_eq(certs_reply(1, 24, 25, COCO_OK), -EBADMSG);
    ck_assert_int_eq(certs_reply(0, UINT32_MAX, 24, COCO_OK), -EBADMSG);
    ck_assert_int_eq(certs_reply(1u << 20, UINT32_MAX, 24, COCO_OK), -EBADMSG);
}

TEST(certs_reply_without_a_table)
{
    ck_assert_int_eq(certs_reply(2, 0, 0, COCO_ENOSPC), 0);
    ck_assert_int_eq(certs_reply(1, 0, 0, COCO_ENOSPC), 0);
    ck_assert_int_eq(certs_reply(4, 0, 0, COCO_ENOSPC), 0);
    ck_assert_int_eq(certs_reply(5, 0, 0, COCO_ENOSPC), -EBADMSG);
    ck_assert_int_eq(certs_reply(0, 0, 0, COCO_ENOSPC), -EBADMSG);
    ck_assert_int_eq(certs_reply(1, 24, 24, COCO_ENOSPC), -EBADMSG);
    ck_assert_int_eq(certs_reply(2, 0, 1, COCO_ENOSPC), -EBADMSG);
    /* No other status has a payload. */
    ck_assert_int_eq(certs_reply(2, 0, 0, COCO_EIO), -EBADMSG);
    ck_assert_int_eq(certs_reply(1, 24, 24, COCO_EAGAIN), -EBADMSG);
}

TEST(quote_get_limits)
{
    static uint8_t tdreport[COCO_TDREPORT_SIZE] = {0x81};
    struct coco_quote_get get = {.quote_max = 1, .tdreport = tdreport}, back;
    uint8_t bytes[COCO_QUOTE_GET_SIZE];

    coco_quote_get_encode(&get, bytes);
    ck_assert_int_eq(coco_quote_get_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_ptr_eq(back.tdreport, bytes + 8);
    ck_assert_uint_eq(back.quote_max, 1);
    bytes[4] = 1;
    ck_assert_int_eq(coco_quote_get_decode(bytes, sizeof(bytes), &back), -EBADMSG);
    get.quote_max = 0;
    coco_quote_get_encode(&get, bytes);
    ck_assert_int_eq(coco_quote_get_decode(bytes, sizeof(bytes), &back), -EBADMSG);
}

TEST(guest_event_data)
{
    struct coco_guest_event event = {.kind = 99, .ndata = 16}, back;
    uint8_t bytes[COCO_GUEST_EVENT_SIZE];

    for (uint32_t i = 0; i < 16; i++)
        event.data[i] = ~0ull - i;
    coco_guest_event_encode(&event, bytes);
    ck_assert_int_eq(coco_guest_event_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_uint_eq(back.kind, 99); /* KVM may get more kinds */
    ck_assert_int_eq(memcmp(&event, &back, sizeof(event)), 0);

    bytes[4] = 15; /* data[15] is now behind ndata */
    ck_assert_int_eq(coco_guest_event_decode(bytes, sizeof(bytes), &back), -EBADMSG);
    bytes[4] = 17;
    ck_assert_int_eq(coco_guest_event_decode(bytes, sizeof(bytes), &back), -EBADMSG);

    /* The encoder sends no more than there is, and nothing behind ndata. */
    event.ndata = 1000;
    coco_guest_event_encode(&event, bytes);
    ck_assert_int_eq(coco_guest_event_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_uint_eq(back.ndata, 16);
    event.ndata = 2;
    coco_guest_event_encode(&event, bytes);
    ck_assert_int_eq(coco_guest_event_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_uint_eq(back.data[1], ~0ull - 1);
    ck_assert_uint_eq(back.data[2], 0);
}

TEST(notify_events)
{
    struct coco_notify notify = {.event = 77, .generation = 3}, back;
    uint8_t bytes[COCO_NOTIFY_SIZE];

    coco_notify_encode(&notify, bytes);
    ck_assert_int_eq(coco_notify_decode(bytes, sizeof(bytes), &back), 0);
    ck_assert_uint_eq(back.event, 77); /* unknown events are the receiver's to ignore */
    bytes[7] = 1;
    ck_assert_int_eq(coco_notify_decode(bytes, sizeof(bytes), &back), -EBADMSG);
}

/* In memory of its exact size, where ASan and valgrind see a byte too far. */
static int oracle_copy(const struct coco_header *header, const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    ck_assert_ptr_nonnull(copy);
    if (size > 0)
        memcpy(copy, bytes, size);
    int r = header ? wire_oracle_payload(header->type, header->status, copy, size)
                   : wire_oracle_frame(copy, size);
    free(copy);
    return r;
}

/* Every truncation, flip and extension. `header`: of a payload's frame; NULL for a whole frame. The
 * length of every message but a quote is fixed by what is in it, so nothing shorter decodes. */
static void mutate(const struct coco_header *header, const uint8_t *bytes, size_t size)
{
    bool any_length = header && header->type == COCO_QUOTE_REPLY;
    uint8_t *copy = calloc(1, size + 1);

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, size);
    ck_assert_int_eq(oracle_copy(header, copy, size), 0);
    for (size_t n = 0; n < size; n++)
        ck_assert_int_eq(oracle_copy(header, copy, n), any_length ? 0 : -EBADMSG);
    ck_assert_int_eq(oracle_copy(header, copy, size + 1), any_length ? 0 : -EBADMSG);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        oracle_copy(header, copy, size);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(copy);
}

TEST(golden_messages_mutated)
{
    glob_t files;

    ck_assert_int_eq(glob("tests/golden/v1/*.hex", 0, NULL, &files), 0);
    ck_assert_uint_ge(files.gl_pathc, 13);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct coco_header header;
        size_t size;
        uint8_t *frame = test_read_hex(files.gl_pathv[i], &size);

        ck_assert_uint_ge(size, COCO_HEADER_SIZE);
        ck_assert_int_eq(coco_header_decode(frame, &header), 0);
        mutate(NULL, frame, size);
        if (header.length > 0)
            mutate(&header, frame + COCO_HEADER_SIZE, size - COCO_HEADER_SIZE);
        free(frame);
    }
    globfree(&files);
}
