/* SPDX-License-Identifier: MIT */
/*
 * The configuration: INI files, read once into a plain struct whose fields are the values.
 *
 * One const table (config_keys) says what exists: parser, `cocod --check`, cocod.conf.example and
 * the manual come from it. Reading collects every mistake, each with its file and line. Nothing
 * here logs, and nothing but config_load and config_load_dirs touches the file system.
 */
#pragma once

#include "snp_tcb.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* At least as many as there are keys. */
#define CONFIG_KEYS_MAX 96u
/* A file larger than this is refused. */
#define CONFIG_FILE_MAX (256u * 1024u)
/* A longer line is refused. */
#define CONFIG_LINE_MAX 197u
/* More files are refused. */
#define CONFIG_FILES_MAX 256u
/* sun_path with its NUL. */
#define CONFIG_SOCKET_PATH_SIZE 108u

struct string_list {
    size_t n;
    char **items;
};

struct u32_list {
    size_t n;
    uint32_t *items;
};

enum endpoint_kind {
    ENDPOINT_NONE,
    ENDPOINT_UNIX,  /* unix:/absolute/path */
    ENDPOINT_VSOCK, /* vsock:CID:PORT */
    ENDPOINT_FIXED, /* of the platform: what the fixed_ keys say */
};

struct endpoint {
    enum endpoint_kind kind;
    char path[CONFIG_SOCKET_PATH_SIZE];
    uint32_t cid; /* CONFIG_ANY_CID: of a listener, "vsock::PORT" */
    uint32_t port;
    uint32_t slots; /* of a quoting service; 0: [quotes] slots */
};

/* "none" in a configuration file makes no item. */
#define CONFIG_ENDPOINTS_MAX 16u
struct endpoint_list {
    size_t n;
    struct endpoint items[CONFIG_ENDPOINTS_MAX];
};

#define CONFIG_ANY_CID UINT32_MAX

/* What a guest gets while there is no chain. */
enum missing_chain {
    MISSING_CHAIN_EMPTY,  /* the empty table, with success: guests fetch certificates themselves */
    MISSING_CHAIN_REFUSE, /* EIO: the guest may not attest, and loses its key */
};

/* One line that is in force. */
struct config_set {
    const struct config_key *key;
    uint16_t file; /* in config's files */
    uint32_t line;
    bool item; /* false: it emptied a list */
};

/* Which configuration is in force. */
enum config_source {
    CONFIG_SOURCE_FILES,     /* that of the files, as they were when they were read last */
    CONFIG_SOURCE_BEFORE,    /* the files became wrong: the one before stays */
    CONFIG_SOURCE_LAST_GOOD, /* the files were wrong at the start: their last good copy */
    CONFIG_SOURCE_DEFAULTS,  /* and without such a copy, the defaults */
    CONFIG_SOURCES,
};

/* "files", "before", "last_good", "defaults". */
const char *config_source_name(enum config_source source);

/* All strings are set (perhaps ""), owned by the struct. Times are milliseconds, sizes bytes. */
struct config {
    /* [cocod] */
    int cocod_log_level; /* syslog's number, log.h */

    /* [rpc] */
    char *rpc_listen; /* absolute path of a socket, at most 107 bytes */
    uint32_t rpc_mode;
    char *rpc_group; /* "": left as it is; else a name or a number */

    /* [admin] */
    char *admin_listen;
    uint32_t admin_mode;
    char *admin_group;
    char *admin_read; /* names and numbers of users, @ before those of groups */
    char *admin_import;
    char *admin_operate;

    /* [metrics] */
    char *metrics_listen; /* "": none */
    uint32_t metrics_mode;
    char *metrics_group;

