/* SPDX-License-Identifier: MIT */
/*
 * libcoco, the client library of cocod: certificate tables and quotes for virtual machine monitors.
 *
 * Three layers, each usable alone:
 *   coco/session.h   bytes in, bytes out: the protocol without any I/O
 *   coco/client.h    a connection for an event loop: fd, events, timeout, process, callbacks;
 *                    and functions that block until a deadline, for vCPU threads; and leases
 *   coco/vmm.h       what a VMM does with the exits of confidential guests
 *   coco/unmerged.h  two such exits that never came into Linux
 */
#pragma once

#include <coco/base.h>
#include <coco/client.h>
#include <coco/session.h>
#include <coco/unmerged.h>
#include <coco/vmm.h>
