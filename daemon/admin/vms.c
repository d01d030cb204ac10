/* SPDX-License-Identifier: MIT */
/*
 * The administrators' methods about VMs: who they are, what became of one's last requests, and the
 * end of its connections.
 *
 * A VM is an account: a process, or a vsock CID, that the kernel vouches for. What it calls itself
 * is a claim, so a name never decides alone: where several answer to one, the caller is told their
 * pids and asks again by pid. Names are escaped on their way out, and found as they are shown.
 *
 * ListVms gives a page at a time, so that 10,000 VMs neither exceed a message nor hold the loop.
 */
#include "admin/parts.h"
#include "base/sys.h"
#include "certs/certs.h"
#include "certs/store/store.h"
#include "observe/history.h"
#include "peer/server.h"
#include "quotes/quotes.h"
#include "status.h"
#include "text.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PAGE_MAX       256
#define CANDIDATES_MAX 16u

/* Who holds leases now, taken once for a call. */
struct leases {
    size_t n;
    struct {
        const struct account *account;
        uint32_t session;
    } items[CERTS_HOLDERS_MAX];
};

static void take_leases(const struct call *call, struct leases *ret)
{
    struct certs_holder holders[CERTS_HOLDERS_MAX];
    size_t n = certs_holders(call->admin->certs, holders, CERTS_HOLDERS_MAX);

    ret->n = 0;
    for (size_t i = 0; i < n; i++) {
        struct lease_holder session;
        if (holders[i].lock.write ||
            !server_find_lease(call->admin->server, holders[i].lock.start, &session))
            continue;
        ret->items[ret->n].account = session.peer->account;
        ret->items[ret->n++].session = session.session;
    }
}

/* --- who it is -------------------------------------------------------------------------------- */

void admin_add_account(struct json_object *object, const struct account_key *key,
                       const struct history *history)
{
    static const uint8_t no_uuid[16];
    char uuid[ADMIN_UUID_SIZE] = "";

    if (history && memcmp(history->vm_uuid, no_uuid, sizeof(no_uuid)) != 0)
        admin_uuid_text(history->vm_uuid, uuid);
    admin_add_text(object, "vm", history && history->vm_name[0] ? history->vm_name : NULL);
    admin_add_text(object, "uuid", uuid[0] ? uuid : NULL);
    json_set_optional_int(object, "pid", key->cid == 0, (uint64_t)key->pid);
    json_set_optional_int(object, "uid", key->cid == 0, key->uid);
    json_set_optional_int(object, "cid", key->cid != 0, key->cid);
}

static struct json_object *vm_entry(const struct account *account, const struct leases *leases)
{
    struct json_object *entry = json_object_new_object();
    const struct history *history = account->history;
    uint64_t held = 0, last_us = 0;

    for (size_t i = 0; i < leases->n; i++)
        held += leases->items[i].account == account;
    for (unsigned i = 0; i < HISTORY_ENTRIES && history_at(history, i); i++)
        last_us = history_at(history, i)->received_us;
    admin_add_account(entry, &account->key, history);
    json_set_int(entry, "connections", account->held[CHARGE_PLACES]);
    json_set_int(entry, "inFlight", account->held[CHARGE_REQUESTS]);
    json_set_int(entry, "leases", held);
    json_set_int(entry, "certs", history->certs);
    json_set_int(entry, "certsEmpty", history->certs_empty);
    json_set_int(entry, "certsFailed", history->certs_failed);
    json_set_int(entry, "quotes", history->quotes);
    json_set_int(entry, "quotesFailed", history->quotes_failed);
    json_set_optional_int(entry, "lastRequestMs", history->n > 0, (sys.now_us() - last_us) / 1000u);
    return entry;
}

/* --- ListVms ---------------------------------------------------------------------------------- */

