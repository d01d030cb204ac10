/* SPDX-License-Identifier: MIT */
/*
 * certs import, certs verify: files to the daemon, and what became of each certificate.
 *
 * A message has at most 1 MiB and 64 files, so many files go in several calls. A leaf is refused
 * while its intermediate is neither stored nor in the same call. So where there were several calls,
 * the files of which anything was refused are given once more behind the last, when all that can
 * help is there; their second result counts. Verify keeps nothing, so a second call would know no
 * more: leaves and their intermediates have to come together, or be stored.
 */
#include "base64.h"
#include "lib/ctl.h"
#include "lib/files.h"
#include "lib/json.h"
#include "lib/memory.h"
#include "lib/output.h"
#include "lib/reply.h"
#include "lib/terminal.h"
#include "lib/varlink.h"
#include "verbs/verbs.h"
#include <stdlib.h>
#include <string.h>

/* Of one call; the interface allows 64 files and 1 MiB in all, base64 and names included. */
#define CALL_FILES_MAX 64u
#define CALL_BYTES_MAX (900u * 1024u)
#define LABEL_SIZE     201u
/* The interface's 511 and one that refuses the rest; and one for each file that cannot be read. */
#define CALL_RESULTS_MAX   (512u + CALL_FILES_MAX)
#define RESULT_MEMBERS_MAX 64

struct import {
    const struct ctl *ctl;
    const char *method;
    const struct inputs *inputs;
    char labels[CALL_FILES_MAX][LABEL_SIZE]; /* of the call under way */
    struct json_object **of;                 /* for each input its results, an array, or NULL */
};

static struct json_object *local_result(const struct input *input)
{
    struct json_object *result = memory_member("name", input->name);

    json_set_text(result, "kind", "OTHER");
    json_set_null(result, "key");
    json_set_text(result, "action", "refused");
    json_set_text(result, "reason", input->refused);
    return result;
}

/* A name that the JSON of a call can carry, that the daemon takes, and that is not the one before
 * it in the call: results come in the order of the files, each by its file's name. */
static void label(char *out, const char *before, size_t index, const char *name)
{
    size_t length = strlen(name), from = length > LABEL_SIZE - 32 ? length - (LABEL_SIZE - 32) : 0;

    (void)snprintf(out, LABEL_SIZE, "%s", name + from);
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
    if (before && strcmp(out, before) == 0)
        (void)snprintf(out + strlen(out), LABEL_SIZE - strlen(out), " (%zu)", index);
}

static bool is_refusal(struct json_object *result)
{
    const char *action = json_text(result, "action");

    return action && strcmp(action, "refused") == 0;
}

/* Is any of them a refusal? `results` may be NULL. */
static bool was_refused(struct json_object *results)
{
    for (size_t i = 0; i < json_length(results); i++)
        if (is_refusal(json_object_array_get_idx(results, i)))
            return true;
    return false;
}

/* Sorts a call's results to its inputs. */
static int take_results(struct import *import, struct json_object *parameters,
                        const size_t *indices, size_t n_inputs)
{
    struct reply reply = {0};
    struct json_object *list;
    size_t n = reply_array(&reply, parameters, "results", json_type_object, &list), at = 0;

    if (n > CALL_RESULTS_MAX)
        reply.bad = true;
    for (size_t i = 0; i < n && !reply.bad; i++) {
        struct json_object *result = json_object_array_get_idx(list, i);
        if (json_object_object_length(result) > RESULT_MEMBERS_MAX)
            reply.bad = true;
        const char *name = reply_string(&reply, result, "name");
        (void)reply_string(&reply, result, "kind");
        (void)reply_string(&reply, result, "action");
        if (i > 0 && strcmp(name, import->labels[at]) != 0)
            at++;
        if (at == n_inputs || strcmp(name, import->labels[at]) != 0) {
            reply.bad = true;
            break;
        }
        struct json_object **of = &import->of[indices[at]];
        json_set_text(result, "name", import->inputs->list[indices[at]].name);
        if (!*of)
            *of = json_object_new_array();
        json_append(*of, json_object_get(result));
        if (!memory_held(*of))
            return CTL_MEMORY;
    }
    if (n > 0 && at + 1 != n_inputs) /* every file has a result */
        reply.bad = true;
    return reply.bad || n == 0 ? reply_malformed(import->ctl, import->method) : CTL_OK;
}

static int send_call(struct import *import, struct json_object *files, const size_t *indices,
                     size_t n)
{
    struct json_object *parameters = NULL;

    if (n == 0) {
        json_object_put(files);
        return CTL_OK;
    }
    struct json_object *call = memory_object();
    json_set(call, "files", files);
    int code = varlink_call(import->ctl, import->method, call, &parameters);
    if (code != CTL_OK)
        return code;
    for (size_t i = 0; i < n; i++) { /* what an earlier call said no longer counts */
        json_object_put(import->of[indices[i]]);
        import->of[indices[i]] = NULL;
    }
    code = take_results(import, parameters, indices, n);
    json_object_put(parameters);
    return code;
}