    /* [certs] */
    struct string_list certs_chain; /* files; none: no SNP certificates */
    struct string_list certs_root;  /* files of further trusted roots */
    char *certs_table_file;
    uint32_t certs_table_mode; /* never writable for group or others */
    char *certs_table_group;
    enum missing_chain certs_missing_chain;
    uint64_t certs_drain_timeout_ms;
    char *certs_store; /* folder; "": none */
    struct endpoint certs_platform;
    enum coco_snp_product certs_fixed_product;
    char *
        certs_fixed_chip_id; /* hexadecimal, as long as the product's where the platform is fixed */
    char *certs_vlek_csp;    /* "": the only one that is stored */
    char *certs_fixed_tcb;   /* as snp_tcb.h writes it */
    bool certs_fixed_vlek;
    enum coco_snp_signer certs_signer;
    bool certs_serve_crl;

    /* [quotes] */
    struct endpoint_list quotes_qgs; /* none: no quotes */
    uint32_t quotes_slots;
    uint32_t quotes_queue;
    uint64_t quotes_queue_memory;
    char *quotes_vmm_users; /* names and numbers, separated by spaces or commas */
    uint64_t quotes_keep_ms;
    uint64_t quotes_keep_memory;
    uint32_t quotes_keep_quotes;
    bool quotes_verify_quote_signature;
    bool quotes_reuse;
    uint64_t quotes_timeout_ms;     /* where a client names none */
    uint64_t quotes_max_timeout_ms; /* never below quotes_timeout_ms */
    uint64_t quotes_qgs_timer_ms;
    uint64_t quotes_qgs_wait_ms;
    char *quotes_qgs_restart_file; /* "": none */

    /* [qgs_door] */
    struct endpoint_list qgs_door_listen; /* unix, or vsock with CONFIG_ANY_CID; none: no door */
    uint32_t qgs_door_mode;
    char *qgs_door_group;
    struct u32_list qgs_door_vsock_allow; /* none: every guest */
    uint64_t qgs_door_request_timeout_ms;
    uint64_t qgs_door_timeout_ms; /* never below the former */
    bool qgs_door_allow_collateral;
    bool qgs_door_allow_platform_info;

    /* [limits] */
    uint32_t limits_peers;
    uint32_t limits_peers_per_account;
    uint32_t limits_in_flight;
    uint32_t limits_in_flight_per_account;
    uint32_t limits_store_jobs;
    uint32_t limits_store_jobs_per_account;
    uint32_t limits_descriptors;
    uint32_t limits_descriptors_per_account;
    uint64_t limits_memory;
    uint64_t limits_memory_per_account;
    uint32_t limits_requests_per_account;
    uint32_t limits_requests_per_user;
    uint64_t limits_hello_timeout_ms;
    uint64_t limits_frame_timeout_ms;
    uint64_t limits_send_timeout_ms;
    uint64_t limits_unsent; /* bytes of replies that a peer may leave lying */
    uint64_t limits_account_linger_ms;
    uint32_t limits_events_per_peer_per_minute; /* lines that one peer may put into the log */

    /* Where the values came from. */
    size_t n_files; /* 0: defaults alone */
    char **files;   /* in the order in which they were read */
    size_t n_origins;
    struct config_set *origins; /* in the order in which they were set */
};

/* Every mistake, a sentence each: "FILE:LINE: [section] key = value: reason and what is allowed".
 * Zero-initialised. */
struct config_errors {
    size_t n;
    char **items;
    size_t left_out; /* mistakes beyond the 100 that are kept */
};

/* The defaults (`path` NULL), or the file's values over them. 0; -EINVAL for mistakes in the file;
 * -errno where it cannot be read (said in `errors`, too); -ENOMEM. `errors` may be NULL; it is
 * appended to, and the caller's to clear. */
int config_load(const char *path, struct config **ret, struct config_errors *errors);
/* Reads these folders over the defaults: cocod.conf of the last folder that has one, then
 * cocod.conf.d/NAME.conf of all folders in the order of the names; of two with the same name, the
 * later folder's alone. An empty file, or a link to /dev/null, masks those before it. A key in a
 * later file replaces the value; a list's adds an item, and an empty value empties the list. Fails
 * as config_load. */
int config_load_dirs(const char *const *dirs, size_t n_dirs, struct config **ret,
                     struct config_errors *errors);
