/* SPDX-License-Identifier: MIT */
/*
 * The table file: what a reader finds after a crash at any step of rewriting, who is in the way of
 * the lock, and what kinds of files are taken.
 */
#include "table_file_fixture.h"

FIXTURE(.setup = setup, .teardown = teardown, .timeout_s = 60);

/* --- opening --------------------------------------------------------------------------------- */

TEST(the_file_is_made_with_its_mode_whatever_the_umask)
{
    struct stat st;

    table_file_close(&file);
    ck_assert_int_eq(unlink(path), 0);
    mode_t mask = umask(0077);
    ck_assert_int_eq(table_file_open(&file, &options), 0);
    umask(mask);
    ck_assert_int_eq(fstat(file.fd, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0644);
    ck_assert_uint_eq(st.st_size, 0);
    ck_assert_int_ne(fcntl(file.fd, F_GETFD) & FD_CLOEXEC, 0);
}

TEST(an_older_file_is_taken_over_with_its_inode)
{
    struct stat before, after;

    table_file_close(&file);
    test_write_file(path, "old", 3);
    ck_assert_int_eq(chmod(path, 0666), 0);
    ck_assert_int_eq(stat(path, &before), 0);
    ck_assert_int_eq(table_file_open(&file, &options), 0);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
    ck_assert_uint_eq(after.st_mode & 07777, 0644); /* who may write could lock guests out */
    ck_assert_uint_eq(after.st_size, 3);            /* its content stays until it is rewritten */
    if (getuid() == 0) {
        table_file_close(&file);
        options.group = 12345;
        ck_assert_int_eq(table_file_open(&file, &options), 0);
        ck_assert_int_eq(stat(path, &after), 0);
        ck_assert_uint_eq(after.st_gid, 12345);
    }
}

TEST(what_is_no_file_is_refused)
{
    char name[160], target[160];
    struct table_file other = {.fd = 77};
    struct table_file_options bad = {.path = name, .mode = 0644, .group = (gid_t)-1};
    struct stat st;

    snprintf(name, sizeof(name), "%s.link", path);
    ck_assert_int_eq(symlink(path, name), 0);
    ck_assert_int_eq(table_file_open(&other, &bad), -ELOOP);
    ck_assert_int_eq(other.fd, -1);
    snprintf(target, sizeof(target), "%s.nothing", path); /* a link that would make a file */
    ck_assert_int_eq(unlink(name), 0);
    ck_assert_int_eq(symlink(target, name), 0);
    ck_assert_int_eq(table_file_open(&other, &bad), -ELOOP);
    ck_assert_int_eq(stat(target, &st), -1);
    snprintf(name, sizeof(name), "%s.fifo", path);
    ck_assert_int_eq(mkfifo(name, 0600), 0);
    ck_assert_int_eq(table_file_open(&other, &bad), -EINVAL); /* and nobody waits */
    snprintf(name, sizeof(name), "%s.dir", path);
    ck_assert_int_eq(mkdir(name, 0700), 0);
    ck_assert_int_eq(table_file_open(&other, &bad), -EISDIR);
    snprintf(name, sizeof(name), "%s.none/table", path);
    ck_assert_int_eq(table_file_open(&other, &bad), -ENOENT);
    snprintf(name, sizeof(name), "/dev/null");
    ck_assert_int_eq(table_file_open(&other, &bad), -EINVAL);
    ck_assert_int_eq(other.fd, -1);
}

/* --- writing --------------------------------------------------------------------------------- */

static void check_file(const uint8_t *want, size_t size)
{
    size_t got_size;
    uint8_t *got = test_read_file(path, &got_size);

    ck_assert_uint_eq(got_size, size);
    ck_assert_mem_eq(got, want, size);
    free(got);
}

TEST(the_file_is_rewritten_in_place)
{
    static const uint8_t empty[COCO_SNP_EMPTY_TABLE_SIZE];
    size_t size[3];
    uint8_t *tables[3] = {make_table(0x11, 100, &size[0]), make_table(0x22, 4000, &size[1]),
                          make_table(0x33, 50, &size[2])};
    struct stat before, after;

    ck_assert_int_eq(stat(path, &before), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(table_file_write(&file, tables[i], size[i]), 0);
        check_file(tables[i], size[i]);
    }
    ck_assert_int_eq(table_file_write(&file, empty, sizeof(empty)), 0);
    check_file(empty, sizeof(empty));
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
    ck_assert_int_eq(table_file_write(&file, tables[0], COCO_SNP_ENTRY_SIZE - 1), -EINVAL);
    check_file(empty, sizeof(empty));
    for (int i = 0; i < 3; i++)
        free(tables[i]);
}

/* A crash: from the n-th call on nothing reaches the file. The n-th itself may be torn, after
 * `torn` bytes. First entries are 24 bytes of one page, written by one call: never torn. */
static long calls_left;
static size_t torn, longest_write;

static ssize_t crashing_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    if (calls_left-- > 0) {
        /* A long write is taken in pieces, so that there are more places to crash at. */
        if (size > longest_write)
            size = longest_write;
        return sys_real.pwrite(fd, buf, size, offset);
    }
    if (calls_left == -1 && torn > 0 && size > torn && size > COCO_SNP_ENTRY_SIZE)
        ck_assert_int_eq(sys_real.pwrite(fd, buf, torn, offset), (ssize_t)torn);
    errno = EIO;
    return -1;
}

