/* SPDX-License-Identifier: MIT */
/*
 * The buffer grows to what a frame needs and is freed with its last byte.
 */
#include "peer/inbox.h"
#include "base/sys.h"
#include <errno.h>
#include <string.h>

static size_t cost(size_t capacity)
{
    return capacity > PEER_PARTIAL_FREE ? account_bytes(capacity) : 0;
}

/* Where the frame's size is not known: a little more than what is there. */
static size_t room_for(size_t size, size_t need, size_t most)
{
    size_t room = 2 * size < 64 ? 64 : 2 * size;

    if (need > 0)
        return need > size ? need : size;
    return size < most && room > most ? most : room;
}

int inbox_keep(struct inbox *inbox, struct account *account, const uint8_t *data, size_t size,
               size_t need, size_t most)
{
    size_t capacity = room_for(size, need, most);

    if (capacity > inbox->capacity) {
        size_t more = cost(capacity) - cost(inbox->capacity);
        if (more > 0 && !account_charge(account, CHARGE_BYTES, more))
            return -EDQUOT;
        uint8_t *bytes = sys.alloc(capacity);
        if (!bytes) {
            account_uncharge(account, CHARGE_BYTES, more);
            return -ENOMEM;
        }
        memcpy(bytes, data, size);
        sys.free(inbox->bytes);
        inbox->bytes = bytes;
        inbox->capacity = (uint32_t)capacity;
    } else {
        memmove(inbox->bytes, data, size);
    }
    inbox->size = (uint32_t)size;
    return 0;
}

void inbox_clear(struct inbox *inbox, struct account *account)
{
    account_uncharge(account, CHARGE_BYTES, cost(inbox->capacity));
    sys.free(inbox->bytes);
    *inbox = (struct inbox){0};
}