/* All inputs, or those of which something was refused. *ret_calls counts the calls. */
static int send_all(struct import *import, bool refused_only, unsigned *ret_calls)
{
    struct json_object *files = json_object_new_array();
    size_t indices[CALL_FILES_MAX], n = 0, bytes = 0;
    int code = CTL_OK;

    for (size_t i = 0; i < import->inputs->n && code == CTL_OK; i++) {
        const struct input *input = &import->inputs->list[i];
        if (input->refused || (refused_only && !was_refused(import->of[i])))
            continue;
        size_t cost = input->size / 3 * 4 + 512;
        if (n == CALL_FILES_MAX || bytes + cost > CALL_BYTES_MAX) {
            code = send_call(import, files, indices, n);
            files = json_object_new_array();
            n = bytes = 0;
            ++*ret_calls;
        }
        char *data = base64_encode(input->bytes, input->size);
        struct json_object *file = json_object_new_object();
        label(import->labels[n], n > 0 ? import->labels[n - 1] : NULL, i, input->name);
        json_set_text(file, "name", import->labels[n]);
        json_set(file, "data", data ? json_object_new_string(data) : NULL);
        json_append(files, file);
        free(data);
        indices[n++] = i;
        bytes += cost;
    }
    if (code != CTL_OK) {
        json_object_put(files);
        return code;
    }
    ++*ret_calls;
    return send_call(import, files, indices, n);
}

int import_inputs(const struct ctl *ctl, const char *method, const struct inputs *inputs,
                  struct json_object **ret_results)
{
    struct import import = {.ctl = ctl, .method = method, .inputs = inputs};
    unsigned calls = 0;
    bool refused = false;

    import.of = memory_got(calloc(inputs->n + 1, sizeof(struct json_object *)));
    if (!import.of)
        return CTL_MEMORY;
    int code = send_all(&import, false, &calls);
    if (code == CTL_OK && calls > 1 && strcmp(method, "Import") == 0)
        code = send_all(&import, true, &calls);
    struct json_object *results = code == CTL_OK ? json_object_new_array() : NULL;
    for (size_t i = 0; i < inputs->n; i++) {
        struct json_object *of = import.of[i];
        if (results && inputs->list[i].refused)
            json_append(results, local_result(&inputs->list[i]));
        for (size_t k = 0; results && k < json_length(of); k++)
            json_append(results, json_object_get(json_object_array_get_idx(of, k)));
        refused = refused || inputs->list[i].refused || was_refused(of);
        json_object_put(of);
    }
    free(import.of);
    if (code == CTL_OK && !memory_held(results))
        code = CTL_MEMORY;
    if (code == CTL_OK)
        *ret_results = results;
    else
        json_object_put(results);
    return code == CTL_OK && refused ? CTL_FAILED : code;
}

static void show_results(FILE *to, bool verify_only, const struct inputs *inputs,
                         struct json_object *results)
{
    size_t n = json_object_array_length(results), refused = 0;

    for (size_t i = 0; i < n; i++) {
        struct json_object *result = json_object_array_get_idx(results, i);
        const char *action = json_text(result, "action"), *key = json_text(result, "key");
        const char *reason = json_text(result, "reason"), *kind = json_text(result, "kind");
        bool bad = is_refusal(result);
        bool other = !kind || strcmp(kind, "OTHER") == 0;
        refused += bad;
        term_cell(to,
                  bad               ? action
                  : reason && other ? "skipped"
                  : verify_only     ? "good"
                  : reason          ? "kept out"
                                    : action,
                  11);
        term_cell(to, kind ? kind : "OTHER", 6);
        term_string(to, json_text(result, "name"));
        if (key || reason)
            term_printf(to, "\n%17s%s", "", reason ? reason : key);
        (void)fputc('\n', to);
    }
    if (n == 0)
        term_puts(to, "no certificate files there\n");
    if (refused > 0)
        term_printf(to, "%zu of %zu refused\n", refused, n);
    if (inputs->passed_over > 0)
        term_printf(to,
                    "%u passed over: they have neither an ending of certificate files (.pem, .der, "
                    ".crt, .cer, .crl, .bin, .cert, .certs) nor, without any, a certificate's "
                    "bytes\n",
                    inputs->passed_over);
}

int import_show(const struct ctl *ctl, bool verify_only, const struct inputs *inputs,
                struct json_object *results)
{
    if (ctl->json) {
        struct json_object *whole = json_object_new_object();
        json_set(whole, "results", json_object_get(results));
        json_set_int(whole, "passedOver", inputs->passed_over);
        return output_object(whole);
    }
    show_results(stdout, verify_only, inputs, results);
    return output_end();
}

static int import_or_verify(const struct ctl *ctl, const char *method, bool verify_only)
{
    struct inputs inputs = {0};
    struct json_object *results = NULL;
    bool good = true;

    for (int i = 0; i < ctl->n_args && good; i++)
        good = inputs_add_path(&inputs, ctl->args[i]);
    int code = good ? import_inputs(ctl, method, &inputs, &results) : CTL_FAILED;
    if (results) {
        int shown = import_show(ctl, verify_only, &inputs, results);
        if (inputs.n == 0 || shown != CTL_OK)
            code = CTL_FAILED;
    }
    json_object_put(results);
    inputs_done(&inputs);
    return code;
}

int verb_certs_import(const struct ctl *ctl)
{
    return import_or_verify(ctl, "Import", false);
}

int verb_certs_verify(const struct ctl *ctl)
{
    return import_or_verify(ctl, "Verify", true);
}
