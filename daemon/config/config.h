/* SPDX-License-Identifier: MIT */
/*
 * The configuration: INI files, read once into a plain struct whose fields are the values.
 *
 * One const table (config_keys) says what exists: parser, `cocod --check`, cocod.conf.example and
 * the manual come from it. Reading collects every mistake, each with its file and line. Nothing
 * here logs, and only config_load, config_load_dirs and config_find_… ask the system anything.
 */
#pragma once

#include "snp_tcb.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define CONFIG_KEYS_MAX         96u            /* at least as many as there are keys */
#define CONFIG_FILE_MAX         (256u * 1024u) /* bytes; a larger file is refused */
#define CONFIG_LINE_MAX         197u           /* bytes; a longer line is refused */
#define CONFIG_FILES_MAX        256u           /* more files are refused */
#define CONFIG_ERRORS_MAX       100u           /* more mistakes are only counted */
#define CONFIG_SOCKET_PATH_SIZE 108u           /* sun_path with its NUL */

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

/* A line that is in force. */
struct config_origin {
    const struct config_key *key;
    const char *file; /* the config's own string */
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

/* The types of values, and the types of their fields. */
#define CONFIG_TYPES(X)                                                                          \
    X(BOOL, bool)                                                                                \
    X(U32, uint32_t)                                                                             \
    X(DURATION, uint64_t) /* milliseconds */                                                     \
    X(BYTES, uint64_t)                                                                           \
    X(MODE, uint32_t)                                                                            \
    X(ENUM, int)                                                                                 \
    X(PATH, char *) /* this and all texts: may be empty where the default is */                  \
    X(SOCKET_PATH, char *)                                                                       \
    X(TEXT, char *)                                                                              \
    X(GROUP, char *)                                                                             \
    X(USERS, char *)                 /* names and numbers, which config_next_name takes apart */ \
    X(MEMBERS, char *)               /* the same, and @groups */                                 \
    X(PLATFORM, struct endpoint)     /* none, fixed or unix: */                                  \
    X(PATH_LIST, struct string_list) /* this and the next: each line adds an item */             \
    X(CIDS, struct u32_list)                                                                     \
    X(LISTENERS, struct endpoint_list)                                                           \
    X(QGS_LIST, struct endpoint_list)

#define CONFIG_TYPE(name, field) CONFIG_##name,
enum config_type {
    CONFIG_TYPES(CONFIG_TYPE)
};
#define CONFIG_FIELD(name, field) typedef field config_##name;
CONFIG_TYPES(CONFIG_FIELD)

/* A field for each key of keys.h: section_name, and section_name_ms of a time. All strings are set
 * (perhaps ""). The struct owns all that it points to. */
struct config {
#define KEY(section, name, type, ...) config_##type section##_##name;
#define TIME(section, name, ...)      config_DURATION section##_##name##_ms;
#include "config/keys.h"
#undef KEY
#undef TIME

    /* Where the values came from. */
    size_t n_files;                      /* 0: defaults alone */
    const char *files[CONFIG_FILES_MAX]; /* in the order in which they were read */
    size_t n_origins;
    struct config_origin *origins; /* in the order in which they were set */
    struct config_memory *memory;
};

/* Every mistake, a sentence each: "FILE:LINE: [section] key = value: reason and what is allowed".
 * Zero-initialised. */
struct config_errors {
    size_t n;
    char *items[CONFIG_ERRORS_MAX];
    size_t left_out; /* mistakes that were only counted */
};

/* The defaults (`path` NULL), or the file's values over them. -EINVAL: mistakes in the file;
 * -ENOMEM; another negative errno: it cannot be read, which `errors` says too. `errors` may be
 * NULL; it is appended to, and the caller's to clear. */
int config_load(const char *path, struct config **ret, struct config_errors *errors);
/* Reads these folders, below `root`, over the defaults: cocod.conf of the last folder that has one,
 * then cocod.conf.d/NAME.conf of all folders in the order of the names; of two with the same name,
 * the later folder's alone. An empty file, or a link to /dev/null, masks those before it. A key in
 * a later file replaces the value; a list's adds an item, and an empty value empties the list.
 * Fails as config_load. */
#define CONFIG_DIRS 3u
int config_load_dirs(const char *root, const char *const dirs[CONFIG_DIRS], struct config **ret,
                     struct config_errors *errors);
/* systemd's order of folders. */
extern const char *const config_dirs[CONFIG_DIRS];
/* One file, from memory; `name` stands for it in messages. */
int config_parse(const char *name, const char *text, size_t size, struct config **ret,
                 struct config_errors *errors);
void config_free(struct config *c);
void config_errors_clear(struct config_errors *errors);

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

/* All keys; behind them is one without a section. `ret_n` may be NULL. */
const struct config_key *config_keys(size_t *ret_n);

/* The line that set an item of the key; of an empty list, the one that emptied it. NULL: it is the
 * default. */
const struct config_origin *config_find_origin(const struct config *c, const struct config_key *key,
                                               size_t item);
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
/* The number of a user or a group, by the host's name service, which may block. A number is taken
 * as it is: who has it may come later. False: there is no such name. */
bool config_find_id(const char *name, bool group, uint32_t *ret);
/* The same of a group; "" gives (gid_t)-1. -ENOENT. */
int config_find_group(const char *name, gid_t *ret);

/* A hash of all values, wherever they came from: 16 hexadecimal digits and a NUL. 0 or -ENOMEM. */
#define CONFIG_HASH_SIZE 17u
int config_hash(const struct config *c, char out[CONFIG_HASH_SIZE]);
/* Is the value the same in both? */
bool config_same_value(const struct config *a, const struct config *b,
                       const struct config_key *key);

/* Values in the file's own form: of all keys, or of those that a file sets; each with its origin as
 * a comment, or without. */
void config_print_values(const struct config *c, bool all, bool origins, FILE *out);
/* All values with their origins. 0 or -EIO. */
int config_print(const struct config *c, FILE *out);
/* cocod.conf.example: every key with its documentation, commented out at its default. */
int config_print_example(FILE *out);
/* The keys for the manual, in scdoc's syntax. */
int config_print_reference(FILE *out);
