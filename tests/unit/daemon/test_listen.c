/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets: what a name in the way is, who owns what, and what is taken from systemd.
 */
#include "config/config.h"
#include "peer/listener.h"
#include "rig.h"
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static char path[108];

static void setup(void)
{
    snprintf(path, sizeof(path), "%s/s", rig_tmpdir());
}

static struct sockaddr_un address_of(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
    return address;
}

static int try_connect(const char *name)
{
    struct sockaddr_un address = address_of(name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

static int bind_only(const char *name, int type)
{
    struct sockaddr_un address = address_of(name);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static pid_t listener_of(int client)
{
    struct ucred cred;
    socklen_t size = sizeof(cred);

    ck_assert_int_eq(getsockopt(client, SOL_SOCKET, SO_PEERCRED, &cred, &size), 0);
    return cred.pid;
}

static int listens(const char *name, mode_t mode, gid_t group)
{
    const int fd = listen_unix(name, mode, group);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static int connects(void)
{
    const int fd = try_connect(path);

    ck_assert_int_ge(fd, 0);
    return fd;
}

FIXTURE(.setup = setup, .timeout_s = 60);

/* --- sockets of one's own -------------------------------------------------------------------- */

TEST(listens_without_blocking_and_closed_on_exec)
{
    int fd = listens(path, 0600, (gid_t)-1);

    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(accept(fd, NULL, NULL), -1);
    ck_assert_int_eq(errno, EAGAIN);
    int client = connects();
    ck_assert_int_eq(listener_of(client), getpid());
    close(client);
    close(fd);
}

TEST(mode_and_group_are_as_asked_whatever_the_umask)
{
    struct stat st;
    mode_t mask = umask(0077);
    int fd = listens(path, 0660, getgid());

    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0660);
    ck_assert_uint_eq(st.st_gid, getgid());
    ck_assert_uint_eq(umask(mask), 0077); /* it is given back */
    close(fd);
    if (getuid() == 0) { /* any group may be given */
        fd = listens(path, 0666, 12345);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq(st.st_gid, 12345);
        ck_assert_uint_eq(st.st_mode & 07777, 0666);
        close(fd);
    }
}

TEST(a_dead_process_s_socket_is_replaced)
{
    int dead = listens(path, 0600, (gid_t)-1);
    struct stat before, after;

    ck_assert_int_eq(stat(path, &before), 0);
    close(dead);
    ck_assert_int_eq(try_connect(path), -ECONNREFUSED);
    int fd = listens(path, 0600, (gid_t)-1);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert(S_ISSOCK(after.st_mode));
    int client = connects();
    close(client);
    close(fd);
}

TEST(a_socket_that_somebody_serves_is_not_stolen)
{
    int first = listens(path, 0600, (gid_t)-1);
    struct stat before, after;

    ck_assert_int_eq(stat(path, &before), 0);
    ck_assert_int_eq(listen_unix(path, 0600, (gid_t)-1), -EADDRINUSE);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
    int client = connects();
    close(client);
    close(first);
}

TEST(a_server_with_a_full_backlog_is_not_stolen_from)
{
    int busy = bind_only(path, SOCK_STREAM);
    int clients[8];
    struct sockaddr_un address = address_of(path);

    ck_assert_int_eq(listen(busy, 0), 0);
    for (int i = 0; i < 8; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        ck_assert_int_ge(clients[i], 0);
        int r = connect(clients[i], (const struct sockaddr *)&address, sizeof(address));
        ck_assert(r == 0 || errno == EAGAIN);
    }
    ck_assert_int_eq(listen_unix(path, 0600, (gid_t)-1), -EADDRINUSE);
    for (int i = 0; i < 8; i++)
        close(clients[i]);
    close(busy);
}

/* connect() to a file says ECONNREFUSED, as to a dead process's socket. */
TEST(a_file_in_the_way_is_never_deleted)
{
    struct stat st;

    test_write_file(path, "precious", 8);
    ck_assert_int_eq(listen_unix(path, 0600, (gid_t)-1), -EEXIST);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
    ck_assert_int_eq(st.st_size, 8);
}

TEST(a_link_in_the_way_is_never_followed_or_deleted)
{
    char target[128];
    struct stat st;

    snprintf(target, sizeof(target), "%s.target", path);
    int dead = listens(target, 0600, (gid_t)-1);
    close(dead);
    ck_assert_int_eq(symlink(target, path), 0);
    ck_assert_int_eq(listen_unix(path, 0600, (gid_t)-1), -EEXIST);
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(stat(target, &st), 0);
}

TEST(a_path_must_fit_and_its_folder_exist)
{
    char longest[108], longer[109], orphan[128];
    int base = snprintf(longest, sizeof(longest), "%s/", path);

    longest[base - 1] = 'x';
    memset(longest + base, 'y', sizeof(longest) - 1 - (size_t)base);
    longest[sizeof(longest) - 1] = 0;
    memset(longer, 'y', sizeof(longer) - 1);
    memcpy(longer, longest, sizeof(longest) - 1);
    longer[sizeof(longer) - 1] = 0;
    ck_assert_uint_eq(strlen(longest), 107);
    ck_assert_int_eq(listen_unix(longer, 0600, (gid_t)-1), -ENAMETOOLONG);
    int fd = listens(longest, 0600, (gid_t)-1);
    close(fd);
    snprintf(orphan, sizeof(orphan), "%s.none/s", path);
    ck_assert_int_eq(listen_unix(orphan, 0600, (gid_t)-1), -ENOENT);
}

/* --- inherited sockets ----------------------------------------------------------------------- */

/* What systemd does: a blocking socket, bound and listened to by another process, without
 * FD_CLOEXEC here. */
static pid_t socket_of_another(int *ret_fd)
{
    int channel[2], status;
    char byte;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, channel), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct sockaddr_un address = address_of(path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(fd, 16) < 0)
            _exit(2);
        if (!rig_send_fd(channel[1], "f", 1, fd))
            _exit(3);
        _exit(0);
    }
    ck_assert_int_eq(rig_receive_fd(channel[0], &byte, 1, 0, ret_fd), 1);
    ck_assert_int_ge(*ret_fd, 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(channel[0]);
    close(channel[1]);
    return pid;
}

TEST(an_inherited_socket_shows_this_process_afterwards)
{
    int fd;
    pid_t other = socket_of_another(&fd);
    int before = connects();
    ck_assert_int_eq(listener_of(before), other);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_eq(listen_inherited(fd, AF_UNIX), 0);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    int after = connects();
    ck_assert_int_eq(listener_of(after), getpid());
    /* Who connected before is not lost. */
    for (int i = 0; i < 2; i++) {
        int accepted = accept(fd, NULL, NULL);
        ck_assert_int_ge(accepted, 0);
        close(accepted);
    }
    ck_assert_int_eq(accept(fd, NULL, NULL), -1);
    ck_assert_int_eq(errno, EAGAIN);
    close(before);
    close(after);
    close(fd);
}

TEST(what_is_no_listening_unix_stream_socket_is_refused)
{
    int pair[2];
    int inet = socket(AF_INET, SOCK_STREAM, 0);
    int datagram = bind_only(path, SOCK_DGRAM);
    int null = open("/dev/null", O_RDONLY);

    if (inet >= 0) {
        ck_assert_int_eq(listen_inherited(inet, AF_UNIX), -EAFNOSUPPORT);
        close(inet);
    }
    ck_assert_int_eq(listen_inherited(datagram, AF_UNIX), -EPROTOTYPE);
    ck_assert_int_eq(listen_inherited(null, AF_UNIX), -ENOTSOCK);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(listen_inherited(pair[0], AF_UNIX), -EINVAL); /* connected */
    close(pair[0]);
    close(pair[1]);
    close(datagram);
    close(null);
    ck_assert_int_eq(listen_inherited(null, AF_UNIX), -EBADF);
}

/* --- groups ---------------------------------------------------------------------------------- */

TEST(groups_by_name_and_number)
{
    gid_t gid = 7;

    ck_assert_int_eq(config_find_group("", &gid), 0);
    ck_assert_uint_eq(gid, (gid_t)-1);
    ck_assert_int_eq(config_find_group("0", &gid), 0);
    ck_assert_uint_eq(gid, 0);
    ck_assert_int_eq(config_find_group("root", &gid), 0);
    ck_assert_uint_eq(gid, 0);
    ck_assert_int_eq(config_find_group("4711", &gid), 0);
    ck_assert_uint_eq(gid, 4711);
    ck_assert_int_eq(config_find_group("no-such-group-here", &gid), -ENOENT);
    ck_assert_int_eq(config_find_group("4294967295", &gid), -ENOENT); /* (gid_t)-1 is no group */
    ck_assert_int_eq(config_find_group("99999999999999999999", &gid), -ENOENT);
    ck_assert_int_eq(config_find_group("12x", &gid), -ENOENT);
}