void admin_list_vms(const struct call *call)
{
    struct json_object *after = admin_parameter(call, "after");
    const struct account *account;
    int64_t from = json_object_get_int64(after);
    uint64_t behind = (uint64_t)from;
    struct leases leases;

    if (after && (!json_object_is_type(after, json_type_int) || from < 0)) {
        admin_refuse_parameter(call, "after");
        return;
    }
    take_leases(call, &leases);
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();
    for (account = call->admin->server->accounts.table; account; account = account->hh.next) {
        if (account->serial <= behind || !account->history)
            continue;
        if (json_length(array) == PAGE_MAX)
            break;
        json_append(array, vm_entry(account, &leases));
        behind = account->serial;
    }
    json_set(object, "vms", array);
    json_set_optional_int(object, "next", account != NULL, behind);
    admin_send_parameters(call, object);
}

/* --- which VM --------------------------------------------------------------------------------- */

static void account_label(const struct account *account, char out[32])
{
    if (account->key.cid != 0)
        snprintf(out, 32, "cid:%u", account->key.cid);
    else
        snprintf(out, 32, "pid:%d", (int)account->key.pid);
}

static bool answers_to(const struct account *account, const char *text)
{
    const struct history *history = account->history;
    char label[32], uuid[ADMIN_UUID_SIZE], shown[4 * COCO_NAME_SIZE + 1];

    account_label(account, label);
    if (strcmp(text, label) == 0 || (account->key.cid == 0 && strcmp(text, label + 4) == 0))
        return true;
    admin_uuid_text(history->vm_uuid, uuid);
    (void)coco_text_escape(shown, sizeof(shown), history->vm_name, strlen(history->vm_name));
    return strcasecmp(text, uuid) == 0 ||
           (history->vm_name[0] &&
            (strcmp(text, shown) == 0 || strcmp(text, history->vm_name) == 0));
}

/* Who is connected goes before who was. Where none is, the last one to come. Returns how many
 * there are to choose from. */
static size_t find_vm(const struct accounts *accounts, const char *text,
                      struct account *ret[CANDIDATES_MAX])
{
    struct account *account, *gone = NULL;
    size_t n = 0;

    for (account = accounts->table; account; account = account->hh.next) {
        if (!account->history || !answers_to(account, text))
            continue;
        if (account->held[CHARGE_PLACES] == 0)
            gone = account;
        else if (n < CANDIDATES_MAX)
            ret[n++] = account;
    }
    if (n == 0 && gone)
        ret[n++] = gone;
    return n;
}

static void send_ambiguous(const struct call *call, const char *text, struct account *const *found,
                           size_t n)
{
    struct json_object *parameters = json_object_new_object();
    struct json_object *array = json_object_new_array();
    char label[32];

    for (size_t i = 0; i < n; i++) {
        account_label(found[i], label);
        json_append(array, json_object_new_string(label));
    }
    admin_add_text(parameters, "vm", text);
    json_set(parameters, "candidates", array);
    admin_send(call, admin_error_of(ADMIN_INTERFACE ".AmbiguousVm", parameters));
}

/* --- Explain: its requests -------------------------------------------------------------------- */

static void add_certs(struct json_object *object, const struct certs *certs,
                      const struct history_entry *entry)
{
    const struct chain_key *key = NULL;
    char text[STORE_KEY_SIZE], tcb[COCO_SNP_TCB_TEXT_SIZE];
    bool judged = entry->kind == HISTORY_CERTS && entry->status != COCO_EINVAL &&
                  entry->status != COCO_EOPNOTSUPP;

    if (judged && (entry->status == COCO_OK || entry->status == COCO_ENOSPC))
        key = certs_generation_key(certs, entry->generation);
    if (key) {
        store_key_format(key, text);
        coco_snp_tcb_format(key->product, &key->tcb, tcb);
    }
    if (judged)
        admin_add_hex64(object, "generation", entry->generation);
    else
        json_set_null(object, "generation");
    admin_add_text(object, "chain", key ? text : NULL);
    admin_add_text(object, "tcb", key ? tcb : NULL);
}

