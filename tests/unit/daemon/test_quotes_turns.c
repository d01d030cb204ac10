/* SPDX-License-Identifier: MIT */
/*
 * Whose turn it is: users first, then their VMs, then a VM's requests; and who gives way where
 * there is no room. On the queue alone, and in a whole cocod whose QGS has one slot.
 */
#include "broker_fixture.h"
#include "peer/account.h"
#include "quotes/kept.h"
#include "quotes/queue.h"

/* --- the queue alone -------------------------------------------------------------------------- */

#define FLOOD 1000u

static struct queue queue;
static struct account accounts[FLOOD + 2];
static struct account_user users[8];
static struct queue_item items[FLOOD + 2];
static struct lane *lanes[FLOOD + 2];

static void open_queue(void)
{
    queue = (struct queue){.limits = {.n_vmm_users = 2,
                                      .vmm_users = {1000, 1001},
                                      .requests_per_vm = 16,
                                      .requests_per_user = 1024,
                                      .items = 1024}};
    memset(accounts, 0, sizeof(accounts));
    memset(users, 0, sizeof(users));
    memset(items, 0, sizeof(items));
    memset(lanes, 0, sizeof(lanes));
}

static void close_queue(void)
{
    for (size_t i = 0; i < FLOOD + 2; i++) {
        if (items[i].queued)
            queue_remove(&items[i]);
        sys.free(accounts[i].lane);
    }
    ck_assert_uint_eq(queue.n_items, 0);
    for (size_t i = 0; i < 8; i++)
        sys.free(users[i].queue_user);
}

/* An account of user 1000 or 1001, or of a guest with CID 5 or 6, and its lane. */
static void come(size_t i, const struct account_key *key)
{
    accounts[i].key = *key;
    accounts[i].user = &users[key->cid ? key->cid : key->uid - 1000];
    lanes[i] = queue_lane(&queue, &accounts[i]);
    ck_assert_ptr_nonnull(lanes[i]);
}

static void put(size_t i, uid_t uid, uint32_t cid)
{
    pid_t pid = uid == (uid_t)-1 ? 0 : (pid_t)i + 1;

    come(i, &(struct account_key){.uid = uid, .pid = pid, .cid = cid});
    queue_push(&items[i], lanes[i], QUEUE_LAST);
}

static bool any(void *data, struct queue_item *item)
{
    (void)data;
    (void)item;
    return true;
}

/* Which one has the next turn. */
static size_t pop(void)
{
    const struct queue_item *item = queue_pop(&queue, any, NULL);

    ck_assert_ptr_nonnull(item);
    return (size_t)(item - items);
}

TEST(a_thousand_processes_of_one_user_cost_another_one_turn)
{
    open_queue();
    for (size_t i = 0; i < FLOOD; i++)
        put(i, 1000, 0);
    put(FLOOD, 1001, 0);
    ck_assert_uint_eq(pop(), 0);
    ck_assert_uint_eq(pop(), FLOOD);
    for (size_t i = 1; i < FLOOD; i++) /* among themselves one after the other, as before */
        ck_assert_uint_eq(pop(), i);
    close_queue();
}

TEST(what_is_ahead_is_counted_by_users_too)
{
    open_queue();
    for (size_t i = 0; i < FLOOD; i++)
        put(i, 1000, 0);
    come(FLOOD, &(struct account_key){.uid = 1001, .pid = 7});
    ck_assert_uint_eq(queue_ahead(&queue, lanes[FLOOD]), 1);
    come(FLOOD + 1, &(struct account_key){.uid = 1000, .pid = 9999});
    ck_assert_uint_eq(queue_ahead(&queue, lanes[FLOOD + 1]), FLOOD);
    close_queue();
}

TEST(each_guest_over_vsock_is_a_user)
{
    open_queue();
    for (size_t i = 0; i < 10; i++)
        put(i, 1000, 0);
    put(10, (uid_t)-1, 5);
    put(11, (uid_t)-1, 6);
    ck_assert_uint_eq(pop(), 0);
    ck_assert_uint_eq(pop(), 10);
    ck_assert_uint_eq(pop(), 11);
    ck_assert_uint_eq(pop(), 1);
    close_queue();
}

TEST(all_items_are_walked_through_once)
{
    size_t n = 0;
    struct queue_item *item, *next;

    open_queue();
    ck_assert_ptr_null(queue_first(&queue));
    for (size_t i = 0; i < 30; i++)
        put(i, i % 3 ? 1000 : 1001, 0);
    for (item = queue_first(&queue); item; item = next, n++) {
        next = queue_next(item);
        queue_remove(item);
    }
    ck_assert_uint_eq(n, 30);
    ck_assert_uint_eq(queue.n_items, 0);
    ck_assert_ptr_null(queue.round);
    close_queue();
}

TEST(who_has_the_most_gives_way)
{
    open_queue();
    for (size_t i = 0; i < 10; i++)
        put(i, 1000, 0);
    put(10, 1001, 0);
    put(11, 1001, 0);
    /* For one more of either user: the newest of the longest lane of who has more; of the own user,
     * where that has the most, only from a lane that has more. */
    queue_push(&items[12], lanes[3], QUEUE_LAST);
    queue_push(&items[13], lanes[3], QUEUE_LAST);
    ck_assert_ptr_eq(queue_gives_way(&queue, lanes[10]), &items[13]);
    ck_assert_ptr_eq(queue_gives_way(&queue, lanes[0]), &items[13]);
    ck_assert_ptr_null(queue_gives_way(&queue, lanes[3]));
    queue_remove(&items[12]);
    queue_remove(&items[13]);
    ck_assert_ptr_null(queue_gives_way(&queue, lanes[0]));
    close_queue();
}

