/* SPDX-License-Identifier: MIT */
/*
 * A client of the platform helper, or of its simulator.
 */
#pragma once

#include "local_socket.h"
#include "sev_msg.h"
#include "support.h"

static inline int sev_dial(const char *path)
{
    int fd = unix_connect(path, 0);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static inline void send_question(int fd, enum coco_sev_op op, uint32_t id)
{
    const struct coco_sev_request request = {(uint16_t)op, id};
    uint8_t bytes[COCO_SEV_REQUEST_SIZE];

    ck_assert_int_eq(coco_sev_request_encode(&request, bytes), 0);
    ck_assert_int_eq(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
}