static void add_quote(struct json_object *object, const struct quotes *quotes,
                      const struct history_entry *entry)
{
    bool asked = entry->kind != HISTORY_CERTS && entry->backend != 0;

    admin_add_text(object, "backend", asked ? quotes_backend_name(quotes, entry->backend) : NULL);
    json_set_optional_int(object, "qgsUs", asked, entry->service_us);
    json_set_optional_int(object, "qgsCode", asked, entry->code);
}

static struct json_object *request_entry(const struct call *call, const struct history_entry *entry,
                                         bool held)
{
    static const char *const kinds[] = {[HISTORY_CERTS] = "certs",
                                        [HISTORY_QUOTE] = "quote",
                                        [HISTORY_COLLATERAL] = "collateral",
                                        [HISTORY_PLATFORM] = "platform"};
    struct json_object *object = json_object_new_object();
    uint64_t ago_us = sys.now_us() - entry->received_us;

    admin_add_time(object, "time", sys.wall_s() - (int64_t)(ago_us / 1000000u));
    json_set_int(object, "agoMs", ago_us / 1000u);
    admin_add_text(object, "kind", kinds[entry->kind]);
    admin_add_text(object, "status", coco_status_name(entry->status));
    admin_add_text(object, "why", entry->why);
    json_set_int(object, "tookUs", entry->took_us);
    json_set_int(object, "bytes", entry->bytes);
    add_certs(object, call->admin->certs, entry);
    add_quote(object, call->admin->quotes, entry);
    json_set_optional_int(object, "leaseMs", held, ago_us / 1000u);
    return object;
}

/* Is this the newest table that a session asked for whose lease is held now? */
static bool is_held(const struct account *account, unsigned i, const struct leases *leases)
{
    const struct history_entry *entry = history_at(account->history, i), *later;

    if (entry->kind != HISTORY_CERTS || entry->session == 0)
        return false;
    for (unsigned k = i + 1; (later = history_at(account->history, k)); k++)
        if (later->kind == HISTORY_CERTS && later->session == entry->session)
            return false;
    for (size_t k = 0; k < leases->n; k++)
        if (leases->items[k].account == account && leases->items[k].session == entry->session)
            return true;
    return false;
}

/* The one VM that the call names; NULL: it was answered with what is wrong. */
static struct account *named_vm(const struct call *call)
{
    const char *text = admin_string(admin_parameter(call, "vm"));
    struct account *found[CANDIDATES_MAX];

    if (!text) {
        admin_refuse_parameter(call, "vm");
        return NULL;
    }
    size_t n = find_vm(&call->admin->server->accounts, text, found);
    if (n == 1)
        return found[0];
    if (n == 0)
        admin_send_error(call, ADMIN_INTERFACE ".NoSuchVm", "vm", text);
    else
        send_ambiguous(call, text, found, n);
    return NULL;
}

void admin_explain(const struct call *call)
{
    const struct account *vm = named_vm(call);
    struct leases leases;

    if (!vm)
        return;
    take_leases(call, &leases);
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();
    for (unsigned i = 0; i < HISTORY_ENTRIES && history_at(vm->history, i); i++)
        json_append(array,
                    request_entry(call, history_at(vm->history, i), is_held(vm, i, &leases)));
    json_set(object, "vm", vm_entry(vm, &leases));
    json_set(object, "requests", array);
    admin_send_parameters(call, object);
}

/* --- Disconnect ------------------------------------------------------------------------------- */

void admin_disconnect(const struct call *call)
{
    struct account *vm = named_vm(call);
    struct leases leases;

    if (!vm)
        return;
    take_leases(call, &leases);
    struct json_object *object = json_object_new_object();
    json_set(object, "vm", vm_entry(vm, &leases));
    /* An administrator's process may be a VM as well: this connection is to be answered. */
    unsigned n = server_close_account(call->admin->server, vm, &admin_dialect, CLOSE_ADMIN);
    json_set_int(object, "disconnected", n);
    admin_send_parameters(call, object);
}