/* --- a whole cocod ---------------------------------------------------------------------------- */

#define ONE_SLOT "qgs = unix:/q slots=1\nvmm_users = 1000 1001\n"

FIXTURE(.teardown = broker_teardown);

TEST(a_flood_of_one_users_vms_costs_another_one_turn)
{
    unsigned turns = 0;

    open_with(ONE_SLOT);
    for (int i = 0; i < 60; i++)
        ask(vm(1000, i + 1), (uint64_t)i + 1, 20000);
    struct world_client *other = vm(1001, 99);
    ask(other, 1000, 20000);
    for (; world_waiting(other) > 0; turns++)
        answer(WORLD_QUOTE);
    /* What was at QGS when it came, one turn of the flood's, and its own. */
    ck_assert_uint_eq(turns, 3);
    ck_assert_uint_eq(metrics.quotes_eagain, 0);
    answer_all();
    ck_assert_uint_eq(metrics.quotes_ok, 61);
}

TEST(a_queue_that_one_user_has_filled_has_room_for_another)
{
    open_with(ONE_SLOT "queue = 16\n");
    for (int i = 0; i < 40; i++)
        ask(vm(1000, i + 1), (uint64_t)i + 1, 20000);
    ck_assert_uint_eq(metrics.quotes_eagain, 40 - 16 - 1);
    struct world_client *other = vm(1001, 99);
    ask_many(other, 10, 1000, 20000);
    world_settle(&world);
    world_receive(&world, other);
    /* Half of it, and no more: then both have as much. */
    ck_assert_uint_eq(metrics.quote_agains[QUOTE_AGAIN_SHARE], 8);
    ck_assert_uint_eq(world_waiting(other), 8);
    ck_assert_uint_eq(metrics.quotes_eagain, 40 - 16 - 1 + 10);
    answer_all();
    ck_assert_uint_eq(metrics.quotes_ok, 17);
}

TEST(a_users_limit_that_one_of_its_vms_has_filled_has_room_for_another_vm)
{
    char text[256];

    snprintf(text, sizeof(text), ONE_SLOT "[limits]\nrequests_per_user = 8\n");
    open_with(text);
    struct world_client *flood = vm(1000, 1), *other = vm(1000, 2);
    ask_many(flood, 12, 1, 20000);
    world_receive(&world, flood);
    ck_assert_uint_eq(world_waiting(flood), 8);
    ask(other, 100, 20000);
    ck_assert_uint_eq(metrics.quote_agains[QUOTE_AGAIN_SHARE], 1);
    for (int turns = 0; turns < 3; turns++) /* at QGS, one of the flood's, its own */
        answer(WORLD_QUOTE);
    ck_assert_uint_eq(world_waiting(other), 0);
    answer_all();
    ck_assert_uint_eq(metrics.quotes_ok, 8);
}

TEST(a_quote_that_is_asked_again_is_another_turn_of_its_user)
{
    open_with(ONE_SLOT);
    struct world_client *bad = vm(1000, 1), *other = vm(1001, 2);
    ask_many(bad, 3, 1, 20000);
    ask(other, 100, 20000);
    answer(WORLD_QUOTE);
    answer(WORLD_ERROR); /* is asked again, after the other's */
    ck_assert_uint_eq(metrics.quotes_retried, 1);
    answer(WORLD_QUOTE);
    world_receive(&world, other);
    ck_assert_uint_eq(world_waiting(other), 0);
    answer(WORLD_ERROR); /* the same once more, before its VM's others: it is not asked again */
    world_receive(&world, bad);
    ck_assert_uint_eq(world_waiting(bad), 1);
    ck_assert_uint_eq(metrics.quotes_failed + metrics.quotes_refused, 1);
    answer_all();
    ck_assert_uint_eq(metrics.quotes_ok, 3);
}

TEST(a_turn_for_which_qgs_was_not_there_is_had_again)
{
    open_with(ONE_SLOT);
    struct world_client *first = vm(1000, 1), *other = vm(1001, 2);
    ask_many(first, 2, 1, 20000);
    ask(other, 100, 20000);
    world.connect_error = ECONNREFUSED;
    answer(WORLD_QUOTE);
    ck_assert_uint_eq(at_qgs(), 0);
    world.connect_error = 0;
    world_pass(&world, 5 * S);
    answer(WORLD_QUOTE);
    world_receive(&world, first);
    ck_assert_uint_eq(world_waiting(first), 0);
    answer(WORLD_QUOTE);
    world_receive(&world, other);
    ck_assert_uint_eq(world_waiting(other), 0);
}

/* Asked and left: what QGS makes of it is kept. */
static void ask_and_leave(struct world_client *client, uint64_t seed)
{
    uint64_t id = client->next_id;

    ask(client, seed, 20000);
    world_queue(client, COCO_CANCEL, id, 0, NULL, 0);
    world_send(&world, client, SIZE_MAX);
    answer(WORLD_QUOTE);
}

TEST(who_asks_and_leaves_pushes_out_half_of_what_is_kept)
{
    open_with(ONE_SLOT "keep_quotes = 8\n");
    struct world_client *other = vm(1001, 99);
    ask_and_leave(other, 1000);
    for (int i = 0; i < 40; i++)
        ask_and_leave(vm(1000, i + 1), (uint64_t)i + 1);
    ask(other, 1000, 20000);
    ck_assert_uint_eq(metrics.quotes_from_kept, 1);
    ck_assert_uint_eq(at_qgs(), 0);
}
