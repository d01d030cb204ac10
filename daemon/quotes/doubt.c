/* SPDX-License-Identifier: MIT */
/*
 * A TDREPORT that QGS has quoted is right, and no guest can make it wrong afterwards. So the last
 * GET_QUOTE that was answered well is kept, and asked again where VMs fail: what QGS says then is
 * about QGS alone. Its quote is thrown away.
 *
 * Before the first quote there is no such question. Then one thing proves that QGS is at fault: no
 * TDREPORT makes it close without an answer, and it did so for several VMs of several users.
 */
#include "quotes/doubt.h"
#include <string.h>

void doubt_failed(struct doubt *doubt, const struct doubt_vm *vm)
{
    unsigned i = 0;

    while (i < doubt->n && doubt->vms[i].serial != vm->serial)
        i++;
    if (i == DOUBT_VMS)
        return;
    doubt->vms[i] = *vm;
    if (i == doubt->n)
        doubt->n++;
}

bool doubt_is_full(const struct doubt *doubt)
{
    return doubt->n == DOUBT_VMS;
}

bool doubt_is_proven(const struct doubt *doubt)
{
    bool several_users = false;

    for (unsigned i = 0; i < doubt->n; i++) {
        if (!doubt->vms[i].closed)
            return false;
        several_users |= doubt->vms[i].uid != doubt->vms[0].uid;
    }
    return doubt_is_full(doubt) && several_users;
}

void doubt_learn(struct doubt *doubt, const uint8_t message[COCO_QGS_QUOTE_REQ_SIZE])
{
    memcpy(doubt->question, message, sizeof(doubt->question));
    doubt->known = true;
}
