/* SPDX-License-Identifier: MIT */
/*
 * Certificate files, as their caller may read them.
 *
 * The daemon tells a file's format from its bytes; but for the JSON of Azure, whose two texts are
 * given to it in the file's place (thim.c). Folders often hold more than certificates (keys,
 * notes), so there names decide first: files with one of the usual endings are taken, those with
 * another are passed over and counted. Names without an ending are those of AMD's service
 * (cert_chain, crl, CHIP-ID?blSPL=…) and GUIDs; such a file is taken where it begins like a
 * certificate, a list or a table. A file that the command line names is always taken. Going down
 * reads every known layout: the flat folders of "snphost fetch" and of snpguest, cocod's own store,
 * and Trustee's offline store (STORE/vcek/HWID/bl03_…_vcek.der).
 *
 * Files are opened without waiting (a FIFO would hold up everything) and must be regular. Links to
 * folders are not followed, so nothing goes around in circles. Folders are read in the order of
 * their names: the same files give the same report.
 */
#include "lib/files.h"
#include "lib/memory.h"
#include "lib/terminal.h"
#include "lib/thim.h"
#include "snp_table.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8

void inputs_done(struct inputs *inputs)
{
    for (size_t i = 0; i < inputs->n; i++) {
        free(inputs->list[i].name);
        free(inputs->list[i].bytes);
        free(inputs->list[i].refused);
    }
    free(inputs->list);
    *inputs = (struct inputs){0};
}

/* A new entry; NULL: there is no room. */
static struct input *add(struct inputs *inputs, const char *name)
{
    if (inputs->n == INPUT_FILES_MAX) {
        term_error("more than %u files: give fewer at a time", INPUT_FILES_MAX);
        return NULL;
    }
    if (inputs->n == inputs->capacity) {
        size_t capacity = inputs->capacity ? inputs->capacity * 2 : 16;
        struct input *larger = memory_got(reallocarray(inputs->list, capacity, sizeof(*larger)));
        if (!larger)
            return NULL;
        inputs->list = larger;
        inputs->capacity = capacity;
    }
    struct input *input = &inputs->list[inputs->n];
    *input = (struct input){.name = memory_got(strdup(name))};
    if (!input->name)
        return NULL;
    inputs->n++;
    return input;
}

static bool refuse(struct input *input, const char *why)
{
    input->refused = memory_got(strdup(why));
    return input->refused != NULL;
}

bool inputs_add_bytes(struct inputs *inputs, const char *name, const void *bytes, size_t size)
{
    struct input *input = add(inputs, name);

    if (!input)
        return false;
    input->bytes = memory_got(malloc(size + 1));
    if (!input->bytes)
        return false;
    memcpy(input->bytes, bytes, size);
    input->size = size;
    return true;
}

int file_read(const char *path, size_t max, struct stat *ret_st, uint8_t **ret, size_t *ret_size,
              struct why *why)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    ssize_t n = 1;
    int r = 0;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, ret_st) < 0)
        r = why_set(why, -errno, "%s", strerror(errno));
    else if (!S_ISREG(ret_st->st_mode))
        r = why_set(why, -EINVAL, "this is not a regular file");
    else if (!(bytes = memory_got(malloc(max + 2))))
        r = why_set(why, -ENOMEM, "%s", strerror(ENOMEM));
    while (r == 0 && n > 0 && size <= max) {
        n = TEMP_FAILURE_RETRY(read(fd, bytes + size, max + 1 - size));
        if (n < 0)
            r = why_set(why, -errno, "%s", strerror(errno));
        size += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0)
        close(fd);
    if (r == 0 && size > max)
        r = why_set(why, -EFBIG, "this is larger than %zu bytes", max);
    if (r < 0 || !bytes) {
        free(bytes);
        return r;
    }
    bytes[size] = 0;
    uint8_t *exact = realloc(bytes, size + 1);
    *ret = exact ? exact : bytes;
    *ret_size = size;
    return 0;
}

/* One of the texts in Azure's JSON, as a file of its own. */
static bool add_member(struct inputs *inputs, const char *path, struct json_object *object,
                       const char *member)
{
    struct json_object *value = NULL;
    char *name = NULL;

    if (!json_object_object_get_ex(object, member, &value))
        return true;
    size_t size = (size_t)json_object_get_string_len(value);
    if (asprintf(&name, "%s, %s", path, member) < 0) {
        (void)memory_out();
        return false;
    }
    bool good = inputs_add_bytes(inputs, name, json_object_get_string(value), size);
    free(name);
    return good;
}

