/* SPDX-License-Identifier: MIT */
/*
 * See attack.h.
 */
#include "attack.h"
#include "local_socket.h"
#include "wire.h"
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

bool attack_possible(void)
{
    if (geteuid() == 0)
        return true;
    printf("SKIP: only root can be other users\n");
    return false;
}

void attack_start(struct host *host, const char *text)
{
    char all[8192];

    host_open(host);
    snprintf(all, sizeof(all), "%s[rpc]\nmode = 0666\n[admin]\nmode = 0666\n%s",
             host_make_chain(host, "chain"), text);
    attack_serve(host, all);
}

void attack_serve(struct host *host, const char *text)
{
    host_configure(host, "%s", text);
    ck_assert_int_eq(chmod(host->dir, 0711), 0);
    ck_assert_int_eq(chown(host->dir, ATTACK_COCOD, ATTACK_COCOD), 0);
    attack_restart(host);
}

void attack_restart(struct host *host)
{
    const char *argv[] = {"/usr/bin/setpriv",
                          "--reuid=64990",
                          "--regid=64990",
                          "--clear-groups",
                          "--pdeathsig",
                          "KILL",
                          NULL,
                          "--config",
                          host->config,
                          NULL};
    struct process_options options = {.argv = argv,
                                      .dir = host->dir,
                                      .name = "cocod",
                                      .no_notify = true};

    argv[6] = process_built("cocod");
    process_start(&host->cocod, &options);
    for (int i = 0; i < 2000; i++) { /* its sd_notify, another user's, would not arrive */
        int fd = unix_connect(host->rpc, 0);
        bool ready = fd >= 0 && attack_hello(fd, 0, false) == 0;
        if (fd >= 0)
            close(fd);
        if (ready)
            return;
        usleep(10000);
    }
    ck_abort_msg("it is not ready: %s", process_log(&host->cocod));
}

static void be(uid_t uid)
{
    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        _exit(1);
}

void attack_begin(struct attacker *attacker, uid_t uid, uint32_t (*run)(const struct host *host),
                  const struct host *host)
{
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    fflush(NULL);
    attacker->pid = fork();
    ck_assert_int_ge(attacker->pid, 0);
    if (attacker->pid == 0) {
        close(fds[0]);
        be(uid);
        uint32_t result = run(host);
        if (write(fds[1], &result, sizeof(result)) != sizeof(result))
            _exit(1);
        for (;;)
            pause();
    }
    close(fds[1]);
    attacker->fd = fds[0];
}

uint32_t attack_report(struct attacker *attacker)
{
    struct pollfd pollfd = {.fd = attacker->fd, .events = POLLIN};
    uint32_t result = 0;

    ck_assert_int_eq(poll(&pollfd, 1, 120000), 1);
    ck_assert_int_eq(read(attacker->fd, &result, sizeof(result)), sizeof(result));
    return result;
}

void attack_end(struct attacker *attacker)
{
    kill(attacker->pid, SIGKILL);
    waitpid(attacker->pid, NULL, 0);
    close(attacker->fd);
}

uint32_t attack_as(uid_t uid, uint32_t (*run)(const struct host *host), const struct host *host)
{
    struct attacker attacker;

    attack_begin(&attacker, uid, run, host);
    uint32_t result = attack_report(&attacker);
    attack_end(&attacker);
    return result;
}

static bool send_frame(int fd, uint16_t type, uint64_t id, const void *payload, uint32_t size)
{
    const struct coco_header header = {.type = type, .length = size, .id = id};
    uint8_t frame[COCO_HEADER_SIZE + COCO_REQUEST_MAX];

    coco_header_encode(&header, frame);
    if (size > 0)
        memcpy(frame + COCO_HEADER_SIZE, payload, size);
    return send(fd, frame, COCO_HEADER_SIZE + size, MSG_NOSIGNAL) ==
           (ssize_t)(COCO_HEADER_SIZE + size);
}

static bool readable(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};

    return poll(&pollfd, 1, 5000) == 1;
}

int attack_hello(int fd, uint32_t features, bool leave)
{
    struct coco_hello hello = {.version_min = 1, .version_max = 1, .features = features};
    uint8_t payload[COCO_HELLO_SIZE], reply[COCO_HEADER_SIZE + COCO_HELLO_REPLY_SIZE];
    struct coco_header header;

    coco_hello_encode(&hello, payload);
    if (!send_frame(fd, COCO_HELLO, 1, payload, sizeof(payload)) || !readable(fd))
        return -1;
    ssize_t n = recv(fd, reply, sizeof(reply), leave ? MSG_PEEK : 0);
    if (n < (ssize_t)COCO_HEADER_SIZE || coco_header_decode(reply, &header) < 0)
        return -1;
    return (int)header.status;
}

bool attack_ping(int fd)
{
    uint8_t reply[COCO_HEADER_SIZE];
    struct coco_header header;

    return send_frame(fd, COCO_PING, 7, NULL, 0) && readable(fd) &&
           recv(fd, reply, sizeof(reply), 0) == (ssize_t)sizeof(reply) &&
           coco_header_decode(reply, &header) == 0 && header.type == COCO_PING + 1 &&
           header.id == 7 && header.status == 0;
}
