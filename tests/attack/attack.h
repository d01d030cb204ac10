/* SPDX-License-Identifier: MIT */
/*
 * What the attacks share: a cocod of a user of its own, and processes of other real users (root's
 * to make) that do something to it and keep what they have.
 */
#pragma once

#include "integration/host.h"

#define ATTACK_COCOD 64990u /* uids that nobody has */
#define ATTACK_A     64991u
#define ATTACK_B     64992u

/* False: not root, which is said. */
bool attack_possible(void);
/* cocod as ATTACK_COCOD, with a chain, open sockets and default limits; `text`: more sections. */
void attack_start(struct host *host, const char *text);
/* The same on an open host, with a configuration as host_configure takes it. */
void attack_serve(struct host *host, const char *text);
/* Once more, after the process was killed. */
void attack_restart(struct host *host);

struct attacker {
    pid_t pid;
    int fd; /* its report */
};

/* A process of that user: calls `run`, reports what it returns, and stays as it is. */
void attack_begin(struct attacker *attacker, uid_t uid, uint32_t (*run)(const struct host *host),
                  const struct host *host);
/* Waits for its report, 120 s at most. */
uint32_t attack_report(struct attacker *attacker);
void attack_end(struct attacker *attacker);
/* All of it at once. */
uint32_t attack_as(uid_t uid, uint32_t (*run)(const struct host *host), const struct host *host);

/* Sends an attacker's HELLO; its reply's status (unread where `leave`); -1: there is none. */
int attack_hello(int fd, uint32_t features, bool leave);
/* PING, and its right answer within 5 s. */
bool attack_ping(int fd);