/* Bytes of a file, which are the entry's from now on. */
static bool take(struct inputs *inputs, const char *path, uint8_t *bytes, size_t size)
{
    struct why why = {.text = ""};
    char *text = thim_text(bytes, size);
    struct json_object *object = text ? thim_parse(text, &why) : NULL;
    bool good = true;

    if (object) {
        good = add_member(inputs, path, object, "vcekCert") &&
               add_member(inputs, path, object, "certificateChain");
        free(bytes);
    } else {
        struct input *input = add(inputs, path);
        good = input && (!why.text[0] || refuse(input, why.text));
        if (input) {
            input->bytes = bytes;
            input->size = size;
        } else {
            free(bytes);
        }
    }
    json_object_put(object);
    free(text);
    return good;
}

static bool add_file(struct inputs *inputs, const char *path)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct stat st;
    struct why why = {.text = "the file is empty"};

    (void)file_read(path, INPUT_FILE_MAX, &st, &bytes, &size, &why);
    if (size > 0)
        return take(inputs, path, bytes, size);
    free(bytes);
    struct input *input = add(inputs, path);
    return input && refuse(input, why.text);
}

/* --- folders ---------------------------------------------------------------------------------- */

static bool has_text(const uint8_t *bytes, size_t size, const char *text)
{
    return memmem(bytes, size, text, strlen(text)) != NULL;
}

static bool is_table(const uint8_t *bytes, size_t size)
{
    struct coco_snp_table table;

    if (coco_snp_table_decode(bytes, size, &table) < 0)
        return false;
    for (size_t i = 0; i < table.n_entries; i++)
        if (coco_snp_kind_of(table.entries[i].guid) != COCO_SNP_OTHER)
            return true;
    return false;
}

/* From afar. What has a private key in it is not given to anybody. */
static bool begins_like_one(const uint8_t *bytes, size_t size)
{
    if (has_text(bytes, size, "PRIVATE KEY-----"))
        return false;
    /* A SEQUENCE of 256 bytes and more in another one, as certificates and CRLs are, keys not. */
    if (size >= 8 && bytes[0] == 0x30 && bytes[1] == 0x82 && bytes[4] == 0x30 && bytes[5] == 0x82)
        return true;
    char *text = thim_text(bytes, size);
    free(text);
    return text || has_text(bytes, size, "-----BEGIN CERTIFICATE-----") ||
           has_text(bytes, size, "-----BEGIN X509 CRL-----") || is_table(bytes, size);
}

enum ending {
    ENDING_USUAL,
    ENDING_NONE, /* or one that says nothing */
    ENDING_OTHER,
};

static enum ending ending_of(const char *name)
{
    static const char *const endings[] = {".pem", ".der", ".crt",   ".cer",
                                          ".crl", ".bin", ".certs", ".cert"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && i < sizeof(endings) / sizeof(endings[0]); i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return ENDING_USUAL;
    /* The numbers of a TCB are none. */
    if (!dot || strcasecmp(dot, ".json") == 0 || strspn(dot + 1, "0123456789") == strlen(dot + 1))
        return ENDING_NONE;
    return ENDING_OTHER;
}

static bool look_at_file(struct inputs *inputs, const char *path)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct stat st;

    if (file_read(path, INPUT_FILE_MAX, &st, &bytes, &size, NULL) == 0 && bytes &&
        begins_like_one(bytes, size))
        return take(inputs, path, bytes, size);
    free(bytes);
    inputs->passed_over++;
    return true;
}

static bool add_folder(struct inputs *inputs, const char *path, unsigned depth)
{
    struct dirent **entries = NULL;
    bool good = true;

    int n = scandir(path, &entries, NULL, alphasort);
    if (n < 0) {
        const int error = errno;
        struct input *input = error != ENOMEM ? add(inputs, path) : NULL;
        if (error == ENOMEM)
            (void)memory_out();
        return input && refuse(input, strerror(error));
    }
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        const enum ending ending = ending_of(name);
        char below[PATH_MAX];
        struct stat st;
        int length = snprintf(below, sizeof(below), "%s/%s", path, name);
        bool look = good && name[0] != '.' && length > 0 && (size_t)length < sizeof(below) &&
                    lstat(below, &st) == 0;
        if (look && S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
            good = add_folder(inputs, below, depth + 1);
        else if (look && !S_ISDIR(st.st_mode) && ending == ENDING_USUAL)
            good = add_file(inputs, below);
        else if (look && !S_ISDIR(st.st_mode) && ending == ENDING_NONE)
            good = look_at_file(inputs, below);
        else if (look)
            inputs->passed_over++;
        free(entries[i]);
    }
    free(entries);
    return good;
}

bool inputs_add_path(struct inputs *inputs, const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return add_folder(inputs, path, 0);
    return add_file(inputs, path);
}
