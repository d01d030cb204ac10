/* SPDX-License-Identifier: MIT */
#include "rotate_rig.h"
#include "support.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

char table_path[300];
const char *table_reply, *holders;
int lease_fd;
atomic_bool release_when_asked, close_at_begin, close_at_end, busy, ended;
atomic_int lock_at_end;
atomic_uint answers_as;

int lock_seen(off_t byte)
{
    int fd = open(table_path, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
    close(fd);
    return lock.l_type;
}

void take_lease(short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = LEASE_BYTE, .l_len = 1};

    lease_fd = open(table_path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(fcntl(lease_fd, F_OFD_SETLK, &lock), 0);
}

void drop_lease(void)
{
    if (lease_fd >= 0)
        close(lease_fd);
    lease_fd = -1;
}

static char *answer(const char *method, struct json_object *parameters)
{
    (void)parameters;
    /* The system call, not libc's function: for this thread alone. */
    if (geteuid() == 0)
        (void)syscall(SYS_setresuid, answers_as, -1, -1);
    if (strcmp(method, "BeginUpdate") == 0) {
        if (close_at_begin)
            return NULL;
        if (busy)
            return rig_say("{\"error\":\"io.cocod.Admin.Busy\","
                           "\"parameters\":{\"reason\":\"night\\u001bly\"}}");
        return rig_say(
            "{\"parameters\":{\"tableFile\":\"%s\",\"generation\":\"0000000000000001\"}}",
            table_reply);
    }
    if (strcmp(method, "LeaseHolders") == 0) {
        if (release_when_asked)
            drop_lease();
        return rig_say("{\"parameters\":{\"holders\":[%s]}}", holders);
    }
    if (strcmp(method, "EndUpdate") == 0) {
        lock_at_end = lock_seen(0);
        if (close_at_end)
            return NULL;
        if (ended)
            return rig_say("{\"error\":\"io.cocod.Admin.NotUpdating\",\"parameters\":{}}");
        if (lock_at_end == F_WRLCK)
            return rig_say("{\"error\":\"io.cocod.Admin.TryAgain\",\"parameters\":{\"reason\":"
                           "\"locked\"}}");
        return rig_say("{\"parameters\":{\"state\":\"serving\",\"key\":\"Milan/VCEK/00/3.0.8.115\","
                       "\"tableBytes\":4772}}");
    }
    if (strcmp(method, "GetStatus") == 0)
        return rig_say(
            "{\"parameters\":{\"state\":\"serving\",\"certificates\":{\"tableBytes\":24}}}");
    if (strcmp(method, "GetChain") == 0)
        return rig_say("{\"error\":\"io.cocod.Admin.NoSuchChain\",\"parameters\":{\"key\":\"\"}}");
    if (strcmp(method, "Diagnose") == 0)
        return rig_say("{\"parameters\":{\"checks\":[],\"tableFile\":\"%s\"}}", table_reply);
    return rig_say("{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{}}");
}

void rotate_setup(void)
{
    static uint8_t table[500];

    rig_open(answer);
    /* A certificate table of one entry, whose GUID and bytes are all 7. */
    memset(table, 7, sizeof(table));
    memset(table + 16, 0, 32);
    table[16] = 48;
    table[20] = (uint8_t)(sizeof(table) - 48);
    table[21] = (sizeof(table) - 48) >> 8;
    (void)snprintf(table_path, sizeof(table_path), "%s", rig_path("table"));
    test_write_file(table_path, table, sizeof(table));
    table_reply = table_path;
    lease_fd = -1;
    answers_as = 0;
    release_when_asked = close_at_begin = close_at_end = busy = ended = false;
    lock_at_end = -1;
    holders = "{\"vm\":\"db-7\\u001b[1m\",\"uuid\":\"6c1f\",\"pid\":4711,\"uid\":64055,\"vcpu\":3,"
              "\"start\":1048576,\"length\":1,\"sinceMs\":1234}";
    ck_assert_int_eq(mkfifo(rig_path("up"), 0600), 0);
    ck_assert_int_eq(mkfifo(rig_path("down"), 0600), 0);
}

void rotate_teardown(void)
{
    drop_lease();
    rig_close();
}

bool table_is_untouched(void)
{
    size_t size;
    uint8_t *bytes = test_read_file(table_path, &size);
    bool same = size == 500 && bytes[0] == 7 && bytes[499] == 7;

    free(bytes);
    return same;
}

bool is_empty_table(const char *path)
{
    static const uint8_t zeros[24];
    size_t size;
    uint8_t *bytes = test_read_file(path, &size);
    bool empty = size == sizeof(zeros) && memcmp(bytes, zeros, size) == 0;

    free(bytes);
    return empty;
}