/* systemd's order of folders. */
#define CONFIG_DIRS 3u
extern const char *const config_dirs[CONFIG_DIRS];
/* One file, from memory; `name` stands for it in messages. */
int config_parse(const char *name, const char *text, size_t size, struct config **ret,
                 struct config_errors *errors);
void config_free(struct config *c);
void config_errors_clear(struct config_errors *errors);

enum config_type {
    CONFIG_BOOL,
    CONFIG_U32,
    CONFIG_DURATION, /* uint64_t, milliseconds */
    CONFIG_BYTES,    /* uint64_t */
    CONFIG_MODE,     /* uint32_t */
    CONFIG_ENUM,     /* an int, or an enum of its size */
    /* char *; may be empty where the default is. */
    CONFIG_PATH,
    CONFIG_SOCKET_PATH,
    CONFIG_TEXT,
    CONFIG_GROUP,
    CONFIG_USERS,    /* names and numbers, which config_next_name takes apart */
    CONFIG_MEMBERS,  /* the same, and @groups */
    CONFIG_PLATFORM, /* struct endpoint: none, fixed or unix: */
    /* Lists: each line adds an item. */
    CONFIG_PATH_LIST, /* struct string_list */
    CONFIG_CIDS,      /* struct u32_list */
    CONFIG_LISTENERS, /* struct endpoint_list */
    CONFIG_QGS_LIST,  /* struct endpoint_list */
};

struct config_choice {
    const char *name; /* NULL ends the list */
    int value;
    const char *doc; /* NULL: the name says it */
};

struct config_key {
    const char *section;
    const char *name;
    enum config_type type;
    size_t offset;             /* in struct config */
    const char *default_value; /* as it would stand in the file */
    /* Numbers: the range; CONFIG_MODE: bits that must, and that may, be set; CONFIG_PATH: `max`
     * bytes, 0: as many as Linux takes. */
    uint64_t min, max;
    const char *unit; /* of a plain number, for people: "connections"; may be NULL */
    const struct config_choice *choices; /* CONFIG_ENUM */
    bool at_start;                       /* a change waits for a restart */
    const char *doc;                     /* one or more whole sentences */
};

const struct config_key *config_keys(size_t *ret_n);

struct config_origin {
    const char *file; /* NULL: the default; else the config's own string */
    unsigned line;
};
/* Where an item of the key came from. False: it is the default. */
bool config_item_origin(const struct config *c, const struct config_key *key, size_t item,
                        struct config_origin *ret);
/* NULL: there is no such key. */
const struct config_key *config_find_key(const char *section, const char *name);

/* Room for any of them as text. */
#define CONFIG_VALUE_SIZE (4096u + 16u)
/* One value as text, as it would stand in the file; of a list, the i-th item. The length, or
 * -ENOENT where there is no such item. */
int config_value_text(const struct config *c, const struct config_key *key, size_t i, char *out,
                      size_t out_size);

/* The next name of several that are separated by spaces or commas, cut off at 32 bytes; *text is
 * moved behind it. Its length; 0: there is none. */
#define CONFIG_NAME_SIZE 33u
size_t config_next_name(const char **text, char ret[CONFIG_NAME_SIZE]);
/* The number of a user or group. A number is taken as it is: who has it may come later. False: this
 * host has none of that name. May ask the name service: on a worker, or before the loop runs. */
bool config_find_id(const char *name, bool group, uint32_t *ret);

/* A hash of all values, wherever they came from: 16 hexadecimal digits and a NUL. 0 or -ENOMEM. */
#define CONFIG_HASH_SIZE 17u
int config_hash(const struct config *c, char out[CONFIG_HASH_SIZE]);
/* Is the value the same in both? */
bool config_same_value(const struct config *a, const struct config *b,
                       const struct config_key *key);

/* Every value with its origin, in the file's own form. 0 or -EIO. */
int config_print(const struct config *c, FILE *out);
/* cocod.conf.example: every key with its documentation, commented out at its default. */
int config_print_example(FILE *out);
/* The keys for the manual, in scdoc's syntax. */
int config_print_reference(FILE *out);