static int crashing_ftruncate(int fd, off_t size)
{
    if (calls_left-- > 0)
        return sys_real.ftruncate(fd, size);
    errno = EIO;
    return -1;
}

enum seen {
    SEEN_OLD,
    SEEN_EMPTY,
    SEEN_NEW,
};

static enum seen look(const uint8_t *old, size_t old_size, const uint8_t *new, size_t new_size)
{
    struct coco_snp_table table;
    size_t size;
    uint8_t *got = test_read_file(path, &size);
    enum seen seen = SEEN_EMPTY;

    if (size >= COCO_SNP_EMPTY_TABLE_SIZE) { /* a shorter file counts as the empty table */
        ck_assert_int_eq(coco_snp_table_decode(got, size, &table), 0);
        if (table.n_entries > 0) {
            if (table.size == new_size && memcmp(got, new, new_size) == 0)
                seen = SEEN_NEW;
            else if (table.size == old_size && memcmp(got, old, old_size) == 0)
                seen = SEEN_OLD;
            else
                ck_abort_msg("a mixture of two tables");
        }
    }
    free(got);
    return seen;
}

/* Longer to shorter and shorter to longer; whatever the file held. */
TEST_LOOP(a_crash_at_any_step_leaves_old_new_or_empty, 0, 4)
{
    size_t old_size, new_size;
    uint8_t *old = make_table(0x11, _i % 2 ? 3000 : 100, &old_size);
    uint8_t *new = make_table(0x22, _i % 2 ? 100 : 3000, &new_size);
    enum seen last = SEEN_OLD;
    unsigned count[3] = {0};

    torn = _i < 2 ? 0 : 700;
    longest_write = _i < 2 ? 512 : 100000;
    for (long n = 0; last != SEEN_NEW; n++) {
        ck_assert_int_lt(n, 100);
        sys = sys_real;
        ck_assert_int_eq(table_file_write(&file, old, old_size), 0);
        sys.pwrite = crashing_pwrite;
        sys.ftruncate = crashing_ftruncate;
        calls_left = n;
        int r = table_file_write(&file, new, new_size);
        enum seen seen = look(old, old_size, new, new_size);
        ck_assert_int_eq(r, seen == SEEN_NEW ? 0 : -EIO);
        ck_assert_int_ge(seen, last); /* old, then empty, then new: never back */
        last = seen;
        count[seen]++;
    }
    ck_assert_uint_eq(count[SEEN_OLD], 1); /* only where not a byte could be written */
    ck_assert_uint_ge(count[SEEN_EMPTY], 3);
    /* And whoever comes next can write it again. */
    sys = sys_real;
    ck_assert_int_eq(table_file_write(&file, old, old_size), 0);
    check_file(old, old_size);
    free(old);
    free(new);
}

static unsigned n_pwrites;

static ssize_t odd_pwrite(int fd, const void *buf, size_t size, off_t offset)
{
    switch (n_pwrites++ % 3) {
    case 0:
        errno = EINTR;
        return -1;
    case 1:
        return sys_real.pwrite(fd, buf, size > 7 ? 7 : size, offset);
    default:
        return sys_real.pwrite(fd, buf, size, offset);
    }
}

TEST(short_and_interrupted_writes_are_continued)
{
    size_t size;
    uint8_t *table = make_table(0x44, 1000, &size);

    sys.pwrite = odd_pwrite;
    ck_assert_int_eq(table_file_write(&file, table, size), 0);
    check_file(table, size);
    free(table);
}

static ssize_t no_room(int fd, const void *buf, size_t size, off_t offset)
{
    (void)fd;
    (void)buf;
    (void)size;
    (void)offset;
    return 0;
}

TEST(a_write_that_takes_nothing_ends)
{
    size_t size;
    uint8_t *table = make_table(0x44, 1000, &size);

    sys.pwrite = no_room;
    ck_assert_int_eq(table_file_write(&file, table, size), -EIO);
    free(table);
}

/* --- the lock -------------------------------------------------------------------------------- */

/* Another process that holds a lock on some bytes until it is told to go. */
struct holder {
    pid_t pid;
    int channel;
};

static struct holder hold(short type, off_t first, off_t length)
{
    int ends[2];
    char byte;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int fd = open(path, type == F_RDLCK ? O_RDONLY : O_RDWR);
        table_file_close(&file); /* inherited: it must not keep a lock of the parent alive */
        close(ends[0]);
        byte = fd >= 0 && rig_lock(fd, type, (uint64_t)first, (uint64_t)length) == 0 ? 'y' : 'n';
        if (write(ends[1], &byte, 1) != 1)
            _exit(1);
        if (read(ends[1], &byte, 1) < 0)
            _exit(2);
        _exit(0);
    }
    close(ends[1]);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 'y');
    return (struct holder){pid, ends[0]};
}

static void let_go(struct holder holder)
{
    int status;

    close(holder.channel);
    ck_assert_int_eq(waitpid(holder.pid, &status, 0), holder.pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(the_lock_is_free_where_nobody_holds_it)
{
    ck_assert_int_eq(table_file_lock(&file, NULL), TABLE_LOCKED);
    ck_assert_int_eq(table_file_lock(&file, NULL), TABLE_LOCKED); /* one's own is no obstacle */
    struct table_file other = {.fd = -1};
    ck_assert_int_eq(table_file_open(&other, &options), 0);
    ck_assert_int_eq(table_file_lock(&other, NULL), TABLE_UPDATER);
    table_file_unlock(&file);
    ck_assert_int_eq(table_file_lock(&other, NULL), TABLE_LOCKED);
    table_file_close(&other);
    ck_assert_int_eq(table_file_lock(&file, NULL), TABLE_LOCKED);
    table_file_unlock(&file);
}

/* A vCPU's byte, far behind the end of the file; a reader of the whole file; a byte in a table. */
TEST_LOOP(readers_stand_in_the_way, 0, 5)
{
    static const struct {
        off_t first, length;
    } leases[] = {
        {COCO_LEASE_BASE_MIN, 1}, {((off_t)1 << 62) + 12345, 1}, {INT64_MAX, 1}, {0, 0}, {100, 1}};
    uint64_t byte = 1;
    struct holder holder = hold(F_RDLCK, leases[_i].first, leases[_i].length);

    ck_assert_int_eq(table_file_lock(&file, &byte), TABLE_READERS);
    ck_assert_uint_eq(byte, (uint64_t)leases[_i].first);
    ck_assert_int_eq(table_file_lock(&file, NULL), TABLE_READERS);
    let_go(holder); /* the lease dies with its process */
    ck_assert_int_eq(table_file_lock(&file, &byte), TABLE_LOCKED);
    table_file_unlock(&file);
}

TEST(an_updater_stands_in_the_way)
{
    uint64_t byte = 1;
    struct holder holder = hold(F_WRLCK, 0, 0);

    ck_assert_int_eq(table_file_lock(&file, &byte), TABLE_UPDATER);
    ck_assert_uint_eq(byte, 0);
    let_go(holder);
    ck_assert_int_eq(table_file_lock(&file, NULL), TABLE_LOCKED);
    table_file_unlock(&file);
}

static int left_meanwhile(int fd, int cmd, struct flock *lock)
{
    (void)fd;
    if (cmd == F_OFD_SETLK) {
        errno = EAGAIN;
        return -1;
    }
    lock->l_type = F_UNLCK;
    return 0;
}

static int broken_lock(int fd, int cmd, struct flock *lock)
{
    (void)fd;
    (void)lock;
    errno = cmd == F_OFD_SETLK ? ENOLCK : EINVAL;
    return -1;
}

TEST(a_lock_that_cannot_be_had_at_all)
{
    sys.ofd_lock = left_meanwhile; /* who was in the way has just left: try again */
    ck_assert_int_eq(table_file_lock(&file, NULL), TABLE_READERS);
    sys.ofd_lock = broken_lock;
    ck_assert_int_eq(table_file_lock(&file, NULL), TABLE_LOCK_FAILED);
    ck_assert_int_eq(errno, ENOLCK);
}

/* --- the mark --------------------------------------------------------------------------------- */

static const uint8_t zeros[COCO_SNP_EMPTY_TABLE_SIZE];

static void write_table(void)
{
    size_t size;
    uint8_t *table = make_table(5, 1000, &size);

    ck_assert_int_eq(table_file_write(&file, table, size), 0);
    free(table);
}

static void by_rewriting(void)
{
    ck_assert_int_eq(pwrite(file.fd, zeros, sizeof(zeros), 0), sizeof(zeros));
    ck_assert_int_eq(ftruncate(file.fd, sizeof(zeros)), 0);
}

static void by_truncating(void)
{
    ck_assert_int_eq(ftruncate(file.fd, 0), 0);
}

static void by_cocods_own_hand(void)
{
    ck_assert_int_eq(table_file_write(&file, zeros, sizeof(zeros)), 0);
}

static void (*const emptyings[])(void) = {by_rewriting, by_truncating, by_cocods_own_hand};

/* PROTOCOL.md "Rewriting the file": to a reader a marked file is the empty table; and each way of
 * making it that again shows. */
TEST_LOOP(a_marked_file_reads_as_the_empty_table_until_it_is_emptied_again, 0, 3)
{
    struct coco_snp_table table;
    size_t size;

    write_table();
    ck_assert(!table_file_emptied(&file));
    emptyings[_i]();
    ck_assert(table_file_emptied(&file));
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(table_file_mark(&file), 0);
        ck_assert(!table_file_emptied(&file));
        uint8_t *bytes = test_read_file(path, &size);
        ck_assert_uint_eq(size, sizeof(zeros) + TABLE_MARK_SIZE);
        ck_assert_mem_eq(bytes, zeros, sizeof(zeros));
        ck_assert_int_eq(coco_snp_table_decode(bytes, size, &table), 0);
        ck_assert_uint_eq(table.n_entries, 0);
        free(bytes);
        emptyings[_i]();
        ck_assert(table_file_emptied(&file));
    }
    write_table();
    ck_assert(!table_file_emptied(&file));
}

/* That of a cocod that ran before says nothing to the next one. */
TEST(a_mark_is_known_by_who_wrote_it)
{
    struct table_file next;

    ck_assert_int_eq(table_file_mark(&file), 0);
    ck_assert(!table_file_emptied(&file));
    ck_assert_int_eq(table_file_open(&next, &options), 0);
    ck_assert(table_file_emptied(&next));
    ck_assert_int_eq(table_file_mark(&next), 0);
    ck_assert(!table_file_emptied(&next));
    ck_assert(table_file_emptied(&file));
    table_file_close(&next);
}

/* A table in the file tells as much, and readers read it. */
TEST(a_table_is_not_marked)
{
    size_t size, after;

    write_table();
    uint8_t *before = test_read_file(path, &size);
    ck_assert_int_eq(table_file_mark(&file), 0);
    uint8_t *bytes = test_read_file(path, &after);
    ck_assert_uint_eq(after, size);
    ck_assert_mem_eq(bytes, before, size);
    free(before);
    free(bytes);
}

static int n_lock_calls;

static int count_locks(int fd, int cmd, struct flock *lock)
{
    n_lock_calls++;
    return sys_real.ofd_lock(fd, cmd, lock);
}

/* An updater who goes around leases, as --force does, is one to be seen, wherever his lock is. */
TEST(whoever_has_a_write_lock_is_found_beside_leases)
{
    static const struct {
        uint64_t start, length;
    } ranges[] = {{0, 1}, {0, COCO_LEASE_BASE_MIN}, {(uint64_t)1 << 50, 1}, {5000, 10}};
    int lease = open(path, O_RDONLY | O_CLOEXEC), updater = open(path, O_RDWR | O_CLOEXEC);

    ck_assert(!table_file_taken(&file) && !table_file_updater(&file));
    ck_assert_int_eq(rig_lock(lease, F_RDLCK, 1 << 30, 1), 0);
    ck_assert(!table_file_taken(&file) && !table_file_updater(&file));
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        ck_assert_int_eq(rig_lock(updater, F_WRLCK, ranges[i].start, ranges[i].length), 0);
        ck_assert(table_file_updater(&file));
        ck_assert_int_eq(rig_lock(updater, F_UNLCK, 0, 0), 0);
        ck_assert(!table_file_updater(&file));
    }
    close(lease);
    ck_assert_int_eq(rig_lock(updater, F_WRLCK, 0, 0), 0);
    sys.ofd_lock = count_locks;
    n_lock_calls = 0;
    ck_assert(table_file_taken(&file));
    ck_assert_int_eq(n_lock_calls, 1);
    ck_assert(table_file_updater(&file));
    close(updater);
}
